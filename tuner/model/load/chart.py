"""Latency over the rate, a pair of curves for each batch, and what was answered of what was asked."""

import math
from collections.abc import Sequence
from pathlib import Path

from tuner.model.load.arrivals import RequestOutcome
from tuner.report.style import MUTED, SERIES, drawing, heading, new_figure, save


def rate_chart(title: str, subtitle: str, found: Sequence[RequestOutcome], path: Path) -> list[Path]:
    """Draws milliseconds from due to answered (p50, p99) and answered rows a second over the rate.

    Args:
        title, subtitle: above it.
        found: two rates or more.
        path: without an ending.

    Returns:
        The files written: PNG and SVG.

    Raises:
        TunerError: they cannot be written.
    """
    with drawing():
        figure = new_figure(10, 4.6)
        heading(figure, title, subtitle)
        left, right = (figure.add_axes((x, 0.13, 0.40, 0.66)) for x in (0.075, 0.575))
        for place, batch in enumerate(dict.fromkeys(outcome.batch for outcome in found)):
            points = sorted((o for o in found if o.batch == batch), key=lambda o: o.rate)
            colour, rates = SERIES[place % len(SERIES)], [point.rate for point in points]
            for percent, dash in ((50, "-"), (99, "--")):
                times = [1e3 * point.percentile(percent) for point in points]
                left.plot(rates, times, color=colour, linestyle=dash, marker="o", markersize=4,
                          label=f"batch {batch}, p{percent}")  # fmt: skip
            right.plot(rates, [point.throughput for point in points], color=colour, marker="o", markersize=4,
                       label=f"batch {batch}, answered")  # fmt: skip
            right.plot(rates, [rate * batch for rate in rates], color=MUTED, linestyle=":", linewidth=1)
        times = [point.percentile(p) for point in found for p in (50, 99)]
        known = [t for t in times if math.isfinite(t) and t > 0]
        if known and max(known) > 20 * min(known):
            left.set_yscale("log")
        else:
            left.set_ylim(bottom=0)
        right.set_ylim(bottom=0)
        for side, label in ((left, "ms from due to answered"), (right, "inputs/s (dotted: asked for)")):
            side.set_xlabel("requests/s")
            side.set_ylabel(label)
            side.grid()
            side.legend(frameon=False, labelcolor=MUTED)
        return save(figure, path)
