"""Latency of a whole model over the batch, a curve for each way to run it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.model.comparing import AtBatch, ContestantTimes
from tuner.model.contestants import OURS, RUNTIME
from tuner.report.style import DASHES, MUTED, SERIES, drawing, heading, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def batch_chart(title: str, subtitle: str, found: Sequence[AtBatch], path: Path) -> list[Path]:
    """Draws milliseconds a run and a single input against the batch, with 95% intervals.

    Of ONNX Runtime's settings the fastest of each batch is drawn, as one curve.

    Args:
        title, subtitle: above it.
        found: two batches or more.
        path: without an ending.

    Returns:
        The files written: PNG and SVG.

    Raises:
        TunerError: they cannot be written.
    """
    curves: dict[str, list[tuple[int, ContestantTimes]]] = {}
    for at in found:
        best: set[str] = set()
        for timed in at.timed:  # fastest first
            name = "ONNX Runtime, best" if timed.name.startswith(RUNTIME) else timed.name
            if name not in best:
                best.add(name)
                curves.setdefault(name, []).append((at.batch or 1, timed))
    with drawing():
        figure = new_figure(10, 4.6)
        heading(figure, title, subtitle)
        sides = [figure.add_axes((left, 0.13, 0.40, 0.66)) for left in (0.075, 0.575)]
        for side, label, each in zip(sides, ("ms a run", "ms an input"), (False, True), strict=True):
            for place, name in enumerate(sorted(curves, key=lambda n: n != OURS)):
                _curve(side, name, curves[name], place, each)
            batches = sorted({batch for points in curves.values() for batch, _ in points})
            side.set_xscale("log", base=2)
            side.set_xticks(batches, [str(batch) for batch in batches])
            side.minorticks_off()
            side.set_ylim(bottom=0)
            side.set_xlabel("batch")
            side.set_ylabel(label)
            side.grid()
        sides[0].legend(frameon=False, labelcolor=MUTED)
        return save(figure, path)


def _curve(
    axes: "Axes", name: str, points: Sequence[tuple[int, ContestantTimes]], place: int, each: bool
) -> None:
    by = [1e3 / (batch if each else 1) for batch, _ in points]
    mids = [timed.latency.mid * f for (_, timed), f in zip(points, by, strict=True)]
    below = [(t.latency.mid - t.latency.low) * f for (_, t), f in zip(points, by, strict=True)]
    above = [(t.latency.high - t.latency.mid) * f for (_, t), f in zip(points, by, strict=True)]
    axes.errorbar(
        [batch for batch, _ in points], mids, yerr=[below, above], label=name,
        color=SERIES[place % len(SERIES)], linestyle=DASHES[place % len(DASHES)],
        marker="o", markersize=4, capsize=2,
    )  # fmt: skip
