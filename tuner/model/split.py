"""How a budget is split between the layers of a model: by what they can save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.core.workload import Workload

LEAST_SHARE = 0.005
"""A workload with less of a run's time than this gets nothing: were it free, nobody would see it."""
FEWEST = 8
MOST = 4.0
MOST_BEHIND = 2.0


@dataclass(frozen=True, slots=True)
class Share:
    """What a workload of a model is worth.

    Attributes:
        workload: which.
        count: how often a run computes it.
        time_s: seconds of a run it takes in ONNX Runtime, all its layers together.
        share: of the run's time.
    """

    workload: Workload
    count: int
    time_s: float
    share: float

    @property
    def matters(self) -> bool:
        """Whether it is tuned."""
        return self.share >= LEAST_SHARE


def shares(layers: Sequence[tuple[Workload, float]], rest_s: float) -> list[Share]:
    """The workloads of a model by their share of a run's time, largest first.

    Args:
        layers: (workload, seconds) of each layer.
        rest_s: seconds of everything else.
    """
    times: dict[Workload, list[float]] = {}
    for workload, time_s in layers:
        times.setdefault(workload, []).append(time_s)
    total = rest_s + sum(time_s for _, time_s in layers)
    found = [
        Share(workload, len(each), sum(each), sum(each) / total if total else 0.0)
        for workload, each in times.items()
    ]
    return sorted(found, key=lambda share: -share.share)


def split_trials(found: Sequence[Share], trials: int) -> dict[Workload, int]:
    """Trials of each kernel for every workload that matters: in proportion to its share.

    Args:
        found: of the model.
        trials: of each kernel, the mean over those workloads; each gets `FEWEST` at least, and `MOST` times
            the mean at most, since a search gains ever less.
    """
    told = [share for share in found if share.matters]
    whole = sum(share.share for share in told)
    return {
        share.workload: max(
            min(FEWEST, trials), min(round(MOST * trials), round(trials * len(told) * share.share / whole))
        )
        for share in told
    }


def weights(
    found: Sequence[Share], split: Mapping[Workload, int], best: Mapping[Workload, float]
) -> dict[Workload, float]:
    """In what proportion the layers share the time: by their part of a run, and by what is to be gained.

    Args:
        found: of the model.
        split: the workloads that are tuned.
        best: seconds of one call of the best kernel that is stored, as in a model; where it is slower than
            ONNX Runtime's own, the layer gets up to twice its part, where it is faster, down to half of it.
    """
    told = {share.workload: share for share in found}
    parts = {}
    for workload in split:
        share = told.get(workload)
        if share is None:  # of an earlier run's split
            parts[workload] = LEAST_SHARE
            continue
        behind = best.get(workload, 0.0) * share.count / share.time_s if share.time_s else 0.0
        parts[workload] = share.share * (min(MOST_BEHIND, max(1 / MOST_BEHIND, behind)) if behind else 1.0)
    return parts
