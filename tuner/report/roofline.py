"""The roofline: what the device allows at an arithmetic intensity, and where implementations are.

Source: Williams, Waterman and Patterson, Roofline: an insightful visual performance model for multicore
architectures, CACM 52(4), 2009. Roofs are the peaks measured on the device, not its data sheet's.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.report.bars import colour_of
from tuner.report.rows import ComparisonRow, RowContext
from tuner.report.style import INK, MUTED, apart, drawing, heading, new_figure, save
from tuner.report.text import intensity, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_NOTE = 0.19  # inches of a line between the heading and the axes


def roofline_chart(rows: Sequence[ComparisonRow], context: RowContext, path: Path) -> list[Path]:
    """Draws the roofs and a point an implementation, all at the intensity of the compulsory traffic.

    Args:
        rows: of `tuner.report.rows.compare`.
        context: with `peak_flops`, `bandwidth` and `bytes`.
        path: without an ending.

    Returns:
        The files written: PNG and SVG.

    Raises:
        TunerError: they cannot be written.
        ValueError: there are no rows, or the context lacks a peak.
    """
    if not rows or not context.peak_flops or not context.bandwidth or not context.bytes:
        raise ValueError("a roofline needs rows, measured peaks and the bytes that must move")
    peak, slope = context.peak_flops / 1e9, context.bandwidth / 1e9
    here = context.flops / context.bytes
    with drawing():
        notes = [context.peak_doubt] if context.peak_doubt else []
        if doubted := [row.implementation for row in rows if row.remark]:
            notes.append(f"{', '.join(doubted)}: above the measured peak; the comparison's table says why")
        height = 5.4 + _NOTE * len(notes)
        figure = new_figure(9, height)
        axes = figure.add_axes((0.085, 0.62 / height, 0.885, 4.0 / height))
        heading(figure, f"{context.title}: roofline", context.subtitle)
        for i, note in enumerate(notes):
            figure.text(0.02, 1 - (0.76 + _NOTE * i) / height, note, fontsize=8, va="center")
        doubt = ", disturbed" if context.peak_doubt else ""
        _roofs(axes, (peak, slope), here, [row.gflops for row in rows], doubt)
        _points(axes, rows, here, peak)
        return save(figure, path)


def _roofs(
    axes: "Axes", roofs: tuple[float, float], here: float, speeds: Sequence[float], doubt: str
) -> None:
    from matplotlib.ticker import StrMethodFormatter

    peak, slope = roofs
    ridge = peak / slope
    left, right = min(here, ridge) / 8, max(here, ridge) * 16
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=10)
    axes.set_xlim(left, right)
    axes.set_ylim(min(*speeds, left * slope) / 2, 2.5 * max(*speeds, peak))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("arithmetic intensity, FLOP/byte of compulsory traffic")
    axes.set_ylabel("GFLOP/s")
    axes.grid(which="major")
    axes.plot([left, ridge, right], [left * slope, peak, peak], color=INK, linewidth=2)
    axes.axvline(here, color=MUTED, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    axes.text(ridge, peak * 1.08, f"measured peak {significant(peak)} GFLOP/s{doubt}", va="bottom")
    middle = math.sqrt(left * ridge)
    axes.text(
        middle * 1.15, middle * slope * 0.9, f"measured bandwidth {significant(slope)} GB/s{doubt}", va="top"
    )
    bottom = axes.get_ylim()[0]
    axes.text(here * 1.05, bottom * 1.1, intensity(here), color=MUTED, fontsize=9, va="bottom")


def _points(axes: "Axes", rows: Sequence[ComparisonRow], here: float, peak: float) -> None:
    bottom, top = (math.log10(v) for v in axes.get_ylim())
    gap = 0.045 * (top - bottom)
    ordered = sorted(rows, key=lambda r: r.gflops)
    levels = [math.log10(row.gflops) for row in ordered]
    # Names stay under the roof, which has a text of its own above, unless something is faster than it.
    roof = math.log10(peak)
    heights = apart(levels, gap, bottom, roof - 0.7 * gap if levels[-1] < roof else top - gap)
    for row, height in zip(ordered, heights, strict=True):
        marker = "s" if row.is_baseline else "o"
        axes.plot([here], [row.gflops], marker, color=colour_of(row), markersize=8, zorder=4,
                  markeredgecolor="white")  # fmt: skip
        axes.annotate(
            f"{row.implementation}  {significant(row.gflops)}",
            xy=(here, row.gflops), xytext=(here * 1.6, 10**height), va="center", fontsize=9,
            fontweight="bold" if row.is_winner or row.is_tie else "normal",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4,
                        "relpos": (0, 0.5)},
        )  # fmt: skip
