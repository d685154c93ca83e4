"""Whether a call that comes after a pause takes what calls of samples take.

Between two calls of `whole_changes.py` inputs are written anew, which takes a while; samples follow each
other. A kernel that computes in full after such a pause, and else mends what it keeps, takes as long on
inputs that it knows as on new ones, and its samples are short. Pauses without any writing tell it from a
kernel whose inputs the writing evicted from the caches. Nobody is refused for them: the longer times count.
"""

from statistics import median

from tuner.core.disturbance import DISTURBED, Patience
from tuner.engine.judging.proofs import UNLIKE

# Calls after pauses: half of them decide.
_CALLS = 9
# So many times longer, and so many seconds more, a call may take after a pause: colder caches and branch
# predictors; threads that have gone to sleep.
_TIMES, _COLD_S, _ASLEEP_S = 2.0, 1e-4, 4e-4
# Seconds that may be spent on calls during which others had the cores, and on the pauses before them.
_PATIENCE_S = 3.0


class AfterPauses:
    """The calls after pauses of one claim.

    Args:
        claimed_s: seconds of a call in samples.
        threads: that the candidate may use.
    """

    def __init__(self, claimed_s: float, threads: int) -> None:
        self._most_s = _TIMES * claimed_s + _COLD_S + (_ASLEEP_S if threads > 1 else 0.0)
        self._patience = Patience(_PATIENCE_S)
        self._seconds: list[float] = []
        self._disturbed = self._unproven = 0

    def longer(self, seconds: float) -> bool:
        """Whether a call took longer than a pause explains."""
        return seconds > self._most_s

    def add(self, seconds: float, share: float, spent_s: float, believed: bool = True) -> None:
        """A call.

        Args:
            seconds: that it took.
            share: of it that others had its cores; such a call can acquit, and counts against it only when
                patience has ended.
            spent_s: seconds that asking for it took, its pause included: patience is for these.
            believed: whether all clocks agree; else `seconds` are the judge's, and nobody knows how long of
                them the machine stood still.
        """
        disturbed = share > DISTURBED
        if self.longer(seconds) and self._patience.admit(share, spent_s) is None:
            return
        self._seconds.append(seconds)
        self._disturbed += disturbed or not believed
        self._unproven += not believed

    @property
    def alike(self) -> bool:
        """Whether most of them took what samples take."""
        return 2 * sum(not self.longer(seconds) for seconds in self._seconds) > _CALLS

    @property
    def missing(self) -> bool:
        """Whether there are too few of them for a verdict."""
        return len(self._seconds) < _CALLS and not self.alike

    @property
    def seconds(self) -> list[float]:
        """Those that count: of one call our clock says too little to see that it took longer than the runner
        says, so what is far shorter than half of them is nobody's time."""
        return [seconds for seconds in self._seconds if seconds * UNLIKE >= self.typical_s]

    @property
    def typical_s(self) -> float:
        """Their median."""
        return median(self._seconds)

    @property
    def remarks(self) -> dict[str, float]:
        """Of those that count, where there are any: `disturbed_share`, the share of them during which others
        had the cores or of which the clocks disagree; `unproven_share`, that of the latter alone."""
        counts = {"disturbed_share": self._disturbed, "unproven_share": self._unproven}
        return {name: count / len(self._seconds) for name, count in counts.items() if count}
