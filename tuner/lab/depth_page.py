"""`docs/search-depth.md`: what 40 trials find of what 400 find, a section a CPU model."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.core.stats import Interval, geometric_mean
from tuner.report.text import ratio, seconds

WITHIN = 0.03
"""A short search is good enough where its time is at most this share above the long one's."""

HEAD = """# What a short search leaves

Written by `python -m tuner.lab.bench_depth`, a section a CPU model; a run replaces the section of its own CPU
alone. The shapes are of no other bench of the lab and of none of its workload sets, so that nothing was
chosen at them (`tuner/lab/depth_cases.py`). Each is tuned twice with one kernel and the searcher `auto`: with
few trials, and with ten times as many by another seed. Each sweep has a database of its own, empty before:
what it knows at its start is what the lab ships ([where a sweep begins](searchers.md#where-a-sweep-begins)).

Then one interleaved final on one machine between the two fastest configurations of each sweep; the fastest
there of a sweep is what it found. "few over many" is the time of what few trials found over that of what many
found, with its 95% interval: 1.03 is 3% slower, below 1 few found the faster one. "unsure" are those whose
interval has 1.03. "found at" is the number of the trial, counted from 1. "own first" is, by the long sweep's
own times, the best of its first trials (as many as the short sweep has) over its best: a second look at the
same question, without a final.
"""

_COLUMNS = (
    "shape", "kernel", "configurations", "few", "found at", "many", "found at", "few over many", "within 3%",
    "own first",
)  # fmt: skip


def within(found: Sequence[float]) -> bool:
    """Whether a ratio (low, middle, high) is good enough by its middle."""
    return found[1] <= 1 + WITHIN


def body(run: Mapping[str, Any]) -> str:
    """The section's text.

    Args:
        run: what `tuner.lab.bench_depth` keeps in its file: `about`, and `cases` by their keys.
    """
    about, found = run["about"], list(run["cases"].values())
    parts = []
    for depths in dict.fromkeys(tuple(case["trials"]) for case in found):
        mine = [case for case in found if tuple(case["trials"]) == depths]
        few, many = depths
        parts += [f"### {few} trials beside {many}", _summary(mine), _table(mine)]
    machine = (
        f"{about['cores']} cores, {about['arch']}{', a virtual machine' if about.get('hypervisor') else ''}; "
        f"the last comparison is of {about['date']}."
    )
    return "\n\n".join([machine, *parts])


def _summary(found: Sequence[Mapping[str, Any]]) -> str:
    ratios = [case["ratio"] for case in found if case.get("ratio")]
    if not ratios:
        return "None could be compared."
    mean = geometric_mean([middle for _, middle, _ in ratios])
    sure = sum(high <= 1 + WITHIN for _, _, high in ratios)
    return (
        f"{sum(map(within, ratios))} of {len(ratios)} shapes within 3%, {sure} of them with their whole "
        f"interval; geometric mean {mean:.3f}, at worst {max(middle for _, middle, _ in ratios):.2f}."
    )


def _table(found: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for case in found:
        name = f"{case['operator']} {case['dtype']} {case['shape']}"
        if not case.get("ratio"):
            missing = (case.get("error") or "not compared").replace("|", "/")
            lines.append(f"| {name} | {missing} |{' |' * (len(_COLUMNS) - 2)}")
            continue
        few, many = case["sides"]
        size = f"{case['space']:,}" if case["space"] else "uncounted"
        cells = [
            name, case["kernel"], size,
            seconds(few["seconds"]), _place(few), seconds(many["seconds"]), _place(many),
            ratio(Interval(*case["ratio"])), _verdict(case["ratio"]), f"{case['own_first']:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _place(side: Mapping[str, Any]) -> str:
    return f"{side['at']} of {side['tried']}"


def _verdict(found: Sequence[float]) -> str:
    unsure = ", unsure" if found[0] <= 1 + WITHIN < found[2] else ""
    return f"{'yes' if within(found) else 'no'}{unsure}"
