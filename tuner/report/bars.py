"""The comparison as a bar chart: how fast each implementation is, and by how much."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.report.rows import ComparisonRow, RowContext
from tuner.report.style import INK, LIBRARY, MUTED, NAIVE, TUNED, drawing, heading, new_figure, save
from tuner.report.text import percent, ratio, seconds, significant, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _ROW, _BOTTOM = 12.0, 0.42, 0.80  # inches
_LINE = 0.19  # inches of a remark
_CHARACTER = 0.0059  # of the width: a digit of the columns' texts


def comparison_chart(rows: Sequence[ComparisonRow], context: RowContext, path: Path) -> list[Path]:
    """Draws a bar an implementation, fastest on top, with whiskers of the 95% interval.

    A second axis gives the share of the measured peak where it is known; time and speed-ups stand beside
    the bars.

    Args:
        rows: of `tuner.report.rows.compare`.
        context: for the titles and the peak.
        path: without an ending.

    Returns:
        The files written: PNG and SVG.

    Raises:
        TunerError: they cannot be written.
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a chart needs at least one row")
    ordered = sorted(rows, key=lambda r: r.interval.mid)
    with drawing():
        top = 1.35 if context.peak_flops else 1.12
        remarks = _remarks(ordered, context)
        bottom = _BOTTOM + _LINE * len(remarks)
        height = top + _ROW * len(ordered) + bottom
        figure = new_figure(_WIDTH, height)
        left = min(0.27, 0.03 + 0.0068 * max(len(_label(row)) for row in ordered))
        columns = _columns(ordered)
        beside = sum(share for _, share, _ in columns)
        # A legend of three needs its room even where there is but one column.
        right = 0.985 - max(beside, 0.28 if len(_kinds(ordered)) > 1 else 0.0)
        axes = figure.add_axes((left, bottom / height, right - left, _ROW * len(ordered) / height))
        heading(figure, context.title, context.subtitle)
        _bars(axes, ordered, context)
        _peak(axes, context)
        _write(axes, ordered, columns)
        _legend(axes, ordered)
        for i, remark in enumerate(reversed(remarks)):
            figure.text(0.02, (0.08 + _LINE * i) / height, remark, fontsize=8, va="bottom")
        return save(figure, path)


def _remarks(rows: Sequence[ComparisonRow], context: RowContext) -> list[str]:
    """What stands below the bars, a line each: doubts that a reader of the picture alone would not have."""
    doubts = [f"Nothing is declared: {context.disturbed}"] if context.disturbed else []
    if context.unfinished:
        doubts.append("Interrupted before a final: times are of the sweeps, taken apart")
    if context.peak_doubt:
        doubts.append(context.peak_doubt)
    return [*doubts, *(f"{row.implementation}: {row.remark}" for row in rows if row.remark)]


def _label(row: ComparisonRow) -> str:
    return row.implementation + (" (tie)" if row.is_tie else "")


def colour_of(row: ComparisonRow) -> str:
    """By kind: library, naive, tuned here."""
    if row.is_baseline:
        return LIBRARY
    return NAIVE if row.is_naive else TUNED


def _bars(axes: "Axes", rows: Sequence[ComparisonRow], context: RowContext) -> None:
    places = range(len(rows))
    speeds = [row.gflops for row in rows]
    # A short time is a high rate: the ends of the interval change places.
    low = [row.gflops - context.flops / row.interval.high / 1e9 for row in rows]
    high = [context.flops / row.interval.low / 1e9 - row.gflops for row in rows]
    axes.barh(places, speeds, height=0.66, color=[colour_of(row) for row in rows])
    axes.errorbar(speeds, places, xerr=[low, high], fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    axes.set_yticks(list(places), [_label(row) for row in rows])
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if row.is_winner or row.is_tie else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    ends = [speed + up for speed, up in zip(speeds, high, strict=True)]
    limit = max([*ends, (context.peak_flops or 0) / 1e9])
    # A number beside the longest whisker needs room of its own.
    outside = any(end > 0.8 * limit and speed - down <= 0.3 * limit
                  for speed, down, end in zip(speeds, low, ends, strict=True))  # fmt: skip
    axes.set_xlim(0, (1.25 if outside else 1.03) * limit)
    axes.set_xlabel("GFLOP/s, median with 95% interval")
    axes.grid(axis="x")
    starts = [speed - down for speed, down in zip(speeds, low, strict=True)]
    for place, row, start, end in zip(places, rows, starts, ends, strict=True):
        inside = start > 0.3 * limit  # else it would lie under the whisker
        x = 0.012 * limit if inside else end + 0.012 * limit
        colour = "white" if inside and not row.is_baseline else INK
        axes.text(x, place, f"{significant(row.gflops)} GFLOP/s", va="center", fontsize=9, color=colour)


def _peak(axes: "Axes", context: RowContext) -> None:
    if not context.peak_flops:
        return
    peak = context.peak_flops / 1e9
    axes.axvline(peak, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))

    def percent_of(x: Any) -> Any:
        return 100 * x / peak

    def from_percent(x: Any) -> Any:
        return x * peak / 100

    shares = axes.secondary_xaxis("top", functions=(percent_of, from_percent))
    doubt = ", disturbed" if context.peak_doubt else ""
    shares.set_xlabel(f"% of the measured peak ({significant(peak)} GFLOP/s{doubt})", labelpad=6)
    if axes.get_xlim()[1] < 1.2 * peak:
        shares.set_xticks([0, 20, 40, 60, 80, 100])


