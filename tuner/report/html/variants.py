"""What changes along the sections of a page (threads, sizes, element types), and one chart over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.report.html.section import Section
from tuner.report.html.vega import Chart, Spec, nominal, number, ordinal, rows_of, tooltip
from tuner.report.rows import ComparisonRow
from tuner.report.series_table import base_of
from tuner.report.text import seconds, significant, spread

_APART = "Each place was taken at another minute: a ratio between two has no interval."
_MOST_SIZES = 16  # beyond them labels are on each other: the layers of models have a table


@dataclass(frozen=True)
class Axis:
    """What sets sections apart.

    Attributes:
        name: `threads`, `sizes` or `dtypes`.
        title: of the axis.
        places: a section at each, with its label, in order.
    """

    name: str
    title: str
    places: Sequence[tuple[str, Section]]


def axis_of(sections: Sequence[Section]) -> Axis | None:
    """What the measured sections differ in, if it is one thing."""
    measured = [s for s in sections if s.measured and s.comparison.rows and s.context.flops]
    works = [section.context.workload for section in measured]
    one_device = len({section.context.device for section in measured}) == 1
    if len(measured) < 2 or not one_device or len({work.operator for work in works}) > 1:
        return None
    threads = {section.context.threads for section in measured}
    if len(set(works)) == 1 and len(threads) == len(measured):
        ordered = sorted(measured, key=lambda section: section.context.threads)
        return Axis("threads", "threads", [(str(s.context.threads), s) for s in ordered])
    if len(threads) > 1 or len(set(works)) < len(works):
        return None
    if len({(work.dims, work.options) for work in works}) == 1:
        return Axis("dtypes", "element type", [(s.context.workload.dtype, s) for s in measured])
    if len({(work.dtype, work.options) for work in works}) == 1 and len(works) <= _MOST_SIZES:
        ordered = sorted(measured, key=lambda section: section.context.flops)
        return Axis("sizes", "size", [*zip(_labels(ordered), ordered, strict=True)])
    return None


def _labels(sections: Sequence[Section]) -> list[str]:
    """`64` of each where all are squares, else `m64-n32-k32`."""
    squares = []
    for section in sections:
        sizes = [size for _, size in section.context.workload.dims if size != 1]
        if len(sizes) < 2 or len(set(sizes)) > 1:
            return [each.context.workload.key.rsplit("/", 1)[-1] for each in sections]
        squares.append(str(sizes[0]))
    return squares


def over_variants(sections: Sequence[Section]) -> tuple[Chart, list[str]] | None:
    """The chart along what the measured sections differ in, with sentences; `None` without an axis."""
    axis = axis_of(sections)
    if axis is None:
        return None
    base = base_of([s.context.workload for _, s in axis.places]) if axis.name == "dtypes" else None
    values = [
        _value(label, section, row) for label, section in axis.places for row in section.comparison.rows
    ]
    first = base.dtype if base is not None else axis.places[0][0]
    _relate(values, first)
    labels = [label for label, _ in axis.places]
    spec = _bars(values, axis, labels) if axis.name == "dtypes" else _lines(values, axis, labels)
    caption = f"Higher is faster; lines at the points are 95% intervals. {_APART}"
    if axis.name == "dtypes":
        caption = f"Higher is faster; above a bar, its rate over that of {first}. {_APART}"
    about = f"Rates of {len({v['name'] for v in values})} implementations over {axis.title}."
    return Chart(f"over_{axis.name}", spec, caption, about), _words(values, axis, first)


def _value(label: str, section: Section, row: ComparisonRow) -> dict[str, Any]:
    flops = section.context.flops
    return {
        "place": label,
        "name": row.implementation,
        "rate": row.gflops,
        "low": flops / row.interval.high / 1e9,
        "high": flops / row.interval.low / 1e9,
        "shown": significant(row.gflops),
        "time": f"{seconds(row.interval.mid)} {spread(row.interval)}",
        "tuned": not (row.is_baseline or row.is_naive),
    }


def _relate(values: Sequence[dict[str, Any]], first: str) -> None:
    """Adds each rate over the same implementation's rate at the first place."""
    rates = {value["name"]: value["rate"] for value in values if value["place"] == first}
    for value in values:
        over = value["rate"] / rates[value["name"]] if rates.get(value["name"]) else None
        value["over"] = over
        value["label"] = f"{significant(over)}×" if over is not None and value["place"] != first else ""


def _words(values: Sequence[Mapping[str, Any]], axis: Axis, first: str) -> list[str]:
    """Of the fastest implementation that was tuned here: how it grows, where that says something."""
    if axis.name == "sizes":
        return []
    told = []
    for name in dict.fromkeys(value["name"] for value in values if value["tuned"]):
        grown = [
            f"{significant(value['over'])} times {_at(axis, value['place'])}"
            for value in values
            if value["name"] == name and value["place"] != first and value["over"] is not None
        ]
        if grown:
            told.append(f"{name}, over its rate {_at(axis, first)}: {', '.join(grown)}.")
    doubtful = [
        place for place, section in axis.places if section.context.disturbed or section.context.unfinished
    ]
    if told and doubtful:
        where = ", ".join(_at(axis, place) for place in doubtful)
        told.append(f"Take this as a hint: {where} nothing is declared (a busy machine, or interrupted).")
    return [*told, _APART] if told else []


def _at(axis: Axis, place: str) -> str:
    if axis.name == "dtypes":
        return f"in {place}"
    return f"on {place} thread{'s' if place != '1' else ''}"


def _shared(values: Sequence[Mapping[str, Any]], axis: Axis, labels: Sequence[str]) -> Spec:
    x = ordinal("place", title=axis.title, sort=list(labels), axis={"labelAngle": 0, "labelOverlap": True})
    names = list(dict.fromkeys(value["name"] for value in values))
    colour = nominal("name", title=None, sort=names, legend={"orient": "top"} if len(names) > 1 else None)
    return {"x": x, "color": colour}


_TIP = tooltip(name="implementation", place="at", shown="GFLOP/s", time="time", label="over the first")


def _lines(values: Sequence[Mapping[str, Any]], axis: Axis, labels: Sequence[str]) -> Spec:
    y = number("rate", title="GFLOP/s", scale={"zero": True})
    return {
        "height": 260,
        "data": rows_of(values),
        "encoding": _shared(values, axis, labels),
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"y": y}},
            {
                "mark": {"type": "rule", "strokeWidth": 1.5},
                "encoding": {"y": number("low"), "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
                "encoding": {"y": y, "tooltip": _TIP},
            },
        ],
    }


def _bars(values: Sequence[Mapping[str, Any]], axis: Axis, labels: Sequence[str]) -> Spec:
    names = list(dict.fromkeys(value["name"] for value in values))
    beside = nominal("name", sort=names)
    y = number("rate", title="10⁹ operations a second", scale={"zero": True})
    return {
        "height": 260,
        "data": rows_of(values),
        "encoding": {**_shared(values, axis, labels), "xOffset": beside},
        "layer": [
            {"mark": {"type": "bar"}, "encoding": {"y": y, "tooltip": _TIP}},
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": "--ink"},
                "encoding": {"y": number("low"), "y2": {"field": "high"}, "color": {"value": "--ink"}},
            },
            {
                "mark": {"type": "text", "dy": -7, "fontSize": 11},
                "encoding": {"y": number("high"), "text": nominal("label"), "color": {"value": "--ink"}},
            },
        ],
    }
