"""Pictures are written, say what they show, and survive odd data."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.report.makers import timing
from tuner.core.errors import TunerError
from tuner.core.turns import Turns
from tuner.report import bars
from tuner.report.bars import comparison_chart
from tuner.report.curves import Curve, convergence_chart
from tuner.report.roofline import roofline_chart
from tuner.report.rows import RowContext, Timing, comparison_rows
from tuner.report.style import apart
from tuner.report.text import ratio
from tuner.store.records import CurvePoint


def check(files: list[Path], *words: str) -> str:
    """Both files exist and are pictures; the SVG's text has the words."""
    png, svg = files
    assert png.suffix == ".png"
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    assert png.stat().st_size > 10_000
    text = " ".join("".join(e.itertext()) for e in ET.parse(svg).iter() if e.tag.endswith("}text"))
    for word in words:
        assert word in text, word
    return text


def test_a_comparison_names_everything(timings: list[Timing], context: RowContext, tmp_path: Path) -> None:
    files = comparison_chart(
        comparison_rows(timings, context), context, tmp_path / "new" / "folder" / "picture"
    )
    text = check(
        files, "cpp_packed", "openblas", "torch", "tir_packed", "cpp_naive", "A title & more", "EPYC <test>",
        "2 threads", "2026-03-04", "gemm/f32/m64-n64-k64", "GFLOP/s, median with 95% interval",
        "% of the measured peak (100 GFLOP/s)", "vs naive", "25.0x [", "vs best library", "1.25x [",
        "library", "tuned here", "naive",
    )  # fmt: skip
    assert "tie" not in text


def test_without_libraries_their_column_is_left_out(
    timings: list[Timing], context: RowContext, tmp_path: Path
) -> None:
    rows = comparison_rows([t for t in timings if not t.is_baseline], context)
    text = check(comparison_chart(rows, context, tmp_path / "p"), "vs naive")
    assert "library" not in text


def test_a_tie_is_said(timings: list[Timing], context: RowContext, tmp_path: Path) -> None:
    rival = timing("rival", 50.0)
    rows = comparison_rows(
        [*timings, replace(rival, turns=Turns(tuple(reversed(rival.turns.samples))))], context
    )
    check(comparison_chart(rows, context, tmp_path / "p"), "cpp_packed (tie)", "rival (tie)")


def test_what_was_not_measured_is_marked(context: RowContext, tmp_path: Path) -> None:
    rows = comparison_rows(
        [replace(timing("a", 5.0), evidence="predicted")], replace(context, peak_flops=None)
    )
    text = check(comparison_chart(rows, replace(context, peak_flops=None), tmp_path / "p"), "(predicted)")
    assert "peak" not in text


def test_one_row_and_wild_noise_are_drawn(context: RowContext, tmp_path: Path) -> None:
    check(
        comparison_chart(comparison_rows([timing("alone", 5.0)], context), context, tmp_path / "one"), "alone"
    )
    wild = [timing("a", 500.0, 0.19), timing("b", 1e-3, 0.19), timing("c" * 40, 20.0)]
    check(comparison_chart(comparison_rows(wild, context), context, tmp_path / "two"), "c" * 40)


def test_nothing_to_draw_is_an_error(context: RowContext, tmp_path: Path) -> None:
    for draw in (comparison_chart, roofline_chart):
        with pytest.raises(ValueError, match="row"):
            draw([], context, tmp_path / "p")
    with pytest.raises(ValueError, match="no curve"):
        convergence_chart([Curve("a", [CurvePoint(0, 1.0, None)])], context, tmp_path / "p")
    with pytest.raises(ValueError, match="peaks"):
        roofline_chart(
            comparison_rows([timing("a", 1.0)], context), replace(context, bandwidth=None), tmp_path / "p"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(context: RowContext, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TunerError, match="cannot be written") as caught:
        comparison_chart(comparison_rows([timing("a", 1.0)], context), context, tmp_path / "file" / "p")
    assert "\n" not in str(caught.value)


def curve(label: str, *best: float | None) -> Curve:
    return Curve(label, [CurvePoint(i, float(i), b) for i, b in enumerate(best)])


def test_curves_are_named_with_where_they_end(context: RowContext, tmp_path: Path) -> None:
    fast, slow = context.flops / 50e9, context.flops / 10e9
    curves = [curve("packed", None, slow, fast), curve("tiled", slow), curve("broken", None, None)]
    text = check(
        convergence_chart(curves, context, tmp_path / "p", [("openblas", context.flops / 40e9)]),
        "packed  50.0", "tiled  10.0", "openblas  40.0", "best so far", "trials", "2 threads", "2026-03-04",
    )  # fmt: skip
    # A sweep with nothing right has no line to name.
    assert "broken" not in text


def test_a_roofline_names_its_roofs(timings: list[Timing], context: RowContext, tmp_path: Path) -> None:
    check(
        roofline_chart(comparison_rows(timings, context), context, tmp_path / "p"),
        "measured peak 100 GFLOP/s", "measured bandwidth 10.0 GB/s", "10.7 FLOP/byte", "cpp_packed  50.0",
    )  # fmt: skip


def test_faster_than_the_peak_is_still_inside_the_picture(context: RowContext, tmp_path: Path) -> None:
    rows = comparison_rows([timing("a", 5000.0), timing("b", 1.0)], context)
    for draw in (roofline_chart, comparison_chart):
        _, svg = draw(rows, context, tmp_path / draw.__name__)
        height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg.read_text())[1])  # type: ignore[index]
        places = [float(y) for y in re.findall(r'<text[^>]* y="(-?[\d.]+)"', svg.read_text())]
        assert places
        assert all(0 <= y <= height for y in places)


def test_no_text_is_cut_off(context: RowContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A naive kernel a thousand times slower than the library has the longest text."""
    kept: list[Figure] = []
    monkeypatch.setattr(bars, "save", lambda figure, path: kept.append(figure) or [])
    timings = [
        timing("packed", 481.0, 0.019), timing("numpy", 466.0, 0.02, is_baseline=True),
        timing("cpp_naive", 0.4568, 0.019, naive=True),
    ]  # fmt: skip
    rows = comparison_rows(timings, context)
    assert max(len(ratio(row.speedup_library)) for row in rows) >= 27
    comparison_chart(rows, context, tmp_path / "p")
    (figure,) = kept
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in figure.findobj(Text):
        if text.get_text():
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()


def test_the_same_data_draw_the_same_picture(
    timings: list[Timing], context: RowContext, tmp_path: Path
) -> None:
    rows = comparison_rows(timings, context)
    first = [f.read_bytes() for f in comparison_chart(rows, context, tmp_path / "a")]
    assert first == [f.read_bytes() for f in comparison_chart(rows, context, tmp_path / "b")]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12).map(sorted))
def test_labels_do_not_overlap(levels: list[float]) -> None:
    placed = apart(levels, 5.0, 0.0, 100.0)
    assert len(placed) == len(levels)
    assert all(b - a >= 5.0 - 1e-9 for a, b in pairwise(placed))
    assert placed[0] >= 0
    assert placed[-1] <= 100 + 1e-9
    if all(b - a >= 5.0 for a, b in pairwise(levels)):
        assert placed == pytest.approx(levels)
