"""When a candidate has been timed enough: the policy, apart from who runs it."""

import time
from collections.abc import Sequence
from typing import Protocol as Interface

from tuner.core.protocol import Protocol
from tuner.core.stats import median_interval

# Cold first calls (page faults, packing buffers) are that much slower than later ones at worst.
_FIRST_CALL_ALLOWANCE = 4.0
# Who is surely so many times slower than the best is never a finalist: how much slower exactly is not worth
# another sample.
_BEHIND = 1.2
# What a first call adds (page faults, packing buffers) does not show in a call of so many seconds.
LONG_S = 1.0
# Samples taken without a word between them last about so long, and are so many at the most.
_TOGETHER_S, _TOGETHER = 0.02, 8


class Sampler(Interface):
    """Who takes samples."""

    def samples(self, count: int, calls: int) -> list[float]:
        """So many samples in a row: seconds of one call each, the mean of `calls`."""
        ...


def calls_a_sample(seconds: float, protocol: Protocol) -> int:
    """How many calls make a sample long enough for the clock: 1 for kernels of `min_sample_s` or more."""
    if protocol.cache == "cold" or seconds >= protocol.min_sample_s:
        return 1
    return min(10_000, int(protocol.min_sample_s / max(seconds, 1e-8)) + 1)


def together(sample_s: float) -> int:
    """How many samples to take in a row."""
    return max(1, min(_TOGETHER, int(_TOGETHER_S / max(sample_s, 1e-9))))


def take_samples(
    run: Sampler, protocol: Protocol, incumbent_s: float | None, first_s: float
) -> tuple[list[float], bool]:
    """The timed calls of one trial: (samples, pruned).

    One call first; if it is `prune_factor` times slower than the incumbent, that is all. Otherwise
    repeated until half of the median's 95% interval is within `relative_interval`, or all of the interval
    is behind 1.2 times the incumbent, or the budget is spent; `min_samples` at least.

    Args:
        run: a verified run.
        protocol: how to measure.
        incumbent_s: seconds of the best so far, if there is one.
        first_s: seconds of the verifying call.
    """
    hopeless = (
        None if incumbent_s is None or not protocol.prune_factor else incumbent_s * protocol.prune_factor
    )
    if hopeless is not None and first_s > _FIRST_CALL_ALLOWANCE * hopeless and first_s > 0.01:
        return [first_s], True
    if protocol.warmup and first_s < LONG_S:
        run.samples(protocol.warmup, 1)
    samples = run.samples(1, 1)
    if hopeless is not None and samples[0] > hopeless and samples[0] > 1e-4:
        return samples, True
    calls = calls_a_sample(samples[0], protocol)
    if calls > 1:
        # A single call is too short for the clock: size the sample by one that is long enough.
        calls = calls_a_sample(run.samples(1, calls)[0], protocol)
        samples = run.samples(1, calls)
        if hopeless is not None and samples[0] > hopeless:
            return samples, True
    started = time.perf_counter()
    while len(samples) < protocol.max_samples:
        missing = protocol.min_samples - len(samples)
        if missing <= 0 and _known(samples, protocol, incumbent_s if hopeless is not None else None):
            break
        # A kernel of seconds gets three samples at least, whatever the budget.
        if time.perf_counter() - started > protocol.budget_s and len(samples) >= 3:
            break
        count = together(samples[-1] * calls)
        if missing > 0:
            count = min(count, missing)
        samples += run.samples(min(count, protocol.max_samples - len(samples)), calls)
    return samples, False


def _known(samples: Sequence[float], protocol: Protocol, incumbent_s: float | None) -> bool:
    interval = median_interval(samples)
    behind = incumbent_s is not None and interval.low > _BEHIND * incumbent_s
    return behind or interval.relative_half_width <= protocol.relative_interval
