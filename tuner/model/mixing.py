"""Which layers ONNX Runtime computes faster than the tuned kernels do, found by timing whole runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tuner.core.device import Device
from tuner.core.stats import Interval, paired_ratio
from tuner.core.workload import Workload
from tuner.engine.processes.locks import measuring
from tuner.model.comparing import race
from tuner.model.contestants import Ours
from tuner.model.layers import find_layers
from tuner.model.profile import profile

# Tried is a workload on which a run spends this share of its time, and for which ONNX Runtime's profile says
# less than that or hardly more: what its neighbours gain by being in one part with it no profile says.
LEAST, NEARLY = 0.01, 0.9
# Workloads that are tried, and turns of each run with and without one.
MOST, ROUNDS = 8, 9


@dataclass(frozen=True)
class Left:
    """A workload that is left to ONNX Runtime although kernels of it are tuned.

    Attributes:
        workload: which.
        count: layers of it.
        gain: time of a whole run with the kernels over that of one without, measured in turn.
    """

    workload: Workload
    count: int
    gain: Interval


def mix(
    mine: Ours, inputs: Mapping[str, np.ndarray], device: Device, threads: int
) -> tuple[Ours, list[Left]]:
    """Leaves to ONNX Runtime the layers with which it makes a run surely faster.

    A profile only says what is worth trying. What decides is a run with the workload's kernels and one
    without, timed in turn: it is left out where the interval of their ratio lies beyond 1 as a whole. Each is
    tried on top of what was left out before it, the one that promises most first.

    Raises:
        TunerError: as `ours` and `profile`.
    """
    found = find_layers(mine.graph, device.target_for(threads))
    taken = profile(mine.model, mine.graph, found, inputs, device, threads)
    theirs: dict[Workload, float] = {}
    for layer, seconds in zip(found.layers, taken.layers, strict=True):
        theirs[layer.workload] = theirs.get(layer.workload, 0.0) + seconds
    left: list[Left] = []
    with measuring(device.fingerprint):
        for workload in worth_trying(mine.executor.layer_seconds(inputs), theirs, taken.model_s):
            other = mine.without(workload, inputs, threads)
            if other is None:
                continue
            gain = _gain(mine, other)
            if gain.low > 1:
                count = len(mine.chosen) - len(other.chosen)
                mine, left = other, [*left, Left(workload, count, gain)]
    if left:
        note = f"{mine.contestant.note}, {sum(each.count for each in left)} layers left to it"
        mine = replace(mine, contestant=replace(mine.contestant, note=note))
    return mine, left


def worth_trying(
    mine: Mapping[Workload, float], theirs: Mapping[Workload, float], run_s: float
) -> list[Workload]:
    """The workloads to try, the one that promises most first.

    Args:
        mine: seconds of a run in the kernels of each.
        theirs: seconds in ONNX Runtime's profile; 0 where it names none of the nodes.
        run_s: of a whole run.
    """
    tried = [
        w for w, seconds in mine.items()
        if seconds >= LEAST * run_s and theirs.get(w, 0.0) > 0 and seconds > NEARLY * theirs[w]
    ]  # fmt: skip
    return sorted(tried, key=lambda w: theirs[w] - mine[w])[:MOST]


def _gain(with_it: Ours, without: Ours) -> Interval:
    """Time of a run with the kernels over that without, by turns."""
    names = ("with", "without")
    ways = [
        (replace(made.contestant, name=name), 0.0)
        for name, made in zip(names, (with_it, without), strict=True)
    ]
    turns = {timed.name: timed.turns for timed in race(ways, ROUNDS)}
    return paired_ratio(turns["with"], turns["without"])
