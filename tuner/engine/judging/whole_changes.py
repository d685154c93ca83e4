"""Whether a kernel computes its result anew: calls on inputs that are all other than before, beside calls on
inputs that were written anew and hold what they held.

Both kinds find their inputs equally warm in the caches, and both are calls on inputs in which something has
changed, so no kernel can tell them from the samples of its time. One that keeps its result and mends what
changed is right, and quick on what it knows alone.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

from tuner.core.disturbance import DISTURBED
from tuner.engine.judging.asked_runner import Clocks, Runner
from tuner.engine.judging.challenge import Challenge, Challenger
from tuner.engine.judging.proofs import UNLIKE

# Rounds before a verdict, at least: of each kind one call; for kernels that take long one is enough, since it
# is not by chance that a call of a fifth of a second takes half as much again.
_FEWEST, _LONG_S = 2, 0.2
# The chance that all quick calls were on known inputs by luck, below which there is a verdict: after 12 quiet
# rounds in which one kind was always quick and the other never; of calls that take long after 8.
_CHANCE, _LONG_CHANCE = 1e-6, 1e-4
# Rounds, and seconds with so many rounds, after which a machine that is never quiet leaves the question open.
_ROUNDS, _PATIENCE_S, _CLEAR = 100, 3.0, 12
# What a clock may err by, in seconds.
_CLOCK_S = 2e-5
# Our clock has the question and its answer in it, the runner's has not: a convolution of 118 us was called a
# liar for 275 us by our clock. What calls on known inputs show of that is allowed, up to this much: a runner
# that dawdles over its answers is not let off.
_ANSWER_S = 2e-4


def call_after_rewriting(
    runner: Runner, challenger: Challenger, other: bool, names: Sequence[str]
) -> tuple[dict[str, Any], str, tuple[float, tuple[float, float, float]]]:
    """Inputs are written anew, and then comes one timed call: two requests, since writing takes longer than
    many a call, and uses up the time slice that the call would need on a busy machine.

    Args:
        runner: it has loaded something.
        challenger: makes the challenge, and knows what is right.
        other: all these inputs are other than before; else they hold what they held, but for a few elements.
        names: of the inputs.

    Returns:
        The answer, what is wrong with its result or with the answer itself, seconds by our clock, and what
        `Clocks.since` says of them.

    Raises:
        Lost, CandidateRefused: the runner is gone, or the call failed.
    """
    rows, challenge = challenger.draw_whole(other, names)
    told = challenge.as_plain()
    runner.ask({"do": "rewrite", "rows": rows, "names": list(names), **told})
    clocks, began = Clocks(runner), time.perf_counter()
    answer = runner.ask({"do": "once", **told})
    elapsed_s = time.perf_counter() - began
    return answer, _problem(challenger, challenge, answer), (elapsed_s, clocks.since())


def _problem(challenger: Challenger, challenge: Challenge, answer: Any) -> str:
    try:
        return challenger.settle(challenge, answer["probes"][0]) or ""
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return f"there is an unusable answer: {error}"


class WholeChanges:
    """What the calls of both kinds took.

    A call for which threads waited for a core convicts nobody: its kernel would be called a liar for what
    another program did. It can acquit: no call takes less than its computation.

    Nor does luck: a kernel of TVM whose threads were still awake took 0.46 ms in one call of five and 1.05 ms
    in the others, on new and on known inputs alike, and eight calls on new ones may all be of the others. So
    there are rounds until it is no luck any more that the quick calls are all on known inputs (the
    hypergeometric distribution, as in Fisher's exact test).

    Args:
        call_s: seconds of a call, as claimed.
    """

    def __init__(self, call_s: float) -> None:
        long = call_s >= _LONG_S
        self._fewest, self._chance = (1, _LONG_CHANCE) if long else (_FEWEST, _CHANCE)
        self._fresh: list[float] = []
        self._known: list[float] = []
        self._quiet_known: list[float] = []
        self._answering: list[float] = []
        self._telling = 0
        self._began = time.monotonic()

    def add_known(self, seconds: float, busy_s: float, share: float) -> None:
        """A call on known inputs, waiting for cores included: it was no longer than this.

        Args:
            seconds: as the runner says.
            busy_s: by the clock that calls on new inputs are timed with.
            share: of it that others had its cores.
        """
        self._known.append(seconds)
        if share <= DISTURBED:
            self._quiet_known.append(seconds)
        self._answering.append(busy_s - seconds)

    def add_fresh(self, busy_s: float, share: float) -> None:
        """A call on new inputs.

        Args:
            busy_s: that it took, without what it waited for a core: see `Timing.busy_s`.
            share: of it that others had its cores, see `core/disturbance.py`.
        """
        self._fresh.append(busy_s)
        self._telling += share <= DISTURBED

    @property
    def anew(self) -> bool:
        """Whether a call on new inputs took no longer than one on known inputs."""
        return len(self._fresh) >= self._fewest and not self._longer_than(self.known_s)

    def _longer_than(self, known_s: float) -> bool:
        """Whether every call on new inputs took longer than one on known inputs that took so long."""
        return self.fresh_s > UNLIKE * known_s + max(_CLOCK_S, self._answer_s)

    @property
    def _answer_s(self) -> float:
        """What a question and its answer take at least."""
        return min([_ANSWER_S, *self._answering])

    @property
    def kept(self) -> bool:
        """Whether calls on new inputs took longer, and not by luck."""
        quick, known = sum(map(self._longer_than, self._quiet_known)), len(self._quiet_known)
        luck = math.comb(known, quick) / math.comb(known + self._telling, quick)
        return not self.anew and luck < self._chance

    @property
    def undecided(self) -> bool:
        """Whether others had the cores for so long that the question is left open."""
        rounds = len(self._fresh)
        late = time.monotonic() - self._began > _PATIENCE_S
        return not (self.anew or self.kept) and (rounds >= _ROUNDS or (late and rounds >= _CLEAR))

    @property
    def fresh_s(self) -> float:
        """The shortest call on new inputs; infinite before the first."""
        return min(self._fresh, default=math.inf)

    @property
    def known_s(self) -> float:
        """The shortest call on known inputs; infinite before the first."""
        return min(self._known, default=math.inf)

    @property
    def words(self) -> str:
        """The two of them, for people."""
        times = f"{self.fresh_s:.3g} s on inputs that are all new and {self.known_s:.3g} s"
        return f"a call takes {times} on those it knows (and {self._answer_s:.2g} s to be asked for)"
