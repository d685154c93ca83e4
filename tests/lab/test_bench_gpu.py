"""`make bench-gpu`: what it compares, what becomes of a case that fails, and what its page says."""

import itertools
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuner import registry
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.lab import bench_gpu, comparisons, gpu_cases, gpu_page
from tuner.lab.comparison_data import read_data
from tuner.lab.comparison_page import body
from tuner.lab.gpu_cases import SUITES, GpuCase, cases
from tuner.lab.gpu_kernels import ON_CUDA_CORES, RUNGS, held_by_memory, with_a_chance
from tuner.targets.cuda import target

H100 = target("cuda:sm_90")


def parsed(case: GpuCase) -> Any:
    return registry.operator(case.operator).parse(case.shape, case.dtype)


def test_every_case_is_a_workload_that_a_kernel_and_a_library_serve() -> None:
    found = cases()
    assert len({case.key for case in found}) == len(found) and set(RUNGS | ON_CUDA_CORES) <= set(
        registry.kernels()
    )
    for case in found:
        workload = parsed(case)
        assert with_a_chance(workload, H100), case.key
        kernels = registry.kernels_of(case.operator, H100.kind)
        assert [k.name for k in kernels if k.baseline and not k.unsupported(workload, H100)], case.key


def test_who_stops_early_has_one_of_each() -> None:
    first = cases()[: len(SUITES)]
    assert [(case.operator, case.dtype, case.form) for case in first] == [
        (suite.operator, suite.dtype, suite.form) for suite in SUITES
    ]
    assert Counter(case.operator for case in first).keys() == {"gemm", "conv2d", "attention"}
    assert {case.dtype for case in cases(["gemm"], ["int8", "tf32"])} == {"int8", "tf32"}
    assert len(cases(quick=True)) == 2 * len(SUITES)
    # A page's order is that of the suites, whenever a row was measured.
    rows = [{"operator": c.operator, "shape": c.shape, "dtype": c.dtype, "form": c.form} for c in cases()]
    tables = [gpu_cases.kind(row) for row in sorted(rows, key=gpu_cases.place)]
    assert len([None for a, b in itertools.pairwise(tables) if a != b]) == len(SUITES) - 1


def test_arithmetic_is_left_to_the_newest_instruction_and_memory_to_any() -> None:
    gemm = registry.operator("gemm")
    square, row = gemm.parse("4096x4096x4096", "f16"), gemm.parse("16x4096x4096", "f16")
    assert not held_by_memory(square, H100) and held_by_memory(row, H100)
    chosen = {kernel.name for kernel in with_a_chance(square, H100)}
    assert chosen and all("wgmma" in registry.kernel(name).requires for name in chosen)
    assert "cuda_split_k" in {kernel.name for kernel in with_a_chance(row, H100)}
    ampere = {kernel.name for kernel in with_a_chance(square, target("cuda:sm_80"))}
    assert "cuda_mma" in ampere and not chosen & ampere
    f32 = {kernel.name for kernel in with_a_chance(gemm.parse("4096x4096x4096"), H100)}
    assert "cuda_mma_f32" in f32 and not f32 & RUNGS


class _Bench(bench_gpu.GpuBench):
    """Cases that do what a test says, in a workshop that is none."""

    def __init__(self, kept: dict[str, Any], does: dict[str, Any], case_s: float) -> None:
        self.does = does
        facts = SimpleNamespace(
            facts=lambda: {"model": "GPU A", "arch": "sm_90"}, target=H100, fingerprint="gpu-a"
        )
        super().__init__(facts, None, kept, lambda: None, 3, case_s)  # type: ignore[arg-type]

    def protocol(self, case: Any) -> Any:
        return "one"

    def peaks(self, workshop: Any) -> Any:
        return None

    def _compare(self, case: Any, *_: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.does[case.shape]()
        return found


@dataclass
class _Workshop:
    """Counts how many there were."""

    device: Any
    protocol: Any
    seed: int
    made = 0

    def __enter__(self) -> "_Workshop":
        type(self).made += 1
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def forget(self, *_: object) -> None:
        pass


def test_a_case_that_hangs_or_fails_costs_itself_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparisons, "Workshop", _Workshop)
    monkeypatch.setattr(_Workshop, "made", 0)

    def hangs() -> None:
        while True:
            time.sleep(0.01)

    def ends_as_a_sweep_does() -> None:
        try:
            hangs()
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # after what was measured was stored

    def fails() -> None:
        raise ValueError("a slip of ours\nand more")

    def good() -> dict[str, Any]:
        return {
            "ours": "k",
            "ours_s": 1e-3,
            "ratio": [0.9, 1.0, 1.1],
            "best": "cublas",
            "swept_s": 1.0,
            "ran_s": 0.5,
        }

    does = {"8x8x8": hangs, "9x9x9": good, "10x10x10": fails, "11x11x11": good,
            "12x12x12": ends_as_a_sweep_does}  # fmt: skip
    kept: dict[str, Any] = {}
    bench = _Bench(kept, does, 0.2)
    wanted = [GpuCase("gemm", shape, "f32", "") for shape in does]
    assert bench.run(wanted, time.monotonic() + 60) == 3
    rows = kept["cases"]
    assert "not done within 0.2 s" in rows["gemm f32 8x8x8"]["error"]
    assert rows["gemm f32 10x10x10"]["error"] == "ValueError: a slip of ours"
    assert rows["gemm f32 12x12x12"]["error"] == rows["gemm f32 8x8x8"]["error"]
    assert [rows[case.key].get("ours_s") for case in wanted] == [None, 1e-3, None, 1e-3, None]
    # Nobody knows what the processes were at: the next case has new ones.
    assert _Workshop.made == 3 and "1.00x cublas" in capsys.readouterr().out
    # What was measured is not measured again.
    does |= {"9x9x9": hangs, "8x8x8": good, "10x10x10": good, "12x12x12": good}
    assert bench.run(wanted, time.monotonic() + 60) == 0


