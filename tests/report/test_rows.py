"""What a comparison claims: ratios, winner, ties; and what it does not claim."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from tests.report.makers import timing
from tuner.core.turns import Turns
from tuner.report.bars import caption
from tuner.report.records_json import comparison_json
from tuner.report.rows import RowContext, Timing, comparison_rows
from tuner.report.table import comparison_table
from tuner.report.text import percent, ratio, seconds, significant, spread


def test_rows_are_fastest_first_with_ratios_over_naive_and_the_fastest_library(
    timings: list[Timing], context: RowContext
) -> None:
    rows = comparison_rows(timings, context)
    assert [r.implementation for r in rows] == ["cpp_packed", "openblas", "torch", "tir_packed", "cpp_naive"]
    best = rows[0]
    assert best.gflops == pytest.approx(50.0)
    assert best.share_of_peak == pytest.approx(0.5)
    assert best.speedup_naive is not None and best.speedup_library is not None
    assert best.speedup_naive.mid == pytest.approx(25.0)
    assert best.speedup_library.mid == pytest.approx(1.25)
    assert best.speedup_library.low <= 1.25 <= best.speedup_library.high
    assert rows[2].speedup_library is not None
    assert rows[2].speedup_library.mid == pytest.approx(0.8)
    assert [r.is_winner for r in rows] == [True, False, False, False, False]
    assert not any(r.is_tie for r in rows)
    assert [r.implementation for r in rows if r.is_naive] == ["cpp_naive"]
    assert caption(rows).startswith(
        "cpp_packed is the fastest: 50.0 GFLOP/s, 50% of the measured peak, 25.0x"
    )


def test_without_a_library_there_is_no_ratio_over_one(timings: list[Timing], context: RowContext) -> None:
    rows = comparison_rows([t for t in timings if not t.is_baseline], context)
    assert all(r.speedup_library is None for r in rows)
    assert rows[0].speedup_naive is not None
    assert "library" not in caption(rows)


def test_without_a_naive_kernel_there_is_no_ratio_over_it(timings: list[Timing], context: RowContext) -> None:
    rows = comparison_rows([t for t in timings if not t.naive], context)
    assert all(r.speedup_naive is None and not r.is_naive for r in rows)


def test_those_not_told_apart_tie_and_nobody_wins(timings: list[Timing], context: RowContext) -> None:
    # In half of the rounds the one is faster, in half the other.
    rival = timing("rival", 50.0)
    swapped = Turns(tuple(reversed(rival.turns.samples)))
    rows = comparison_rows([*timings, replace(rival, turns=swapped)], context)
    assert {r.implementation for r in rows if r.is_tie} == {"cpp_packed", "rival"}
    assert not any(r.is_winner for r in rows)
    assert caption(rows) in ("Tie at 95%: cpp_packed, rival.", "Tie at 95%: rival, cpp_packed.")


def test_a_small_difference_that_holds_in_every_round_is_no_tie(context: RowContext) -> None:
    # Rounds vary by ±20%, the ratio within a round does not: pairing sees 2%.
    rows = comparison_rows([timing("a", 50.0, 0.04), timing("b", 49.0, 0.04)], context)
    assert [r.is_winner for r in rows] == [True, False]


def test_times_taken_apart_are_not_set_against_each_other(timings: list[Timing], context: RowContext) -> None:
    rows = comparison_rows(timings, context, paired=False)
    assert all(r.speedup_naive is None and r.speedup_library is None for r in rows)
    assert not any(r.is_winner or r.is_tie for r in rows)


def test_no_peak_no_share(timings: list[Timing], context: RowContext) -> None:
    rows = comparison_rows(timings, replace(context, peak_flops=None))
    assert all(r.share_of_peak is None for r in rows)


def test_json_says_what_the_table_says(timings: list[Timing], context: RowContext) -> None:
    document = json.loads(json.dumps(comparison_json(comparison_rows(timings, context), context)))
    assert (document["workload"], document["threads"], document["peak_flops"]) == (
        "gemm/f32/m64-n64-k64", 2, 100e9,
    )  # fmt: skip
    first, *_, last = document["rows"]
    assert (first["implementation"], first["is_winner"], first["trials"]) == ("cpp_packed", True, 60)
    assert first["config"] == {"MC": 96}
    assert first["time_s"] == sorted(first["time_s"]) and len(first["time_s"]) == 3
    assert last["speedup_naive"] == [1.0, 1.0, 1.0]
    without = comparison_json(comparison_rows(timings[:1], context), context)
    assert without["rows"][0]["speedup_library"] is None


def test_the_table_shows_every_row_with_its_evidence(timings: list[Timing], context: RowContext) -> None:
    odd = replace(timings[3], implementation="mine [bold]", kernel="mine", evidence="replayed")
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(comparison_table(comparison_rows([*timings, odd], context), context))
    text = console.export_text()
    for word in ("A title & more", "EPYC <test>", "2 threads", "2026-03-04", "openblas (library)",
                 "mine [bold]", "replayed", "measured", "50.0", "50%", "60"):  # fmt: skip
        assert word in text, word


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.0, "1234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123"), (0.0, "0")],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_texts(context: RowContext) -> None:
    interval = timing("x", 50.0).interval
    assert [seconds(s) for s in (2.5, 2.5e-3, 2.5e-6, 2.5e-9)] == ["2.50 s", "2.50 ms", "2.50 µs", "2.50 ns"]
    assert spread(interval) == "±0.4%"
    assert [percent(s) for s in (0.5, 0.004, None, 1.0)] == ["50%", "0.4%", "-", "100%"]
    assert ratio(None) == "-"
    assert "1 thread " in replace(context, threads=1).subtitle + " "