def _columns(rows: Sequence[ComparisonRow]) -> list[tuple[str, float, list[str]]]:
    """Texts beside the bars: heading, width as a share of the figure, text a row; no empty column."""
    columns = [("time", 0.135, [_time(row) for row in rows])]
    for name, speedups in (
        ("vs naive", [row.speedup_naive for row in rows]),
        ("vs best library", [row.speedup_library for row in rows]),
    ):
        if any(speedups):
            texts = [ratio(speedup) for speedup in speedups]
            columns.append((name, max(0.155, _CHARACTER * (2 + max(map(len, texts)))), texts))
    return columns


def _write(
    axes: "Axes", rows: Sequence[ComparisonRow], columns: Sequence[tuple[str, float, list[str]]]
) -> None:
    place = axes.get_yaxis_transform()  # x in shares of the axes, y in rows
    width = axes.get_position().width
    x = 1 + 0.012 / width
    for name, share, texts in columns:
        axes.text(x, -0.62, name, transform=place, fontsize=9, color=MUTED, va="bottom", fontweight="bold")
        for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
            weight = "bold" if row.is_winner or row.is_tie else "normal"
            axes.text(x, i, text, transform=place, fontsize=9, va="center", fontweight=weight)
        x += share / width


def _time(row: ComparisonRow) -> str:
    evidence = "" if row.evidence == "measured" else f" ({row.evidence})"
    return f"{seconds(row.interval.mid)} {spread(row.interval)}{evidence}"


_KINDS = {TUNED: "tuned here", LIBRARY: "library", NAIVE: "naive"}


def _kinds(rows: Sequence[ComparisonRow]) -> list[str]:
    """The colours present."""
    return [colour for colour in _KINDS if any(colour_of(row) == colour for row in rows)]


def _legend(axes: "Axes", rows: Sequence[ComparisonRow]) -> None:
    from matplotlib.patches import Patch

    present = _kinds(rows)
    if len(present) < 2:
        return
    axes.legend(
        handles=[Patch(color=colour, label=_KINDS[colour]) for colour in present], loc="upper left",
        bbox_to_anchor=(1 + 0.01 / axes.get_position().width, -0.02), ncols=3, frameon=False, fontsize=9,
        borderaxespad=0,
    )  # fmt: skip


def caption(rows: Sequence[ComparisonRow]) -> str:
    """One sentence for below the picture: who is the fastest, and by how much."""
    ordered = sorted(rows, key=lambda r: r.interval.mid)
    best = ordered[0]
    ties = [row.implementation for row in ordered if row.is_tie]
    if ties:
        tied = f"Tie at 95%: {', '.join(ties)}."
        library = next((row for row in ordered if row.is_baseline and row.is_tie), None)
        surer = [
            f"{row.implementation} is, {ratio(row.speedup_library)}"
            for row in ordered
            if not row.is_baseline and row.speedup_library is not None and row.speedup_library.low > 1
        ]
        if library is None or not surer:
            return tied
        return f"{tied} Yet surely faster than {library.implementation}: {'; '.join(surer)}."
    sure = best.is_winner or len(ordered) == 1
    name = best.implementation
    told = f"{name} is the fastest" if sure else f"Nothing is declared; {name} has the shortest time"
    told += f": {significant(best.gflops)} GFLOP/s"
    if best.share_of_peak:
        told += f", {percent(best.share_of_peak)} of the measured peak"
    for text, speedup in (("naive", best.speedup_naive), ("the best library", best.speedup_library)):
        if speedup is not None and speedup.mid != 1.0:
            told += f", {ratio(speedup)} {text}"
    return told + (f" ({best.remark})." if best.remark else ".")
