"""A page of several workloads: all in one table and one chart, before each of them by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.stats import Interval
from tuner.report.html.section import Section
from tuner.report.html.subject import Subject
from tuner.report.html.variants import axis_of, over_variants
from tuner.report.html.vega import Chart, Spec, nominal, number, room_after_bars, rows_of, tooltip
from tuner.report.network import LayerRow, geometric_mean_interval, summaries, summary_line
from tuner.report.rows import ComparisonRow
from tuner.report.text import ratio, significant


@dataclass(frozen=True)
class Overview:
    """All workloads of a page.

    Attributes:
        lines: anchor, section, its fastest row, the fastest of the lab's own, the fastest library.
        chart: of the speed-ups; `None` where there are none.
        along: the rates over what the workloads differ in; `None` where that is not one thing.
        summary: sentences: of how many workloads a tuned kernel is faster than each one's fastest library.
    """

    lines: Sequence[tuple[str, Section, ComparisonRow | None, ComparisonRow | None, ComparisonRow | None]]
    chart: Chart | None
    along: Chart | None
    summary: Sequence[str]


def overview(about: Subject) -> Overview:
    """The first part of the page of several workloads."""
    lines = []
    for i, section in enumerate(about.sections):
        if not section.measured:
            continue
        rows = _ordered(section)
        ours = next((row for row in rows if not row.is_baseline), None)
        library = next((row for row in rows if row.is_baseline), None)
        lines.append((f"w{i + 1}", section, rows[0] if rows else None, ours, library))
    along, said = over_variants(about.sections) or (None, [])
    words = [*_summary(about.sections), *said, *_models(about)]
    return Overview(lines, speedups(about.sections), along, words)


def _models(about: Subject) -> list[str]:
    """Of each model of a campaign over networks: its layers' mean, and what a pass takes."""
    layers = [layer for campaign in about.campaigns[:1] for layer in campaign.spec.layers if layer.model]
    by_key = {section.context.workload.key: section for section in about.sections}
    rows = [
        LayerRow(layer.model, layer.count, by_key[layer.workload].context, _ordered(by_key[layer.workload]))
        for layer in layers
        if layer.workload in by_key
    ]
    return [f"{summary_line(summary)}." for summary in summaries(rows)]


def _ordered(section: Section) -> list[ComparisonRow]:
    return sorted(section.comparison.rows, key=lambda row: row.interval.mid)


def speedup_of(section: Section) -> Interval | None:
    """The fastest library's time over the fastest tuned kernel's; `None` where there is no such pair."""
    rows = _ordered(section)
    ours = next((row for row in rows if not row.is_baseline), None)
    return ours.speedup_library if ours is not None else None


def _summary(sections: Sequence[Section]) -> list[str]:
    different = len({section.context.workload for section in sections}) > 1
    found = [speedup for section in sections if (speedup := speedup_of(section)) is not None]
    if not found:
        return ["No workload has a tuned kernel and a library that were timed side by side."]
    noun = ("workload" if different else "comparison") + ("s" if len(found) > 1 else "")
    faster, slower = sum(s.low > 1 for s in found), sum(s.high < 1 for s in found)
    told = [
        f"Of {len(found)} {noun} with a library beside the tuned kernels, a tuned kernel is surely faster "
        f"on {faster}, surely slower on {slower}, and not to be told apart on {len(found) - faster - slower}."
    ]
    if len(found) > 1 and different:
        told.append(f"Geometric mean of the speed-ups: {ratio(geometric_mean_interval(found))}.")
    return told


def speedups(sections: Sequence[Section]) -> Chart | None:
    """A point a workload with its 95% interval, and a line where both are equally fast."""
    values = _speedup_rows(sections)
    if len(values) < 2:
        return None
    ends = min(0.9, *(v["low"] for v in values)) / 1.05, 1.2 * max(1.1, *(v["high"] for v in values))
    x = number(
        "speedup",
        title="speed over the fastest library",
        scale={"type": "log", "domain": ends, "nice": False},
        axis={"tickCount": 5, "format": "~g"},
    )
    kinds = {"faster": "--tuned", "not told apart": "--naive", "slower": "--library"}
    scale = {"domain": [*kinds], "range": [*kinds.values()]}
    colour = nominal("sure", title=None, legend={"orient": "top"}, scale=scale)
    shown = tooltip(name="workload", shown="speed-up")
    axis = axis_of(sections)
    along = axis.title if axis is not None else None
    spec: Spec = {
        "height": max(80, 26 * len(values)),
        "data": rows_of(values),
        "encoding": {"y": nominal("name", sort=None, title=along, axis={"ticks": False, "domain": False})},
        "layer": [
            {
                "data": rows_of([{"one": 1}]),
                "mark": {"type": "rule", "color": "--muted", "strokeDash": [5, 4]},
                "encoding": {"x": number("one"), "y": {"value": 0}, "y2": {"value": "height"}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": number("low"), "x2": {"field": "high"}, "color": colour},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                "encoding": {"x": x, "color": colour, "tooltip": shown},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 8},
                "encoding": {"x": number("high"), "text": nominal("label")},
            },
        ],
        **room_after_bars(max((value["label"] for value in values), key=len)),
    }
    caption = "Right of the dashed line the tuned kernel is faster; lines are 95% intervals."
    return Chart("speedups", spec, caption, f"Speed-ups of {len(values)} workloads. {caption}")


def _speedup_rows(sections: Sequence[Section]) -> list[dict[str, Any]]:
    keys = [section.context.workload.key for section in sections]
    # What all of them begin with says nothing, and a phone has no room for it.
    alike = len({key.rsplit("/", 1)[0] for key in keys}) == 1
    several_devices = len({section.context.device for section in sections if section.measured}) > 1
    axis = axis_of(sections)
    places = {id(section): label for label, section in axis.places} if axis is not None else {}
    values = []
    for section, key in zip(sections, keys, strict=True):
        speedup = speedup_of(section)
        if speedup is None:
            continue
        of = f" · {section.context.device}" if several_devices else ""
        of += f" · {section.variant}" if section.variant else ""
        values.append(
            {
                "name": places.get(id(section)) or (key.rsplit("/", 1)[-1] if alike else key) + of,
                "speedup": speedup.mid,
                "low": speedup.low,
                "high": speedup.high,
                "shown": ratio(speedup),
                "sure": "faster" if speedup.low > 1 else "slower" if speedup.high < 1 else "not told apart",
                "label": f"{significant(speedup.mid)}×",
            }
        )
    return values
