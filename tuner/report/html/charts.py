"""The charts of a comparison: bars with intervals, and best so far. The roofline is `roofline.py`."""

from collections.abc import Collection, Sequence
from typing import Any

from tuner.report.curves import Curve
from tuner.report.html.vega import Chart, Spec, nominal, number, room_after_bars, rows_of, tooltip
from tuner.report.rows import ComparisonRow, RowContext
from tuner.report.text import ratio, seconds, significant, spread

_KINDS = {"tuned here": "--tuned", "library": "--library", "plain program": "--naive"}
_ROW = 34  # pixels of a bar with its gap


def kind_of(row: ComparisonRow) -> str:
    """What an implementation is: library, plain program, tuned here."""
    return "library" if row.is_baseline else "plain program" if row.is_naive else "tuned here"


def kinds(rows: Sequence[ComparisonRow]) -> dict[str, Any]:
    """The colour of a bar or point by its kind, with a legend where there is more than one."""
    return coloured({kind_of(row) for row in rows})


def coloured(there: Collection[str]) -> dict[str, Any]:
    """The colour of a field `kind` that has these of the values of `kind_of`; see `kinds`."""
    present = [kind for kind in _KINDS if kind in there]
    legend = {"orient": "top", "title": None} if len(present) > 1 else None
    return nominal(
        "kind", legend=legend, scale={"domain": present, "range": [_KINDS[kind] for kind in present]}
    )


