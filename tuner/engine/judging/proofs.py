"""The proofs of one claimed time: requests that last, until one confirms it or there are enough of them."""

from tuner.core.disturbance import Patience, undisturbed
from tuner.engine.judging.clocks import RequestTiming
from tuner.engine.judging.sampling import Timed

# Seconds of the requests that show whether a claim of microseconds is true. A true clock may look false in a
# short request that the system interrupts, but not in the longest, of which an interruption is a hundredth; a
# false clock looks false in all of them.
PROOFS_S = (0.025, 0.025, 0.05, 0.2)
_CALLS_AT_MOST = 1_000_000
# Where calls take this many times longer in the proof than in the samples, the proof's times count.
UNLIKE = 1.5


class Proofs:
    """What is known of a claim.

    Args:
        claimed_s: seconds of one call, as claimed.
        patience_s: seconds that may be spent on proofs during which others had the cores.
    """

    def __init__(self, claimed_s: float, patience_s: float) -> None:
        self._claimed_s = self._call_s = claimed_s
        self._patience = Patience(patience_s)
        self._left_s = list(PROOFS_S)
        self._seconds: list[float] = []
        self._flags: list[bool] = []
        self._gross = 0

    @property
    def calls(self) -> int:
        """Of the next request; 0 where there are enough."""
        if not self._left_s:
            return 0
        return max(1, min(_CALLS_AT_MOST, round(self._left_s[0] / self._call_s)))

    def confirms(self, sample: Timed, timing: RequestTiming) -> bool:
        """Whether the request that was asked for confirms the claim; else it is kept, and held against it.

        One that others disturbed is kept when patience has ended only.
        """
        if timing.believed and timing.busy_s <= UNLIKE * self._claimed_s * self.calls:
            return True
        ours_s = timing.elapsed_s / self.calls
        self._call_s = max(self._claimed_s, ours_s)
        disturbed = self._patience.admit(sample.share, timing.elapsed_s)
        if disturbed is not None:
            self._left_s.pop(0)
            self._gross += timing.gross
            self._seconds.append(sample.seconds if timing.believed else ours_s)
            self._flags.append(disturbed or not timing.believed)
        return False

    @property
    def lies(self) -> bool:
        """Whether all of them show that the claim is a lie, or that the machine stood still in each."""
        return self._gross == len(self._seconds)

    def times(self) -> tuple[list[float], float]:
        """Seconds of a call that count in place of those claimed, and the share of them that is disturbed, or
        by the judge's clock because it does not agree with the runner's."""
        return undisturbed(self._seconds, self._flags, len(self._seconds))
