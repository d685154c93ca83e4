"""How a budget is split between the layers of a model: by what they can save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.core.workload import Workload
from tuner.engine.tuning.budget import Budget

LEAST_SHARE = 0.005
"""A workload with less of a run's time than this gets nothing: were it free, nobody would see it."""
FEWEST = 8
MOST = 4.0


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


def budgets(
    split: Mapping[Workload, int], seconds: float | None, kernels: Mapping[Workload, int]
) -> dict[Workload, Budget]:
    """Budgets of each kernel by workload.

    Args:
        split: trials of each kernel.
        seconds: for all of them together; `None` for no bound.
        kernels: how many are tuned for a workload.
    """
    whole = sum(split.values())
    return {
        workload: Budget(
            trials,
            None if seconds is None else max(1.0, seconds * trials / whole / max(1, kernels[workload])),
        )
        for workload, trials in split.items()
    }
