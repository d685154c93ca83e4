"""The parts of `make bench` about what leaves the lab: what they compare and say, never how fast it is."""

from pathlib import Path

import pytest

from tuner.core.host_cxx import find_compiler
from tuner.lab import bench_autotune, bench_dispatch, bench_library
from tuner.lab.figures import Figure
from tuner.store.store import Store, open_store

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path / "bench.db") as opened:
        yield opened


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_both_wrappers_launch_with_a_known_configuration() -> None:
    pytest.importorskip("triton", reason="Triton has wheels for Linux only")
    pytest.importorskip("torch")
    ours, theirs = bench_autotune._launchers()
    ours(), theirs()
    (figure,) = bench_autotune.cached_call("a test", rounds=6, calls=20)
    assert figure.value is not None and figure.value > 0
    assert (figure.goal, figure.at_most) == (1.5, True) and "null kernel" in figure.note


def test_half_of_the_gemms_are_held_out_and_both_halves_have_layers_of_networks() -> None:
    tuned, held_out = bench_dispatch.shapes(60)
    assert len(tuned) == len(held_out) == 30 and len({*tuned, *held_out}) == 60
    again, _ = bench_dispatch.shapes(60)
    assert again == tuned
    for half in (tuned, held_out):
        assert any(workload.key.endswith("-n768-k768") or "3072" in workload.key for workload in half)


def test_recorded_sizes_are_served_by_the_rule_of_the_others(store: Store) -> None:
    files = sorted((ROOT / "experiments" / "spaces").glob("tir_tiled-*.gz"))
    figures = by_name(bench_dispatch.recorded(files, store))
    share = figures["dispatch, recorded tir_tiled: held-out shapes within 5% of tuning each"]
    # Two sizes are far too few for a goal. One's best is within 2% at the other size, and not vice versa.
    assert share.value == 0.5 and share.goal is None and "replayed: 2 recorded sizes" in share.note
    assert figures["dispatch, recorded tir_tiled: configurations"].value == 1


def test_figures_have_goals_and_a_shape_that_cannot_be_served_counts() -> None:
    figures = by_name(bench_dispatch._figures("x", 2, [1.0, 1.04, float("inf")], "note"))
    share = figures["x: held-out shapes within 5% of tuning each"]
    assert share.value == pytest.approx(2 / 3) and share.reached is False
    assert figures["x: configurations"].reached is True
    assert figures["x: worst held-out time over its own best"].value is None


def test_numpys_openblas_is_found_where_its_wheel_brings_one() -> None:
    found = bench_library.numpys_openblas()
    if found is None:
        pytest.skip("NumPy's wheel brings no OpenBLAS")
    assert found[0].exists() and "sgemm" in found[1] and found[2] in (0, 1)


@pytest.mark.slow
def test_the_library_is_compared_with_load_and_with_cblas(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(bench_library, "_DEMO", "96x64x80")
    figures = by_name(bench_library.library(store, trials=2, rounds=6))
    ratio = figures["library, gemm f32 96x64x80: time over tuner.load's"]
    assert ratio.value is not None and (ratio.goal, ratio.at_most) == (1.02, True)
    if bench_library.numpys_openblas() is not None:
        assert figures["library, gemm f32 64x64x64: a call less cblas_sgemm's"].goal == 1.0
        assert figures["library, gemm f32 1x1x1: a call"].value is not None


@pytest.mark.slow
def test_a_rule_is_measured_on_shapes_held_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_dispatch, "_FLOPS", 2**22)
    monkeypatch.setattr(bench_dispatch, "_SIZES", (16, 96))
    figures = by_name(bench_dispatch.dispatch(store, trials=3, count=6))
    share = figures["dispatch, gemm f32: held-out shapes within 5% of tuning each"]
    assert share.value is None or 0 <= share.value <= 1
    assert "of 3 held-out shapes, 3 tuned" in share.note
    tried = figures["dispatch, gemm f32, timed at first use: held-out shapes within 5% of tuning each"]
    assert tried.value is None or 0 <= tried.value <= 1
    again = by_name(bench_dispatch.dispatch(store, trials=3, count=6, reuse=True))
    assert "what was stored" in again[share.name].note
