"""The table of a model's layers."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.report.makers import FLOPS, timing
from tuner import registry
from tuner.core.stats import Interval
from tuner.report.network import LayerRow, geometric_mean_interval, network_markdown, noted, summaries
from tuner.report.network_chart import network_chart
from tuner.report.records_json import network_json
from tuner.report.rows import RowContext, comparison_rows

GEMM = registry.operator("gemm")


def row(model, shape, count, **rates):
    """A layer whose implementations reach so many GFLOP/s; names that begin with `lib` are libraries."""
    context = RowContext("t", GEMM.parse(shape), "A CPU", 2, "warm", datetime(2026, 1, 2, tzinfo=UTC), FLOPS)
    timings = [timing(n, rate, is_baseline=n.startswith("lib")) for n, rate in rates.items()]
    return LayerRow(model, count, context, comparison_rows(timings, context))


ROWS = [
    row("a", "8x8x8", 3, mine=40.0, other=10.0, lib_one=20.0, lib_two=5.0),
    row("a", "16x16x16", 1, mine=10.0, lib_one=5.0, lib_two=20.0),
    row("b", "8x8x8", 1, mine=40.0, other=10.0, lib_one=20.0, lib_two=5.0),
    row("b", "32x32x32", 1, mine=40.0),
]


def test_each_layer_is_compared_with_its_own_fastest_library():
    assert [r.library.implementation for r in ROWS[:2]] == ["lib_one", "lib_two"]
    assert [round(r.speedup.mid, 6) for r in ROWS[:2]] == [2.0, 0.5]
    assert ROWS[3].speedup is None


def test_means_are_geometric_and_take_each_distinct_layer_once():
    by_name = {(s.model, s.operator): s for s in summaries(ROWS)}
    assert by_name["a", "gemm"].mean.mid == pytest.approx(1.0)
    # 8x8x8 is in both models and counts once: sqrt(2 x 0.5), and a layer without library is not compared.
    everything = by_name["all", "gemm"]
    assert everything.mean.mid == pytest.approx(1.0)
    assert (everything.layers, everything.compared) == (3, 2)
    # A pass: count times the median.
    assert by_name["a", "gemm"].tuned_s == pytest.approx(FLOPS * (3 / 40e9 + 1 / 10e9))
    assert by_name["a", "gemm"].library_s == pytest.approx(FLOPS * (3 / 20e9 + 1 / 20e9))


def test_independent_errors_shrink_with_the_number_of_layers():
    one = Interval(1.8, 2.0, 2.2)
    mean = geometric_mean_interval([one] * 4)
    assert mean.mid == pytest.approx(2.0)
    assert math.log(mean.high / mean.mid) == pytest.approx(math.log(1.1) / 2)


def test_the_document_lists_every_layer_even_those_without_comparison():
    text = network_markdown("Layers", "tuner comparison_rows x.toml", ROWS)
    lines = [line for line in text.splitlines() if line.startswith(("| a", "| b"))]
    assert len(lines) == 4
    assert "2.00x" in lines[0] and "0.500x" in lines[1] and lines[3].endswith("| none | - | - |")
    assert "(1 could not be compared)" in text and "`tuner comparison_rows x.toml`" in text
    document = network_json("Layers", ROWS, summaries(ROWS))
    assert len(document["layers"]) == 4
    assert document["layers"][3]["speedup"] is None


def test_the_picture_is_drawn_and_needs_a_speedup(tmp_path):
    written = network_chart("Layers", ROWS, tmp_path / "network")
    assert {p.suffix for p in written} == {".png", ".svg"}
    svg = (tmp_path / "network.svg").read_text()
    assert "m16-n16-k16" in svg and "geometric mean of 2 distinct layers" in svg
    with pytest.raises(ValueError):
        network_chart("Layers", ROWS[3:], tmp_path / "none")


def test_a_layer_without_a_tuned_kernel_says_whether_it_was_interrupted_or_none_was_right():
    found = row("a", "8x8x8", 1, lib=40.0)
    stopped = replace(found, context=replace(found.context, unfinished=True))
    first, second = (network_markdown("L", "c", [each]).splitlines()[-1] for each in (found, stopped))
    assert "| none was right |" in first and "| interrupted |" in second


def test_a_layer_whose_final_declared_nothing_is_marked_and_what_is_true_of_several_is_said_once():
    loud = [replace(each, notes=["a loud peak"]) for each in ROWS]
    loud[1] = replace(loud[1], notes=["a loud peak", "no final was held"])
    # The first and the third are one layer, of two models.
    assert noted(loud) == ["3 layers: a loud peak", "gemm/f32/m16-n16-k16: no final was held"]
    busy = replace(ROWS[0], context=replace(ROWS[0].context, disturbed="others had the cores"))
    assert "mine (undeclared)" in network_markdown("L", "c", [busy])
    assert "undeclared" not in network_markdown("L", "c", ROWS[:1])
