"""When a candidate has been timed enough: the policy, apart from who runs it."""

import time
import typing
from dataclasses import dataclass

from tuner.core.disturbance import Patience, undisturbed
from tuner.core.protocol import Protocol
from tuner.core.stats import median_interval

# Cold first calls (page faults, packing buffers) are that much slower than later ones at worst.
_FIRST_CALL_ALLOWANCE = 4.0
# A candidate whose whole interval is this many times slower than the best is never a finalist, so its exact
# time is not worth another sample.
_BEHIND = 1.2
# In a call of this many seconds, what a first call adds (page faults, packing buffers) does not show.
LONG_S = 1.0
# Samples that one request asks for: together about this many seconds, and at most this many.
_TOGETHER_S, _TOGETHER = 0.02, 8


@dataclass(frozen=True, slots=True)
class Timed:
    """One sample.

    Attributes:
        seconds: of one call, the mean of those of the sample.
        share: of the sample that others took its cores for, see `core/disturbance.py`.
        lasted_s: seconds that all of it took.
    """

    seconds: float
    share: float = 0.0
    lasted_s: float = 0.0


class Sampler(typing.Protocol):
    """What takes samples: a run in the judge, or a stand-in in tests."""

    def samples(self, count: int, calls: int) -> list[Timed]:
        """So many samples in a row, each of `calls` calls."""
        ...


def calls_a_sample(seconds: float, protocol: Protocol) -> int:
    """How many calls make a sample long enough for the clock: 1 for kernels of `min_sample_s` or more."""
    if not protocol.warm or seconds >= protocol.min_sample_s:
        return 1
    return min(10_000, int(protocol.min_sample_s / max(seconds, 1e-8)) + 1)


def together(sample_s: float) -> int:
    """How many samples to take in a row."""
    return max(1, min(_TOGETHER, int(_TOGETHER_S / max(sample_s, 1e-9))))


def take_samples(
    run: Sampler, protocol: Protocol, incumbent_s: float | None, first_s: float
) -> tuple[list[float], bool, float]:
    """The timed calls of one trial: (seconds of a call by sample, pruned, share of them that is disturbed).

    One call first; if it is `prune_factor` times slower than the incumbent, that is all. Otherwise
    repeated until half of the median's 95% interval is within `relative_interval`, or all of the interval
    is behind 1.2 times the incumbent, or the budget is spent; `min_samples` at least. A sample during which
    others had the cores is taken again, for as long as the budget once more; it prunes nothing.

    Args:
        run: a verified run.
        protocol: how to measure.
        incumbent_s: seconds of the best so far, if there is one.
        first_s: seconds of the verifying call, if it was undisturbed; else 0.
    """
    hopeless_s = incumbent_s * protocol.prune_factor if incumbent_s and protocol.prune_factor else None
    if hopeless_s is not None and first_s > _FIRST_CALL_ALLOWANCE * hopeless_s and first_s > 0.01:
        return [first_s], True, 0.0
    taken = _Samples(run, Patience(protocol.budget_s))
    if protocol.warmup and first_s < LONG_S:
        run.samples(protocol.warmup, 1)
    first, disturbed = taken.first(1)
    if hopeless_s is not None and not disturbed and first > hopeless_s and first > 1e-4:
        return [first], True, 0.0
    calls = calls_a_sample(first, protocol)
    if calls > 1:
        # A single call is too short for the clock: size the sample by one that is long enough.
        calls = calls_a_sample(taken.first(calls)[0], protocol)
        first, disturbed = taken.first(calls)
        if hopeless_s is not None and not disturbed and first > hopeless_s:
            return [first], True, 0.0
    started = time.perf_counter()
    while len(taken.seconds) < protocol.max_samples:
        missing = protocol.min_samples - len(taken.seconds)
        if missing <= 0 and taken.known(protocol, incumbent_s if hopeless_s is not None else None):
            break
        # A kernel of seconds gets three samples at least, whatever the budget.
        if time.perf_counter() - started > protocol.budget_s and len(taken.seconds) >= 3:
            break
        count = together(taken.seconds[-1] * calls if taken.seconds else first * calls)
        room = protocol.max_samples - len(taken.seconds)
        taken.more(min(count, missing if missing > 0 else room, room), calls)
    samples, share = undisturbed(taken.seconds, taken.flags, protocol.min_samples)
    return samples, False, share


class _Samples:
    """The samples of one trial so far: seconds of a call, and whether each is disturbed."""

    def __init__(self, run: Sampler, patience: Patience) -> None:
        self._run, self._patience = run, patience
        self.seconds: list[float] = []
        self.flags: list[bool] = []

    def more(self, count: int, calls: int) -> None:
        """Takes `count` samples and keeps those that count."""
        for sample in self._run.samples(count, calls):
            disturbed = self._patience.admit(sample.share, sample.lasted_s)
            if disturbed is not None:
                self.seconds.append(sample.seconds)
                self.flags.append(disturbed)

    def first(self, calls: int) -> tuple[float, bool]:
        """Begins anew: seconds of a call of the first sample that counts, and whether it is disturbed."""
        self.seconds, self.flags = [], []
        while not self.seconds:
            self.more(1, calls)
        return self.seconds[0], self.flags[0]

    def known(self, protocol: Protocol, incumbent_s: float | None) -> bool:
        """Whether the interval is narrow enough, or surely behind the incumbent."""
        interval = median_interval(self.seconds)
        behind = not any(self.flags) and incumbent_s is not None and interval.low > _BEHIND * incumbent_s
        return behind or interval.relative_half_width <= protocol.relative_interval
