"""The time of a series, given out to its workloads one after the other, finals included."""

import time
from collections.abc import Callable, Mapping

from tuner.core.workload import Workload

FINAL_SHARE, LEAST_FINAL_S, MOST_FINAL_S = 0.3, 8.0, 20.0
"""Of a workload's time the share that its final is planned to take, and its bounds in seconds; never more
than half."""


class Allotment:
    """Gives each workload its part of what is left: who takes longer than that takes it from all later ones.

    Args:
        until: when all must be done, by `clock`.
        weights: of the workloads; their parts are in proportion.
        clock: seconds that go on.
    """

    def __init__(
        self, until: float, weights: Mapping[Workload, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._until, self._clock = until, clock
        self._weights = dict(weights)

    def take(self, workload: Workload) -> float:
        """Seconds for the next workload, which then is served; one at least, however late it is."""
        whole = sum(self._weights.values())
        weight = self._weights.pop(workload, 0.0)
        left_s = max(0.0, self._until - self._clock())
        return max(1.0, left_s * weight / whole if whole else 0.0)

    def skip(self, workload: Workload) -> None:
        """This one needs nothing."""
        self._weights.pop(workload, None)


def final_s(seconds: float) -> float:
    """Of a workload's seconds those that its final is planned to take, builds of its finalists included."""
    return min(max(FINAL_SHARE * seconds, LEAST_FINAL_S), MOST_FINAL_S, seconds / 2)
