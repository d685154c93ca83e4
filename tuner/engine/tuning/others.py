"""What other programs took of the processors while something long ran, our own processes left out.

A turn of a final notices who keeps its threads from their cores. Somebody on the core beside it, which
may be the other half of the same core, slows it without taking anything from it: this module sees that.
Linux; elsewhere nothing is known, and nothing is said.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.core.descendants import children_of
from tuner.core.disturbance import TAKEN

_TICKS = os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6)  # of /proc/stat: user, nice, system, irq, softirq

FEW_CORES = 0.2
"""Cores that others may take on average: a login shell, a cron job. A busy loop takes half of one at the
least."""
_SHARE = 0.1
"""Of the cores that the protocol leaves idle, what others may take: they are hardly felt on a large
machine."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Counters of one moment, seconds: only differences mean something."""

    clock_s: float
    busy_s: float
    own_s: float


def readings(cores: Sequence[int], root: Path = Path("/")) -> Readings:
    """The counters now: what these processors were busy for, and what this process and its descendants
    took."""
    own, waiting = 0.0, [os.getpid()]
    seen = set(waiting)
    while waiting:
        pid = waiting.pop()
        own += _spent(pid, root)
        new = children_of(pid) - seen
        seen |= new
        waiting += new
    return Readings(time.monotonic(), _busy(cores, root), own)


def _spent(pid: int, root: Path) -> float:
    """Seconds of a process, and of its children that it has waited for."""
    try:
        text = (root / "proc" / str(pid) / "stat").read_text()
    except (OSError, UnicodeDecodeError):
        return 0.0
    fields = text.rpartition(")")[2].split()  # its name may hold anything
    return sum(map(int, fields[11:15])) / _TICKS if len(fields) > 14 else 0.0


def _busy(cores: Sequence[int], root: Path) -> float:
    wanted = {f"cpu{core}" for core in cores}
    try:
        lines = (root / "proc" / "stat").read_text().splitlines()
    except OSError:
        return 0.0
    rows = (line.split() for line in lines if line.split(" ", 1)[0] in wanted)
    return sum(int(row[1 + i]) for row in rows for i in _BUSY if len(row) > 1 + i) / _TICKS


def too_much(before: Readings, after: Readings, cores: int, threads: int) -> str:
    """What is to be said of what others took between two readings; empty where it was little.

    Args:
        before, after: of `readings`.
        cores: processors that were looked at.
        threads: that the timed kernels use.
    """
    wall = after.clock_s - before.clock_s
    if wall <= 0:
        return ""
    taken = (after.busy_s - before.busy_s - (after.own_s - before.own_s)) / wall
    allowed = max(FEW_CORES, _SHARE * (cores - threads))
    if taken <= allowed:
        return ""
    return f"{TAKEN} {taken:.1f} of {cores} cores meanwhile"


def watching(threads: int) -> Callable[[], str]:
    """Begins to watch the processors that this process may use.

    Args:
        threads: that the timed kernels use.

    Returns:
        To be called at the end: what `too_much` says of the time since.
    """
    cores = sorted(os.sched_getaffinity(0))
    before = readings(cores)
    return lambda: too_much(before, readings(cores), len(cores), threads)
