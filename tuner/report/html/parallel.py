"""Parallel coordinates: a line a trial through the values that its parameters had.

Source of the chart: Inselberg, The plane with parallel coordinates, The Visual Computer 1 (1985).
"""

import math
from collections.abc import Sequence
from typing import Any

from tuner.report.html.importance import Choice
from tuner.report.html.vega import Chart, Spec, nominal, number, rows_of, tooltip
from tuner.report.text import seconds
from tuner.store.lines import TrialLine

_LINES = 160


def parallel(kernel: str, axes: Sequence[Choice], timed: Sequence[TrialLine]) -> Chart:
    """The fastest trial strong, the fastest tenth, and a sample of the rest faint.

    Args:
        kernel: the chart's name begins with its name.
        axes: parameters, from left to right.
        timed: trials that have a time and all of these parameters.
    """
    ordered = sorted(timed, key=lambda line: line.time_s or math.inf)
    chosen = ordered[: _LINES // 2]
    rest = ordered[_LINES // 2 :]
    chosen += rest[:: math.ceil(len(rest) / (_LINES // 2)) or 1]
    left = len(timed) - len(chosen)
    caption = "Each line is a trial, each axis a parameter from its first value (below) to its last (above)."
    caption += f" {left:,} slower trials are not drawn." if left else ""
    spec = _spec(axes, _values(axes, chosen, len(timed) / 10))
    return Chart(f"{kernel}_parallel", spec, caption, caption)


def _values(axes: Sequence[Choice], chosen: Sequence[TrialLine], tenth: float) -> list[dict[str, Any]]:
    """A row a trial and axis, the slowest first: the fastest are drawn last, on top."""
    values: list[dict[str, Any]] = []
    for rank, line in reversed(list(enumerate(chosen))):
        assert line.time_s is not None
        group = "fastest" if rank == 0 else "fastest tenth" if rank < tenth else "others"
        values += [
            {
                "trial": f"t{line.trial_id}",
                "axis": axis.name,
                "at": round(axis.place(line.config[axis.name]) / (len(axis.values) - 1), 3),
                "value": str(line.config[axis.name]),
                "time": seconds(line.time_s),
                "group": group,
            }
            for axis in axes
        ]
    return values


def _spec(axes: Sequence[Choice], values: Sequence[dict[str, Any]]) -> Spec:
    groups = {"fastest": "--series-1", "fastest tenth": "--tuned", "others": "--naive"}
    scale = {"domain": [*groups], "range": [*groups.values()]}
    colour = nominal("group", title=None, legend={"orient": "top"}, scale=scale)
    across = nominal(
        "axis",
        sort=[axis.name for axis in axes],
        title=None,
        scale={"type": "point", "padding": 0.4},
        axis={"labelAngle": -28, "grid": True, "domain": False},
    )
    line = {
        "detail": nominal("trial"),
        "color": colour,
        "strokeWidth": _by_group(3, 1.4, 0.8),
        "opacity": _by_group(1, 0.6, 0.28),
    }
    shown = tooltip(trial="trial", time="time", axis="parameter", value="value")
    point = {"color": colour, "opacity": _by_group(1, 0.7, 0.3), "tooltip": shown}
    return {
        "height": 300,
        "data": rows_of(values),
        "encoding": {"x": across, "y": number("at", axis=None, scale={"domain": [-0.09, 1.09]})},
        "layer": [
            {"mark": {"type": "line"}, "encoding": line},
            {"mark": {"type": "point", "filled": True, "size": 22}, "encoding": point},
            _ends(axes, 0, 12),
            _ends(axes, 1, -10),
        ],
    }


def _ends(axes: Sequence[Choice], at: int, dy: int) -> Spec:
    """The first or last value of each axis as a text."""
    rows = [{"axis": axis.name, "at": at, "value": str(axis.values[-at])} for axis in axes]
    mark = {"type": "text", "dy": dy, "color": "--muted"}
    return {"data": rows_of(rows), "mark": mark, "encoding": {"text": nominal("value")}}


def _by_group(fastest: float, tenth: float, others: float) -> dict[str, Any]:
    return {
        "condition": [
            {"test": "datum.group == 'fastest'", "value": fastest},
            {"test": "datum.group == 'fastest tenth'", "value": tenth},
        ],
        "value": others,
    }
