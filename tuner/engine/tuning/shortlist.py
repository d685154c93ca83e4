"""Who is in a final where only the winner is wanted: what is near the front, whichever kernel it is of."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tuner.core.trial import Trial
from tuner.core.turns import FEWEST
from tuner.engine.tuning.ranking import Ranking

NEAR, MOST = 1.2, 4
"""How many times slower than the fastest of the sweeps a finalist may be, and how many there are at most,
beside the default and the previous best of the kernel that leads, and libraries."""

# Seconds that a finalist takes in six processes, roughly: with less time left there are fewer finalists.
_FINALIST_S = 2.5


@dataclass(frozen=True)
class Shortlist:
    """The finalists of tuned kernels.

    Attributes:
        leaders: trials by kernel, the fastest first; kernels that are not there have none.
        compared: kernels whose default stands beside them.
        previous: kernels whose previous best does: the leading one, and the one that was the best before.
    """

    leaders: Mapping[str, Sequence[Trial]]
    compared: Collection[str]
    previous: Collection[str]


def shortlist(
    leaders: Mapping[str, Sequence[Trial]], previous: Mapping[str, Trial], left_s: float | None = None
) -> Shortlist:
    """Chooses among the leaders of all tuned kernels.

    Args:
        leaders: the fastest right trials of each tuned kernel's sweep.
        previous: each kernel's best before.
        left_s: seconds until the final should be over; `None` for no such bound.
    """
    most = MOST if left_s is None else max(2, min(MOST, int(left_s / _FINALIST_S)))
    front = sorted(((_time_s(t), name, t) for name, of in leaders.items() for t in of), key=lambda x: x[:2])
    near = [(name, trial) for time_s, name, trial in front if time_s <= NEAR * front[0][0]][:most]
    chosen: dict[str, list[Trial]] = {}
    for name, trial in near:
        chosen.setdefault(name, []).append(trial)
    first = {near[0][0]} if near else set()
    before = min(previous, key=lambda name: _time_s(previous[name]), default=None)
    return Shortlist(chosen, first, first | ({before} if before is not None else set()))


def may_end(ranking: Ranking, sittings: int, late: bool) -> bool:
    """Whether a final may end after so many sittings.

    It is looked once, after the fewest that have an interval, whether all that ties is of one kernel; looking
    after each would find a difference by chance sooner or later. Else it goes on, unless it is late.
    """
    if late:
        return True
    names = {ranking.entries[i].finalist.label for i in (*ranking.tied, ranking.winner) if i is not None}
    return sittings == FEWEST and len(names) == 1


def _time_s(trial: Trial) -> float:
    return trial.measurement.time_s or float("inf")
