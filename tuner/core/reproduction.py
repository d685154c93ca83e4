"""Whether a number that was measured at another time, maybe by somebody else, is measured here again.

A number is what an entry of a final took, or by how much one was faster than another. It has one sample a
process (see `turns`), then and now. Whoever compares many numbers will find some that differ by chance:
the level is shared among all numbers of a file, so that of files that reproduce, one in twenty has a
number that is said to differ.

Between two hours a machine changes by more than the processes of one hour show. So a difference counts
only beyond `within`, a share that the caller chooses and that every report names.

The rule (`mark_of`) is about the interval of now/then, not about its middle: a number *reproduces within its
interval* where nothing that was measured contradicts it. [0.80, 1.15] reproduces: "the same" lies within it.
It is no proof that nothing changed by 10%, so every report shows the interval beside the verdict; and an
interval that is too wide to contradict anything is called undecided, never reproduced.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.core.shift import FEWEST, ratio_of
from tuner.core.stats import Interval
from tuner.core.turns import Turns

WITHIN = 0.05
"""The share that two hours may differ by where nobody says otherwise."""

SHARPEST = 1.5
"""An interval whose ends are so many times apart says neither that a number reproduces nor that it
differs."""


class Mark(StrEnum):
    """What became of a number."""

    REPRODUCES = "reproduces"
    DIFFERS = "differs"
    UNDECIDED = "undecided"
    NOT_HERE = "cannot be run here"


@dataclass(frozen=True)
class Reproduction:
    """A verdict on one number.

    Attributes:
        mark: the verdict.
        ratio: now over then, with its interval at the shared level; `None` where it was not measured.
        why: in words, for what is undecided or not here.
    """

    mark: Mark
    ratio: Interval | None = None
    why: str = ""


def of_processes(turns: Turns) -> list[float]:
    """One sample a process: the median of its turns, seconds; of fewer than six processes all turns."""
    if len(turns.processes) < FEWEST:
        return list(turns.samples)
    return [statistics.median(part) for part in turns.by_process]


def of_pairs(slower: Turns, faster: Turns) -> list[float]:
    """One sample a pair of processes that ran side by side: the first one's time over the second one's."""
    if min(len(slower.processes), len(faster.processes)) < FEWEST:
        return [a / b for a, b in zip(slower.samples, faster.samples, strict=False)]
    found = []
    for top, bottom in zip(slower.by_process, faster.by_process, strict=False):
        rounds = min(len(top), len(bottom))
        found.append(statistics.median(top[:rounds]) / statistics.median(bottom[:rounds]))
    return found


def judge(then: Sequence[float], now: Sequence[float], numbers: int, within: float = WITHIN) -> Reproduction:
    """The verdict on one number.

    Args:
        then, now: a sample a process.
        numbers: how many numbers are compared in all; they share the level of 5%.
        within: a share.

    Returns:
        `undecided` where there are too few samples; else as `mark_of`.
    """
    if min(len(then), len(now)) < FEWEST:
        few = f"{len(then)} samples then, {len(now)} now: an interval needs {FEWEST} of each"
        return Reproduction(Mark.UNDECIDED, None, few)
    ratio = ratio_of(now, then, 0.05 / max(1, numbers))
    mark, why = mark_of(ratio, within), ""
    if mark is Mark.UNDECIDED:
        why = f"its processes differ too much: now/then is anything from {ratio.low:.2f} to {ratio.high:.2f}"
    return Reproduction(mark, ratio, why)


def mark_of(ratio: Interval, within: float) -> Mark:
    """The rule, see the module.

    Args:
        ratio: now over then.
        within: a share.

    Returns:
        `differs` where the interval lies beyond 1 ± `within` as a whole; `undecided` where it is so wide that
        it would miss a number half as large again (`SHARPEST`); else `reproduces`.
    """
    if ratio.low > 1 + within or ratio.high < 1 / (1 + within):
        return Mark.DIFFERS
    return Mark.UNDECIDED if ratio.high > SHARPEST * ratio.low else Mark.REPRODUCES
