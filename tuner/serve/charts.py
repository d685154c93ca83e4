"""Charts of served pages, as Vega-Lite specifications in the style of reports."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.report.comparison import is_naive
from tuner.report.html.charts import coloured
from tuner.report.html.vega import Chart, Spec, nominal, number, room_after_bars, tooltip
from tuner.report.text import seconds
from tuner.store.browse.curves import Dot
from tuner.store.browse.trial_list import TrialEntry

_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
_BAR = 30  # pixels, with its gap
# Bars of more times the fastest one's time end at the edge: beside seconds no microseconds would be seen.
_AXIS = 4


def unit_of(time_s: float) -> tuple[str, float]:
    """The unit to show times around this one in, and its size in seconds."""
    return next(((name, size) for name, size in _UNITS if time_s >= size), _UNITS[-1])


def sweep_chart(dots: Sequence[Dot], records: Sequence[TrialEntry], trials: int) -> Chart | None:
    """The times of a sweep's trials, and the best so far as a step curve; `None` where none has a time.

    Args:
        dots: a sample of its trials.
        records: those that were the fastest when they were stored.
        trials: how many there are.
    """
    if not records:
        return None
    unit, size = unit_of(records[-1].time_s or 1.0)
    points = [_point(d.number, d.trial, d.time_s, size) for d in dots if d.time_s is not None]
    steps = [_point(r.number, r.id, r.time_s or 0, size) for r in records]
    end = {**steps[-1], "number": max(trials - 1, records[-1].number)}
    tip = tooltip(trial="trial", number="number", shown="time")
    scale = {"type": "log", "nice": False, "padding": 8}
    axis = {"tickCount": 6, "format": ".4~r"}
    y = number("time", title=f"time ({unit}), logarithmic", scale=scale, axis=axis)
    dot = {"type": "point", "filled": True}
    spec: Spec = {
        "height": 260,
        "encoding": {
            "x": number("number", title="number of the trial"),
            "y": y,
        },
        "layer": [
            {
                "data": {"values": points},
                "mark": {**dot, "size": 22, "opacity": 0.45, "color": "--naive"},
                "encoding": {"tooltip": tip},
            },
            {
                "data": {"values": [*steps, end]},
                "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2.5, "color": "--tuned"},
            },
            {
                "data": {"values": steps},
                "mark": {**dot, "size": 45, "opacity": 1, "color": "--tuned"},
                "encoding": {"tooltip": tip},
            },
        ],
    }
    last = seconds(records[-1].time_s or 0)
    some = f" Of {trials:,} trials {len(dots):,} are drawn." if len(dots) < trials else ""
    caption = f"The line is the best time so far, grey dots are trials with a time. Lower is faster.{some}"
    return Chart("sweep", spec, caption, f"Best time so far over {trials} trials; it ends at {last}.")


def _point(place: int, trial: int, time_s: float, size: float) -> dict[str, Any]:
    return {"number": place, "time": time_s / size, "shown": seconds(time_s), "trial": f"t{trial}"}


def live_chart() -> Chart:
    """The empty chart that `live.js` fills: best so far of each running sweep."""
    spec: Spec = {
        "height": 240,
        "data": {"values": []},
        "encoding": {
            "x": number("number", title="trials so far"),
            "y": number("ratio", title="best so far, of the first seen here", scale={"zero": True}),
            "color": nominal("sweep", title=None, legend={"orient": "top"}),
        },
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "point": True},
    }
    return Chart("live", spec, "As trials come in: the best time so far of each sweep.", "Best time so far.")


def bars(name: str, entries: Sequence[Mapping[str, Any]], caption: str = "") -> Chart | None:
    """A bar an implementation with its 95% interval, the fastest on top; `None` without any.

    Args:
        name: of the chart, unique on its page.
        entries: `kernel`, `trial`, `shown_s` (seconds), `interval_s` (low, median, high; or `None`),
            `baseline` and `label`, a remark. A kernel with several has a bar for each, named with its trial.
        caption: what stands below it.
    """
    if not entries:
        return None
    ordered = sorted(entries, key=lambda entry: entry["shown_s"])
    unit, size = unit_of(ordered[0]["shown_s"])
    values = _bar_values(ordered, size)
    scale = {"domain": [0, 1.05 * max(v["high"] for v in values)]}
    title = f"time ({unit}); whiskers: 95% interval"
    time = number("time", title=title, scale=scale, axis={"tickCount": 5})
    tip = tooltip(kernel="kernel", shown="time", label="remark")
    spec: Spec = {
        "height": _BAR * len(values),
        "data": {"values": values},
        "encoding": {"y": nominal("kernel", sort=None, title=None, axis={"ticks": False, "domain": False})},
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.7}, "cornerRadiusEnd": 3},
                "encoding": {"x": time, "color": coloured({v["kind"] for v in values}), "tooltip": tip},
            },
            {
                "mark": {"type": "rule", "color": "--ink", "strokeWidth": 1.5},
                "encoding": {"x": number("low"), "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 6},
                "encoding": {"x": number("high"), "text": nominal("shown")},
            },
        ],
        **room_after_bars(max((value["shown"] for value in values), key=len)),
    }
    first = values[0]
    about = f"Bars of {len(values)} configurations; {first['kernel']} is the fastest with {first['shown']}."
    more = " An arrow: longer than it is drawn." if values[-1]["beyond"] else ""
    return Chart(name, spec, (caption or "Shorter is faster.") + more, about)


def _bar_values(ordered: Sequence[Mapping[str, Any]], size: float) -> list[dict[str, Any]]:
    """The data of `bars`, the fastest first, in a unit of so many seconds."""
    often = Counter(entry["kernel"] for entry in ordered)
    edge = _AXIS * ordered[0]["shown_s"]
    values = []
    for place, entry in enumerate(ordered):
        low, _, high = entry["interval_s"] or (entry["shown_s"],) * 3
        if beyond := entry["shown_s"] > edge:
            low = high = edge
        values.append(
            {
                "place": place,
                # Bars of one name would be stacked on each other.
                "kernel": entry["kernel"] + (f" (t{entry['trial']})" if often[entry["kernel"]] > 1 else ""),
                "time": min(entry["shown_s"], edge) / size,
                "low": low / size,
                "high": high / size,
                "shown": ("→ " if beyond else "") + seconds(entry["shown_s"]),
                "beyond": beyond,
                "label": entry["label"],
                "kind": _kind(entry),
            }
        )
    return values


def _kind(entry: Mapping[str, Any]) -> str:
    return "library" if entry["baseline"] else "plain program" if is_naive(entry["kernel"]) else "tuned here"


def samples_chart(samples: Sequence[float]) -> Chart | None:
    """The samples of a trial in the order they were taken; `None` for fewer than three."""
    if len(samples) < 3:
        return None
    step = max(1, len(samples) // 500)
    unit, size = unit_of(min(samples))
    values = [{"number": i + 1, "time": s / size, "shown": seconds(s)} for i, s in enumerate(samples)][::step]
    spec: Spec = {
        "height": 160,
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "size": 45, "color": "--tuned", "opacity": 0.8},
        "encoding": {
            "x": number(
                "number",
                title="sample",
                axis={"tickMinStep": 1},
                scale={"zero": False, "nice": False, "padding": 12},
            ),
            "y": number("time", title=f"time ({unit})", scale={"zero": False}),
            "tooltip": tooltip(number="sample", shown="time"),
        },
    }
    about = f"{len(samples)} samples between {seconds(min(samples))} and {seconds(max(samples))}."
    return Chart("samples", spec, "The time of one call, sample by sample, as measured.", about)
