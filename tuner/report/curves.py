"""How a search converged: best so far after each trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.report.rows import RowContext
from tuner.report.style import DASHES, INK, MUTED, SERIES, apart, drawing, heading, new_figure, save
from tuner.report.text import significant
from tuner.store.records import CurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Curve:
    """The best-so-far curve of one sweep; `label` is unique among the curves."""

    label: str
    points: Sequence[CurvePoint]


def convergence_chart(
    curves: Sequence[Curve],
    context: RowContext,
    path: Path,
    references: Sequence[tuple[str, float]] = (),
) -> list[Path]:
    """Draws best GFLOP/s over the number of trials, a step curve a sweep.

    Trials before the first success have no point: the curve begins where there is something to show.

    Args:
        curves: sweeps.
        context: for the titles and the operations.
        path: without an ending.
        references: label and seconds of what the curves are compared with, drawn as horizontal lines.

    Returns:
        The files written: PNG and SVG.

    Raises:
        TunerError: they cannot be written.
        ValueError: no curve has a success.
    """
    drawn = [curve for curve in curves if any(p.best_s is not None for p in curve.points)]
    if not drawn:
        raise ValueError("no curve has a trial that succeeded")
    from matplotlib.ticker import MaxNLocator

    with drawing():
        height = 5.0
        figure = new_figure(10, height)
        axes = figure.add_axes((0.075, 0.62 / height, 0.70, 1 - (0.62 + 0.95) / height))
        heading(figure, f"{context.title}: best so far", context.subtitle)
        # (label, level in GFLOP/s, colour) of all that gets a name at the right edge.
        labels = [_step(axes, curve, i, context.flops) for i, curve in enumerate(drawn)]
        for label, time_s in references:
            level = context.flops / time_s / 1e9
            axes.axhline(level, color=MUTED, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=1)
            labels.append((label, level, MUTED))
        trials = max(curve.points[-1].number + 1 for curve in drawn)
        axes.set_xlim(0.5, max(trials, 2) + 0.5)
        for curve, (_, level, colour) in zip(drawn, labels, strict=False):
            # A search that ended early is carried on to its name.
            ended = curve.points[-1].number + 1
            axes.plot([ended, axes.get_xlim()[1]], [level] * 2, color=colour, linewidth=0.8, zorder=2)
        axes.set_ylim(0, 1.06 * max(level for _, level, _ in labels))
        axes.set_xlabel("trials, failed ones included")
        axes.set_ylabel("best so far, GFLOP/s")
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        _name(axes, labels)
        return save(figure, path)


def _step(axes: "Axes", curve: Curve, index: int, flops: int) -> tuple[str, float, str]:
    right = [p for p in curve.points if p.best_s is not None]
    x = [p.number + 1 for p in right]
    y = [flops / p.best_s / 1e9 for p in right if p.best_s is not None]
    colour, dash = SERIES[index % len(SERIES)], DASHES[index % len(DASHES)]
    axes.step(x, y, where="post", color=colour, linestyle=dash, linewidth=2.0, zorder=3)
    improved = [i for i in range(len(y)) if i == 0 or y[i] > y[i - 1]]
    axes.plot([x[i] for i in improved], [y[i] for i in improved], "o", color=colour, markersize=4, zorder=4)
    return curve.label, y[-1], colour


def _name(axes: "Axes", labels: Sequence[tuple[str, float, str]]) -> None:
    """Names at the right edge beside the lines, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    place = axes.get_yaxis_transform()
    ordered = sorted(labels, key=lambda item: item[1])
    heights = apart([level for _, level, _ in ordered], 0.052 * (high - low), low, high)
    for (label, level, colour), height in zip(ordered, heights, strict=True):
        axes.annotate(
            f"{label}  {significant(level)}", xy=(1.0, level), xycoords=place, xytext=(1.035, height),
            textcoords=place, fontsize=9, va="center", color=INK if colour == MUTED else colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 0,
                        "relpos": (0, 0.5)},
        )  # fmt: skip