def test_an_interval_of_few_processes_holds_the_ratio_of_each() -> None:
    bench = _Bench({}, {}, 1.0)
    ours = Turns((1.0,) * 9, (3, 3, 3))
    library = Turns((1.1,) * 3 + (1.2,) * 3 + (0.9,) * 3, (3, 3, 3))
    found = bench.ratio(library, ours)
    assert (found.low, found.high) == (0.9, 1.2) and found.mid == pytest.approx(1.1)
    many = Turns((1.0,) * 9, (1,) * 9)
    assert bench.ratio(many, many) == Interval(1.0, 1.0, 1.0)


def row(case: GpuCase, ours_s: float, date: str = "2026-01-01", **more: Any) -> dict[str, Any]:
    return {
        "operator": case.operator, "shape": case.shape, "dtype": case.dtype, "form": case.form, "date": date,
        "trials": 12, "processes": 3, "ours": "cuda_k", "ours_s": ours_s, "best": "cublas", "best_s": 2e-4,
        "ratio": [0.9, 1.1, 1.2], "libraries": {"cublas": 2e-4}, "flops": 1.4e11, "bytes": 1e8,
        "once_s": 3e-5, "clock_hz": 1.755e9, "compute_s": 1.39e-4, "levels_s": {"memory": 3e-5}, **more,
    }  # fmt: skip


def run_of(*rows: dict[str, Any], model: str = "GPU A") -> dict[str, Any]:
    about = {
        "model": model, "date": max(each["date"] for each in rows), "arch": "sm_90", "sms": 132,
        "driver_cuda": "13.0", "libraries": ["torch 2.11"],
        "speeds": {
            "sheet_f16": 989e12, "sheet_f32": 66.9e12, "measured_f32": 63.9e12, "measured_memory": 3e12,
        },
    }  # fmt: skip
    keyed = {GpuCase(r["operator"], r["shape"], r["dtype"], r["form"]).key: r for r in rows}
    return {"about": about, "cases": keyed}


def test_a_page_says_shares_rates_processes_and_what_peaks_are_of() -> None:
    product, steps = cases(["gemm"], ["f16"])[0], cases(["attention"], ["f16"])[1]
    step = row(steps, 1e-4, compute_s=1e-6, once_s=8e-5, bytes=2.5e8, levels_s={"memory": 8e-5})
    said = body(run_of(row(product, 1.6e-4), step), gpu_page.LAYOUT)
    assert "875.0 TFLOP/s | 1755 MHz" in said and "2.50 TB/s" in said
    assert "compute: 87% of that roof" in said and "mostly memory: 80% of that roof" in said
    assert "at most 12 trials a kernel, 3 processes a finalist" in said
    assert (
        "f16 989" in said and "f32 63.9 (measured; data sheet 66.9)" in said and "3.00 TB/s by a copy" in said
    )
    assert "### gemm, f16\n" in said and "### attention, f16, steps\n" in said
    assert "| attention | f16 | steps | 1 | 1.10 | 1.10 |" in said


def test_another_runs_rows_are_merged_and_another_models_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = cases(["gemm"], ["f16"])[:2]
    page, data = tmp_path / "page.md", tmp_path / "data.json"

    def merged(run: dict[str, Any]) -> None:
        file = tmp_path / "bench-gpu.json"
        file.write_text(json.dumps({"cuda-1": run}))
        monkeypatch.setattr(
            sys, "argv", ["x", "--merge", str(file), "--page", str(page), "--data", str(data)]
        )
        assert bench_gpu.main() == 0

    merged(run_of(row(first, 1.6e-4)))
    merged(run_of(row(first, 9e-4), model="GPU B"))
    other = page.read_text().split("\n## ")[2]
    merged(run_of(row(second, 3e-5, date="2026-01-03")))
    merged(run_of(row(first, 1.5e-4, date="2026-01-02")))
    found = read_data(data, ("processes",))
    times = [each["ours_s"] for each in found["GPU A"]["cases"].values()]
    assert times == [1.5e-4, 3e-5] and list(found) == ["GPU A", "GPU B"]
    sections = page.read_text().split("\n## ")
    assert sections[2] == other and "150 µs" in sections[1] and "160 µs" not in sections[1]
    assert "2 comparisons, the last of 2026-01-03 (1 of 2026-01-02, 1 of 2026-01-03)" in sections[1]


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuner.devices.cuda.device import CudaDevice

    if CudaDevice.discover():
        pytest.skip("there is a GPU here")
    monkeypatch.setattr(sys, "argv", ["bench_gpu", "--output", str(tmp_path)])
    assert bench_gpu.main() == 2 and "no GPU on this machine" in capsys.readouterr().err
