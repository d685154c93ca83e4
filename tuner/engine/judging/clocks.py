"""One request by all the clocks there are: what the runner says its calls took, held against what the judge
and the system saw.

Between two clocks lies more than the calls: messages, filling outputs, a machine that stands still for a
moment (a page from a disk, memory that is short, a hypervisor). One request whose clocks disagree proves
nothing, so nobody is refused for one.
"""

from dataclasses import dataclass

from tuner.core.disturbance import Waits, others_share
from tuner.engine.judging.sampling import Timed

# A request takes longer by the judge's clock than its calls by the runner's: a message each way, and writing
# the changes. That much longer, in seconds and as a share of the request, is still believed.
_WORD_S, _SHARE = 0.6e-3, 0.08
# A request that takes this many times longer by the judge's clock, each time, is no late message but a lie.
_GROSS = 3.0
# The clocks of a request that are further apart than this, in seconds, and grossly, leave no time to keep.
APART_S = 0.1
# The runner wakes to the question, the judge to the answer.
_WAKE_UPS = 2
# CPU time beyond that of the threads asked for: the runner's own, and clocks that tick.
_CPU_SHARE, _CPU_S = 1.1, 0.005


@dataclass(frozen=True, slots=True)
class RequestTiming:
    """A request; all in seconds.

    Attributes:
        told_s: of all its calls, as the runner says.
        elapsed_s: by the judge's clock, from the question to the answer.
        waited_s: that the main thread of the runner and the judge were ready to run and had no core.
        used_s: of CPU time of the runner between the readings of its counters.
        counted_s: by the judge's clock between these readings, which lie around the request.
        threads: that the candidate may use.
        filled_s: that filling the outputs took, which no call does.
    """

    told_s: float
    elapsed_s: float
    waited_s: float
    used_s: float
    counted_s: float
    threads: int
    filled_s: float = 0.0

    @property
    def computed_s(self) -> float:
        """However loaded the machine: T threads that used U seconds of CPU time within the request have
        computed for U / T seconds. Threads that spin may have used CPU time before and after it too."""
        return self.used_s / self.threads - max(0.0, self.counted_s - self.elapsed_s)

    @property
    def apart(self) -> bool:
        """Whether the clocks disagree so much that nothing is known of the calls' time."""
        least_s = max(self.elapsed_s - self.waited_s, self.computed_s)
        return least_s - self.told_s > APART_S and least_s > _GROSS * self.told_s

    @property
    def believed(self) -> bool:
        """Whether the calls can have taken what the runner says, and the readings lie close around them."""
        close = believable(self.elapsed_s, self.counted_s)
        return close and self._computed and believable(self.told_s, self._taken_s)

    @property
    def _taken_s(self) -> float:
        return self.elapsed_s - self.waited_s - self.filled_s

    @property
    def _computed(self) -> bool:
        return believable(self.told_s, self.computed_s - self.filled_s / self.threads)

    @property
    def busy_s(self) -> float:
        """What of its calls' time the runner did not wait for a core, by the system's counters: of a claim
        that is believed, what an undisturbed machine would have shown, where one thread computes."""
        return min(self.told_s, max(self._taken_s, self.computed_s))

    def by_our_clock(self, told: Timed, calls: int = 1) -> Timed:
        """A request that was one sample of so many calls, by the judge's clock in place of the runner's.

        The runner tells what others had of the cores during the calls alone. The judge's time has the words
        between the two in it, and so has the share here: what they waited for a core around the request.
        """
        after = Waits(self.counted_s, self.waited_s, self.used_s, _WAKE_UPS, cores=self.threads)
        share = max(told.share, others_share(Waits(), after))
        return Timed(self.elapsed_s / calls, share, self.elapsed_s)

    @property
    def gross(self) -> bool:
        """Whether this is a lie if it is so each time: it took far longer than a late message makes it, or
        computed for longer than it says."""
        return not self.believed and (_GROSS * self.told_s < self._taken_s or not self._computed)

    @property
    def cores_problem(self) -> str:
        """See the function."""
        return cores_problem(max(self.elapsed_s, self.counted_s), self.used_s, self.threads)


def believable(told_s: float, elapsed_s: float) -> bool:
    """Whether calls can have taken what is told, that took so long by our clock, waiting left out."""
    return elapsed_s - told_s <= _WORD_S + _SHARE * elapsed_s


def cores_problem(elapsed_s: float, used_s: float, threads: int) -> str:
    """Why so much CPU time cannot be that of so many threads; nothing if it can."""
    if used_s > _CPU_SHARE * threads * elapsed_s + _CPU_S:
        return f"it took {used_s:.3g} s of CPU time in {elapsed_s:.3g} s, with {threads} threads"
    return ""
