"""The roofline of a page: what the device allows at an arithmetic intensity, and where implementations are.

Source: Williams, Waterman and Patterson, Roofline: an insightful visual performance model for multicore
architectures, CACM 52(4), 2009. Roofs are the peaks measured on the device, not its data sheet's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.report.html.charts import kind_of, kinds
from tuner.report.html.vega import Chart, Spec, nominal, number, rows_of, tooltip
from tuner.report.rows import ComparisonRow, RowContext
from tuner.report.style import apart
from tuner.report.text import intensity, significant


def roofline(rows: Sequence[ComparisonRow], context: RowContext) -> Chart | None:
    """The measured roofs and a point an implementation, all at the intensity of the compulsory traffic.

    Returns:
        `None` where a roof is not known, or there is nothing to show under it.
    """
    if not rows or not context.peak_flops or not context.bandwidth or not context.bytes:
        return None
    peak, slope = context.peak_flops / 1e9, context.bandwidth / 1e9
    here, ridge = context.flops / context.bytes, peak / slope
    attainable = min(peak, here * slope)
    left, right = min(here, ridge) / 8, max(here, ridge) * 40
    rates = [row.gflops for row in rows]
    low, high = min(*rates, left * slope) / 1.5, 2.2 * max(*rates, peak)
    # A roof is straight on two logarithmic axes.
    roofs = [{"intensity": i, "rate": min(peak, i * slope)} for i in (left, ridge, right)]
    x, y = (
        _axis("intensity", "FLOP per byte that must move", left, right),
        _axis("rate", "GFLOP/s", low, high),
    )
    middle = math.sqrt(left * min(here, ridge))
    bandwidth = {"intensity": middle, "rate": middle * slope, "text": f"{significant(slope)} GB/s"}
    top = {"intensity": right / 1.1, "rate": peak * 1.18, "text": f"peak {significant(peak)} GFLOP/s"}
    spec = {
        "height": 340,
        "encoding": {"x": x, "y": y},
        "layer": [
            {"data": rows_of(roofs), "mark": {"type": "line", "color": "--ink", "strokeWidth": 2}},
            {
                "data": rows_of([{"intensity": here}]),
                "encoding": {"y": {"value": 0}, "y2": {"value": "height"}},
                "mark": {"type": "rule", "color": "--muted", "strokeDash": [5, 4]},
            },
            _label(bandwidth, dx=-8, dy=-6),
            _label(top),
            *_points(rows, here, (low, high), attainable),
        ],
    }
    best = max(rows, key=lambda row: row.gflops)
    limit = "the peak" if here >= ridge else "the bandwidth"
    caption = (
        f"This workload does {intensity(here)}, so {limit} bounds it: {significant(attainable)} GFLOP/s "
        f"can be reached; {best.implementation} reaches {best.gflops / attainable:.0%} of it."
    )
    if context.peak_doubt:
        caption += f" {context.peak_doubt}"
    return Chart("roofline", spec, caption, f"Roofline with {len(rows)} implementations. {caption}")


def _axis(field: str, title: str, low: float, high: float) -> Spec:
    scale = {"type": "log", "domain": [low, high], "nice": False}
    return number(field, title=title, scale=scale, axis={"tickCount": 5, "format": "~g"})


def _label(row: Mapping[str, Any], **mark: Any) -> Spec:
    return {
        "data": rows_of([row]),
        "mark": {"type": "text", "align": "right", "color": "--muted", **mark},
        "encoding": {"text": nominal("text")},
    }


def _points(rows: Sequence[ComparisonRow], here: float, span: tuple[float, float], roof: float) -> list[Spec]:
    """A point an implementation, and beside it its name, moved up or down where names would overlap."""
    ordered = sorted(rows, key=lambda row: row.gflops)
    low, high = (math.log10(v) for v in span)
    gap = 0.05 * (high - low)
    levels = [math.log10(row.gflops) for row in ordered]
    # Names stay under the roof, unless something is faster than it.
    under = math.log10(roof)
    heights = apart(levels, gap, low + gap, under - 0.8 * gap if levels[-1] < under else high - gap)
    values = [
        {
            "intensity": here,
            "rate": row.gflops,
            "kind": kind_of(row),
            "name": row.implementation,
            "shown": f"{significant(row.gflops)} GFLOP/s",
            "share": f"{row.gflops / roof:.0%}",
            "at": 10**height,
            "beside": here * 1.3,
            "text": f"{row.implementation} {significant(row.gflops)}",
        }
        for row, height in zip(ordered, heights, strict=True)
    ]
    point = {"type": "point", "filled": True, "size": 90, "stroke": "--page", "strokeWidth": 1, "opacity": 1}
    shown = tooltip(name="implementation", shown="rate", share="of what is attainable")
    # Names that a narrow page has no room for end in dots; the point's tooltip has them whole.
    room = {"expr": f"width - scale('x', {here * 1.3:g}) - 8"}
    return [
        {
            "data": rows_of(values),
            "mark": {"type": "rule", "color": "--muted", "strokeWidth": 0.8},
            "encoding": {"x2": {"field": "beside"}, "y2": {"field": "at"}},
        },
        {
            "data": rows_of(values),
            "mark": point,
            "encoding": {"color": kinds(ordered), "tooltip": shown},
        },
        {
            "data": rows_of(values),
            "mark": {"type": "text", "align": "left", "dx": 4, "limit": room},
            "encoding": {"x": number("beside"), "y": number("at"), "text": nominal("text")},
        },
    ]
