"""The bench of short searches: what it compares, keeps and says, never how fast anything is."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.host_cxx import find_compiler
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.stats import Interval
from tuner.core.trial import Trial, TrialKey
from tuner.core.turns import Turns
from tuner.core.workload_sets import set_names, workload_set
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.tuning.finals import Finalist, FinalPlacing, Ranking
from tuner.lab import bench_depth, bench_dispatch, depth_page
from tuner.lab.depth_cases import CASES, DepthCase
from tuner.lab.vendor_cases import cases
from tuner.lab.vendor_page import write_page
from tuner.store.store import open_store

SMALL = DepthCase("gemm", "48x40x24", "f32", ("cpp_register",))


def sizes(operator: str, shape: str) -> tuple[object, ...]:
    """A shape whatever its element type, with weights laid out ahead or not."""
    workload = registry.operator(operator).parse(shape)
    return operator, workload.dims, tuple(o for o in workload.options if o[0] != "frozen")


def test_nothing_was_chosen_at_any_of_the_shapes() -> None:
    mine = {sizes(case.operator, case.shape) for case in CASES}
    assert len(mine) == len(CASES) == 10
    assert Counter(case.operator for case in CASES) == {"gemm": 6, "conv2d": 3, "attention": 1}
    others = {
        sizes(operator, layer.shape)
        for name in set_names()
        for operator in ("gemm", "conv2d", "attention")
        for layer in workload_set(name).of(operator)
    }
    others |= {sizes(c.operator, c.shape) for c in cases([2])}
    others |= {(w.operator, w.dims, ()) for half in bench_dispatch.shapes(60) for w in half}
    assert mine & others == set()


def test_each_kernel_is_one_that_the_shape_can_have() -> None:
    avx512 = registry.target("cpu:avx512")
    for case in CASES:
        workload = registry.operator(case.operator).parse(case.shape, case.dtype)
        known = {kernel.name: kernel for kernel in registry.kernels_of(case.operator, "cpu")}
        assert set(case.kernels) <= set(known)
        assert known[case.kernels[-1]].unsupported(workload, avx512) is None


def trial(seconds: float | None, binary: str) -> Trial:
    key = TrialKey(registry.operator("gemm").parse("8x8x8"), "k", "d", {"binary": binary}, "t", "t", "d", "p")
    if seconds is None:
        return Trial(key, Measurement(Status.CRASH, Evidence.MEASURED, error="it died"))
    return Trial(key, Measurement(Status.OK, Evidence.MEASURED, samples=(seconds,), artifact=binary))


def test_the_fastest_distinct_binaries_of_a_sweep_meet() -> None:
    trials = [trial(3, "a"), trial(None, "b"), trial(1, "c"), trial(1.1, "c"), trial(2, "d")]
    assert list(bench_depth.leaders(trials, 2)) == [3, 5]
    assert bench_depth.leaders([trial(None, "b")], 2) == {}
    assert bench_depth.own_first(trials, 2) == 3 and bench_depth.own_first(trials, 3) == 1


def placing(seconds: float | None) -> FinalPlacing:
    turns = Turns((seconds,) * 9, (1,) * 9) if seconds else Turns()
    error = "" if seconds else "it is wrong\nbecause"
    return FinalPlacing(Finalist("c", 1, None), turns, error)  # type: ignore[arg-type]


def test_each_sweep_is_what_its_fastest_takes_in_the_final() -> None:
    ranking = Ranking(tuple(map(placing, (2.2, 3.0, 1.0, 2.0, None))), 2, 0, ())
    found = bench_depth.compared(ranking, [(0, 1), (3, 4)])
    assert found.chosen == (0, 3) and found.seconds == (2.2, 2.0)
    assert found.ratio.mid == pytest.approx(1.1)
    # One that both found is as fast as it is itself.
    assert bench_depth.compared(ranking, [(2, 0), (3, 2)]).ratio == Interval(1.0, 1.0, 1.0)
    with pytest.raises(TunerError, match=r"survived the final: it is wrong$"):
        bench_depth.compared(ranking, [(0, 1), (4,)])


def case_of(ratio: tuple[float, float, float] | None, trials: tuple[int, int] = (40, 400)) -> dict[str, Any]:
    side = {"tried": 40, "at": 7, "seconds": 1e-3}
    return {
        "operator": "gemm", "dtype": "f32", "shape": "1x2x3", "trials": list(trials), "ratio": ratio,
        "kernel": "cpp_packed", "digest": "old", "space": None, "own_first": 1.25, "error": "disturbed: a|b",
        "sides": [side, {**side, "tried": 400, "at": 333}],
    }  # fmt: skip


def test_the_page_says_how_many_are_close_and_whether_that_is_sure(tmp_path: Path) -> None:
    ratios = [(0.99, 1.0, 1.02), (1.0, 1.02, 1.05), (1.05, 1.1, 1.2), None]
    found = {str(i): case_of(ratio) for i, ratio in enumerate(ratios)} | {"few": case_of(ratios[0], (4, 8))}
    about = {"cores": 2, "arch": "avx512", "date": "2026-01-01", "hypervisor": True}
    text = depth_page.body({"about": about, "cases": found})
    assert "2 of 3 shapes within 3%, 1 of them with their whole interval" in text and "at worst 1.10" in text
    assert "### 4 trials beside 8" in text and "1 of 1 shapes" in text
    rows = [line for line in text.splitlines() if line.startswith("| gemm")]
    assert len(rows) == 5 and {row.count("|") for row in rows} == {11}
    assert [row.split("|")[9].strip() for row in rows[:3]] == ["yes", "yes, unsure", "no"]
    assert "333 of 400" in rows[0] and "disturbed: a/b" in rows[3]
    page = tmp_path / "search-depth.md"
    write_page(page, "CPU A", text, depth_page.HEAD)
    assert page.read_text().startswith("# What a short search leaves\n") and "## CPU A\n" in page.read_text()


def test_the_page_of_the_lab_has_the_head_that_is_written() -> None:
    page = (bench_depth.ROOT / "docs" / "search-depth.md").read_text()
    assert page.startswith(depth_page.HEAD.strip() + "\n")


def test_what_was_measured_of_another_source_does_not_count(tmp_path: Path) -> None:
    kept: dict[str, Any] = {}
    bench = bench_depth.DepthBench(CpuDevice(), tmp_path, kept, lambda: None)
    case = CASES[0]
    assert not bench.known(case)
    kept["cases"][bench.key(case)] = case_of((1.0, 1.0, 1.0))
    assert not bench.known(case)
    kept["cases"][bench.key(case)]["digest"] = registry.kernel("cpp_packed").digest
    assert bench.known(case)
    assert not bench_depth.DepthBench(CpuDevice(), tmp_path, kept, lambda: None, (4, 8)).known(case)
    with pytest.raises(TunerError, match="not 8, 8"):
        bench_depth.DepthBench(CpuDevice(), tmp_path, kept, lambda: None, (8, 8))


@pytest.mark.slow
def test_a_bench_that_was_stopped_goes_on_in_the_middle_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its clock stands still: a moment is left when the first sweep begins, whatever came before.
    monkeypatch.setattr(bench_depth, "time", SimpleNamespace(monotonic=lambda: 0.0))
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    kept: dict[str, Any] = {}
    saved: list[int] = []
    bench = bench_depth.DepthBench(CpuDevice(), tmp_path, kept, lambda: saved.append(1), (2, 5))
    assert bench.run([SMALL], 1e-6) == 1 and not saved
    (short,) = tmp_path.glob("*-2.db")
    with open_store(str(short)) as store:
        assert [sweep.status for sweep in store.sweeps()] == ["interrupted"]
    assert bench.run([SMALL], 300) == 0 and saved == [1]
    assert len(list(tmp_path.glob("*.db"))) == 2
    for path in tmp_path.glob("*.db"):
        with open_store(str(path)) as store:
            (sweep,) = store.sweeps()
            assert sweep.status == "finished" and f"-{sweep.trials}.db" in path.name
    (found,) = kept["cases"].values()
    assert found["kernel"] == "cpp_register" and found["ratio"][0] > 0
    assert [side["tried"] for side in found["sides"]] == [2, 5]
    assert "of 1 shapes within 3%" in depth_page.body(kept)
    assert bench.run([SMALL], 300) == 0 and saved == [1]
