"""`make bench-vendor`: what it compares, what it keeps and what its page says, never how fast anything is."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.tuning.finals import Finalist, FinalPlacing, Ranking
from tuner.lab import bench_depth, bench_vendor, comparisons, least_times, resumable, vendor_page
from tuner.lab import vendor_roofline as roofline
from tuner.lab.vendor_cases import OPERATORS, cases

LIMITS = {"l1d_bytes": 32e3, "l2_bytes": 1e6, "l3_bytes": 32e6, "vector_bytes": 64.0, "cores": 2}
RATES = {"L1": 4e11, "L2": 2e11, "L3": 5e10}
PEAKS = {"peak_flops_f32": 2e11, "bandwidth_bytes_per_s": 2e10}


def test_every_case_is_a_workload_and_is_there_once() -> None:
    found = cases([2, 1])
    assert len({case.key for case in found}) == len(found)
    for case in found:
        registry.operator(case.operator).parse(case.shape, case.dtype)
    f32 = [c for c in found if (c.dtype, c.threads) == ("f32", 2)]
    plain, frozen = ([c for c in f32 if c.frozen == ahead] for ahead in (False, True))
    assert Counter(c.operator for c in plain) == {"gemm": 14, "conv2d": 20, "attention": 6}
    assert Counter(c.operator for c in frozen) == {"gemm": 13, "conv2d": 18, "attention": 2}
    for case in frozen:
        assert registry.operator(case.operator).parse(case.shape).option("frozen", False)
    assert found.index(frozen[0]) < found.index(next(c for c in found if c.threads == 1))


@pytest.mark.parametrize("operator", ["gemm", "conv2d"])
def test_frozen_stands_beside_frozen_and_what_is_not_beside_what_is_not(operator: str) -> None:
    """Whoever takes B or W to be constant is in no comparison of weights that change."""
    target = CpuDevice().target
    taken: dict[bool, set[str]] = {False: set(), True: set()}
    for case in cases([2], [operator]):
        workload = registry.operator(operator).parse(case.shape, case.dtype)
        for kernel in registry.kernels_of(operator, "cpu"):
            if kernel.constant and kernel.unsupported(workload, target) is None:
                taken[case.frozen].add("library" if kernel.baseline else kernel.name)
    assert not taken[False] and {"library"} < taken[True]


def test_who_stops_early_has_f32_of_every_operator() -> None:
    first = cases([2, 1])[:6]
    assert Counter(case.operator for case in first) == dict.fromkeys(OPERATORS, 2)
    assert {(case.dtype, case.threads) for case in first} == {("f32", 2)}
    assert {case.dtype for case in cases([2], ["gemm"], ["bf16"])} == {"bf16"}
    assert len(cases([2], quick=True)) < len(cases([2])) / 2


def placing(label: str, seconds: float, baseline: bool = True) -> FinalPlacing:
    turns = Turns((seconds,) * 9, (1,) * 9)
    return FinalPlacing(Finalist(label, 1, None, baseline), turns, "", Interval(1, 1, 1))  # type: ignore[arg-type]


def test_ours_is_held_against_the_best_library() -> None:
    entries = (placing("ours", 2.0, False), placing("slower", 3.0, False), placing("lib", 4.0))
    found = comparisons.placings(Ranking((*entries, placing("worse", 5.0)), 3, 3, ()))
    assert (found["ours"], found["best"]) == ("ours", "lib")
    assert found["ratio"][1] == pytest.approx(2.0) and found["libraries"].keys() == {"lib", "worse"}
    with pytest.raises(TunerError, match="none of our kernels"):
        comparisons.placings(Ranking(entries[2:], 1, 1, ()))


def test_a_large_product_is_held_by_arithmetic_and_a_row_by_memory() -> None:
    gemm = registry.operator("gemm")
    large = roofline.roofs(gemm.parse("2048x2048x2048"), LIMITS, PEAKS, RATES, 2)
    assert large.binding == ("compute", pytest.approx(2 * 2048**3 / 2e11))
    row = roofline.roofs(gemm.parse("1x4096x4096"), LIMITS, PEAKS, RATES, 2)
    assert row.binding == ("memory", pytest.approx(4 * (4096 * 4096 + 2 * 4096) / 2e10))
    # What fits in a cache has not to come from beyond it, call after call.
    small = roofline.roofs(gemm.parse("64x64x64"), LIMITS, PEAKS, RATES, 2)
    assert small.levels["L3"] == small.levels["memory"] == 0 < small.levels["L1"]
    assert roofline.roofs(gemm.parse("64x64x64", "int8"), LIMITS, PEAKS, RATES, 2).compute is None


def test_what_holds_a_time_is_said_and_not_guessed() -> None:
    roofs = least_times.Roofs(1.0, {"L1": 0.5, "memory": 0.1})
    assert least_times.holds(roofs, 1.1).startswith("compute: 91%")
    assert least_times.holds(roofs, 2.0).startswith("mostly compute: 50%")
    assert least_times.holds(roofs, 10.0).startswith("no roof: 10% of compute")
    assert "Winograd" in least_times.holds(roofs, 0.5)
    # Nothing makes fewer bytes of what has to come out of a cache: the cache is faster than it was measured.
    beyond = least_times.holds(least_times.Roofs(0.1, {"L1": 1.0}), 0.5)
    assert "measured too low" in beyond and "Winograd" not in beyond
    assert "is not measured" in least_times.holds(least_times.Roofs(None, {"L1": 0.1}), 1.0)


def test_a_rate_that_nobody_measured_is_no_roof() -> None:
    found = roofline.roofs(registry.operator("gemm").parse("1x4096x4096"), LIMITS, {}, RATES, 2)
    assert found.compute is None and set(found.levels) == {"L1", "L2", "L3"}


def run_of(ours_s: float) -> dict[str, Any]:
    case = cases([2])[0]
    found = {
        "operator": case.operator, "shape": case.shape, "dtype": case.dtype, "threads": 2, "trials": 24,
        "ours": "cpp_packed", "ours_s": ours_s, "best": "mkl", "ratio": [0.9, 1.1, 1.2],
        "compute_s": 0.01, "levels_s": {"L1": 5e-3, "L2": 1e-4, "L3": 0.0, "memory": 0.0},
    }  # fmt: skip
    about = {
        "date": "2026-01-01", "cores": 2, "arch": "avx512", "libraries": ["mkl 1"],
        "speeds": {"2": {**RATES, "peak": 2e11}},
    }  # fmt: skip
    frozen = {**found, "shape": f"{case.shape} frozen", "ratio": [1.4, 1.5, 1.6]}
    failed = {**found, "shape": "1x1x1", "ours_s": None, "ratio": None, "error": "disturbed: others"}
    return {"about": about, "cases": {case.key: found, "frozen": frozen, "failed": failed}}


def test_a_section_of_another_cpu_is_never_touched(tmp_path: Path) -> None:
    page = tmp_path / "cpu-performance.md"
    vendor_page.write_section(page, "CPU A", run_of(0.02))
    vendor_page.write_section(page, "CPU B", run_of(0.04))
    (first,) = [part for part in page.read_text().split("\n## ") if part.startswith("CPU A")]
    vendor_page.write_section(page, "CPU B", run_of(0.05))
    sections = page.read_text().split("\n## ")
    assert [part.splitlines()[0] for part in sections[1:]] == ["CPU A", "CPU B"]
    assert sections[1].strip() == first.strip() and "20.0 ms" in first
    assert "50.0 ms" in sections[2] and "40.0 ms" not in sections[2]
    # Nor is the order of the page that of the last runs.
    vendor_page.write_section(page, "CPU A", run_of(0.06))
    again = page.read_text().split("\n## ")
    assert again[2] == sections[2] and "60.0 ms" in again[1]
    assert "1.10 [0.90, 1.20] (tie)" in first and "disturbed: others" in first
    # Each has a table and a mean of its own.
    assert "| gemm | f32 | 2 | in the call | 1 | 1.10 | 1.10 |" in first
    assert "| gemm | f32 | 2 | frozen | 1 | 1.50 | 1.50 |" in first
    assert "### gemm, f32, 2 threads\n" in first and "### gemm, f32, 2 threads, frozen weights\n" in first
    assert all(line.count("|") == 12 for line in first.splitlines() if line.startswith("| 1"))


def test_a_file_that_is_none_of_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench-vendor.json"
    assert resumable.read_kept(path) == {}
    path.write_text(json.dumps({"a device": {"cases": {}}}))
    assert resumable.read_kept(path) == {"a device": {"cases": {}}}
    for text in ("[1]", "{", '{"a": 1}'):
        path.write_text(text)
        with pytest.raises(TunerError, match="is no file of this bench"):
            resumable.read_kept(path)


@pytest.mark.parametrize("bench", [bench_vendor, bench_depth])
@pytest.mark.parametrize("minutes", ["-1", "0", "nan", "soon"])
def test_minutes_that_are_none_are_refused(
    bench: Any, minutes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--minutes", minutes])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and said.endswith(
        f"argument --minutes: {minutes}: minutes are a number above 0"
    )


@pytest.mark.parametrize("exists", [True, False])
def test_a_bench_says_how_far_it_came_and_where(
    exists: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, kept = tmp_path / "page.md", tmp_path / "kept"
    if exists:
        page.write_text("")
    assert resumable.concluded(lambda: (3, 10), page, kept) == 1
    said = capsys.readouterr().out
    assert said.startswith("7 of 10 comparisons: ") and (str(page) in said) == exists
    assert (str(kept) in said) != exists and "3 are missing" in said
    assert resumable.concluded(lambda: (0, 10), page, kept) == 0

    def fails() -> tuple[int, int]:
        raise TunerError("no compiler")

    assert resumable.concluded(fails, page, kept) == 2
    assert capsys.readouterr().err == "error: no compiler\n"
