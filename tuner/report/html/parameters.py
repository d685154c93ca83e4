"""The charts of a kernel's parameters: which mattered, the best two against each other, all side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuner.report.html.importance import Choice, Importance, choices, importance
from tuner.report.html.parallel import parallel
from tuner.report.html.vega import Chart, Spec, nominal, number, ordinal, room_after_bars, rows_of
from tuner.report.text import seconds
from tuner.store.lines import TrialLine

_BARS, _AXES = 12, 9
_CELLS = 40  # values of a parameter in a heat map


@dataclass(frozen=True)
class Parameters:
    """What is said of a kernel's parameters.

    Attributes:
        importance: of the trees; `None` where there are too few trials.
        charts: importance, heat map, parallel coordinates; those there is data for.
        words: what the trees found, or why nothing is said.
    """

    importance: Importance | None
    charts: Sequence[Chart]
    words: str


def parameters(kernel: str, lines: Sequence[TrialLine]) -> Parameters:
    """The charts of a kernel.

    Args:
        kernel: its name; names of charts begin with it.
        lines: its trials.
    """
    varied = choices(lines)
    timed = [line for line in lines if line.right and all(c.name in line.config for c in varied)]
    found = importance(timed, varied)
    if found is None:
        many = f"{len(timed)} trial{'s' if len(timed) != 1 else ''} with a time"
        what = f"{many} are too few to tell which parameters matter" if varied else "no parameter was varied"
        return Parameters(None, [], f"{what[0].upper()}{what[1:]}.")
    ranked = [next(c for c in varied if c.name == name) for name in found.effect]
    charts = [_bars(kernel, found)]
    if len(ranked) > 1:
        charts.append(_heat_map(kernel, ranked[0], ranked[1], timed))
        charts.append(parallel(kernel, ranked[:_AXES], timed))
    return Parameters(found, charts, _words(found))


def _words(found: Importance) -> str:
    names = [f"{name} (typically {effect - 1:.0%})" for name, effect in list(found.effect.items())[:2]]
    moved = f"What moved the time most: {' and '.join(names)}."
    if not found.trusted:
        return (
            f"Trees fitted to {found.trials} trials explain little of what they have not seen "
            f"({max(found.explained, 0):.0%} of the variance): take the order as a hint only. {moved}"
        )
    explained = f"{found.explained:.0%} of the variance of what they have not seen"
    return f"{moved} Trees fitted to {found.trials} trials explain {explained}."


def _bars(kernel: str, found: Importance) -> Chart:
    values: list[dict[str, Any]] = [
        {
            "name": name,
            "effect": effect - 1,
            "shown": f"±{effect - 1:.0%}" if effect - 1 >= 0.01 else "under 1%",
        }
        for name, effect in list(found.effect.items())[:_BARS]
    ]
    top = max(value["effect"] for value in values)
    spec: Spec = {
        "height": 24 * len(values),
        "data": rows_of(values),
        "encoding": {
            "y": nominal("name", sort=None, title=None, axis={"ticks": False, "domain": False}),
            "x": number(
                "effect",
                title="typical change of the time",
                axis={"format": "%", "tickCount": 4},
                scale={"domain": [0, 1.05 * top or 1]},
            ),
        },
        "layer": [
            {"mark": {"type": "bar", "color": "--tuned", "height": {"band": 0.7}, "cornerRadiusEnd": 2}},
            {"mark": {"type": "text", "align": "left", "dx": 5}, "encoding": {"text": nominal("shown")}},
        ],
        **room_after_bars(max((value["shown"] for value in values), key=len)),
    }
    about = "Importance of parameters, most first: " + ", ".join(f"{v['name']} {v['shown']}" for v in values)
    caption = "Mean absolute TreeSHAP value of gradient-boosted trees fitted to the logarithm of the time."
    return Chart(f"{kernel}_importance", spec, caption, about)


def _heat_map(kernel: str, first: Choice, second: Choice, timed: Sequence[TrialLine]) -> Chart:
    """The best time of each pair of values."""
    cells: dict[tuple[str, str], list[float]] = {}
    for line in timed:
        assert line.time_s is not None
        cells.setdefault((str(line.config[first.name]), str(line.config[second.name])), []).append(
            line.time_s
        )
    best = min(min(times) for times in cells.values())
    values: list[dict[str, Any]] = [
        {"a": a, "b": b, "slower": min(times) / best, "time": seconds(min(times)), "trials": len(times)}
        for (a, b), times in cells.items()
    ]
    rows, columns = ([str(v) for v in c.values] for c in (second, first))
    slowest = max(value["slower"] for value in values)
    legend = {
        "title": "best time, times the fastest",
        "orient": "top",
        "gradientLength": 160,
        "format": ".2~f",
    }
    spec: Spec = {
        "height": max(120, min(420, 26 * min(len(rows), _CELLS))),
        "data": rows_of(values),
        "mark": {"type": "rect", "stroke": "--page", "strokeWidth": 1},
        "encoding": {
            "x": ordinal("a", sort=columns, title=first.name, axis={"labelAngle": 0}),
            "y": ordinal("b", sort=rows[::-1], title=second.name),
            "color": number(
                "slower",
                legend=legend,
                scale={
                    "type": "log" if slowest > 4 else "linear",
                    "domain": [1, max(slowest, 1.01)],
                    "range": ["--high", "--low"],
                },
            ),
            "tooltip": [
                nominal("a", title=first.name),
                nominal("b", title=second.name),
                nominal("time", title="best time"),
                number("trials", title="trials"),
            ],
        },
    }
    caption = (
        f"The best time for each pair of {first.name} and {second.name}; strong is fast, empty was not tried."
    )
    return Chart(f"{kernel}_pairs", spec, caption, caption)