def comparison(rows: Sequence[ComparisonRow], context: RowContext) -> Chart:
    """A bar an implementation, the fastest on top, with the 95% interval as a whisker.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a chart needs at least one row")
    ordered = sorted(rows, key=lambda row: row.interval.mid)
    values = [_bar(row, context) for row in ordered]
    y = nominal("name", sort=None, title=None, axis={"ticks": False, "domain": False})
    ends = max(value["high"] for value in values)
    scale = {"domain": [0, 1.05 * max(ends, (context.peak_flops or 0) / 1e9)]}
    whiskers = (
        "; whiskers: 95% interval" if any(row.evidence != "predicted" for row in rows) else ", predicted"
    )
    x = number("rate", title=f"GFLOP/s{whiskers}", scale=scale, axis={"tickCount": 5})
    shown = tooltip(
        name="implementation", time="time", shown="GFLOP/s", library="vs best library",
        naive="vs plain program", evidence="evidence",
    )  # fmt: skip
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "height": {"band": 0.72}, "cornerRadiusEnd": 3},
            "encoding": {
                "x": x,
                "color": kinds(ordered),
                "tooltip": shown,
                "opacity": {"condition": {"test": "datum.evidence == 'measured'", "value": 1}, "value": 0.45},
            },
        },
        {
            "transform": [{"filter": "datum.evidence != 'predicted'"}],
            "mark": {"type": "rule", "color": "--ink", "strokeWidth": 1.5},
            "encoding": {"x": number("low"), "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 7, "fontWeight": "bold"},
            "encoding": {"x": number("high"), "text": nominal("label")},
        },
    ]
    if context.peak_flops:
        layers.append(_peak_rule(context))
    spec = {
        "height": _ROW * len(values), "data": rows_of(values), "encoding": {"y": y}, "layer": layers,
        **room_after_bars(max((value["label"] for value in values), key=len)),
    }  # fmt: skip
    best = ordered[0]
    time = seconds(best.interval.mid)
    about = f"Bars of {len(values)} implementations; the fastest is {best.implementation} with {time}."
    caption = "Longer is faster."
    if context.peak_flops:
        peak = significant(context.peak_flops / 1e9)
        caption += f" The dashed line is the peak measured on this device, {peak} GFLOP/s."
    if any(row.evidence != "measured" for row in rows):
        caption += " Pale bars were not measured."
    return Chart("comparison", spec, caption, about)


def _bar(row: ComparisonRow, context: RowContext) -> dict[str, Any]:
    mark = " (tie)" if row.is_tie else ""
    known = "" if row.evidence == "predicted" else f" {spread(row.interval)}"
    predicted = row.evidence == "predicted"
    return {
        "name": row.implementation + mark,
        "kind": kind_of(row),
        "rate": row.gflops,
        # A short time is a high rate: the ends of the interval change places.
        "low": row.gflops if predicted else context.flops / row.interval.high / 1e9,
        "high": row.gflops if predicted else context.flops / row.interval.low / 1e9,
        "time": f"{seconds(row.interval.mid)}{known}",
        "shown": significant(row.gflops),
        "label": f"{seconds(row.interval.mid)}",
        "library": ratio(row.speedup_library),
        "naive": ratio(row.speedup_naive),
        "evidence": row.evidence,
    }


def _peak_rule(context: RowContext) -> Spec:
    assert context.peak_flops
    return {
        "data": rows_of([{"peak": context.peak_flops / 1e9}]),
        "mark": {"type": "rule", "color": "--muted", "strokeDash": [5, 4], "strokeWidth": 1.5},
        # Not of any bar: over the whole height.
        "encoding": {"x": number("peak"), "y": {"value": 0}, "y2": {"value": "height"}},
    }


def best_so_far(
    curves: Sequence[Curve], context: RowContext, references: Sequence[tuple[str, float]] = ()
) -> list[Chart]:
    """Best rate over trials and over seconds, a step curve a sweep; none where no sweep had a success.

    Args:
        curves: of the sweeps.
        context: for the operations.
        references: name and seconds of what has no parameters; the fastest is a line across.
    """
    drawn = [curve for curve in curves if any(point.best_s is not None for point in curve.points)]
    if not drawn:
        return []
    values = [value for curve in drawn for value in _steps(curve, context.flops)]
    about = f"Best so far of {len(drawn)} searches; the last values are " + ", ".join(
        f"{value['name']} {value['shown']}" for value in values if value["last"]
    )
    level = _level(references, context)
    trials = _curves(values, "trials", "trials, failed ones included", level)
    elapsed = _curves(
        [v for v in values if v["seconds"] > 0], "seconds", "seconds since the search began", level
    )
    return [
        Chart("best_by_trials", trials, "Best rate found after so many trials.", about),
        Chart(
            "best_by_seconds", elapsed, "The same by time: building, verifying and measuring included.", about
        ),
    ]


def _steps(curve: Curve, flops: int) -> list[dict[str, Any]]:
    """The points where a curve rises, and its last one: all that a step curve shows."""
    found: list[dict[str, Any]] = []
    best = None
    last = curve.points[-1]
    for point in curve.points:
        if point.best_s is None or (point.best_s == best and point is not last):
            continue
        best = point.best_s
        rate = flops / best / 1e9
        found.append(
            {
                "name": curve.label,
                "trials": point.number + 1,
                "seconds": round(point.elapsed_s, 3),
                "rate": rate,
                "shown": f"{significant(rate)} GFLOP/s",
                "last": point is last,
            }
        )
    return found


def _level(references: Sequence[tuple[str, float]], context: RowContext) -> list[Spec]:
    """A line at the rate of the fastest of those that have no parameters, with its name."""
    if not references:
        return []
    name, time_s = min(references, key=lambda item: item[1])
    rate = context.flops / time_s / 1e9
    values = [{"level": rate, "text": f"{name} {significant(rate)}"}]
    y = number("level")
    return [
        {
            "data": rows_of(values),
            "mark": {"type": "rule", "color": "--muted", "strokeDash": [5, 4]},
            "encoding": {"y": y, "x": {"value": 0}, "x2": {"value": "width"}, "color": {"value": "--muted"}},
        },
        {
            "data": rows_of(values),
            "mark": {"type": "text", "align": "right", "dx": -4, "dy": -8},
            "encoding": {
                "y": y,
                "x": {"value": "width"},
                "color": {"value": "--muted"},
                "text": nominal("text"),
            },
        },
    ]


def _curves(values: Sequence[dict[str, Any]], along: str, title: str, level: Sequence[Spec]) -> Spec:
    x = number(along, title=title, scale={"nice": False}, axis={"tickCount": 5, "tickMinStep": 1})
    y = number("rate", title="GFLOP/s", scale={"zero": True})
    names = list(dict.fromkeys(value["name"] for value in values))
    colour = nominal("name", title=None, sort=names, legend={"orient": "top"} if len(names) > 1 else None)
    shown = tooltip(name="kernel", shown="best so far", trials="after trials", seconds="after seconds")
    return {
        "height": 260,
        "data": rows_of(values),
        "encoding": {"x": x, "y": y, "color": colour},
        "layer": [
            *level,
            {"mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2}},
            {"mark": {"type": "point", "filled": True, "size": 36}, "encoding": {"tooltip": shown}},
        ],
    }
