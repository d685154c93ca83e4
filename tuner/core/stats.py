"""Statistics of timings: medians with distribution-free intervals, and ratios of paired samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided interval, all in the unit of the samples."""

    low: float
    mid: float
    high: float

    @property
    def relative_half_width(self) -> float:
        """Half of the interval's width as a share of the estimate: 0.02 is ±2%."""
        return 0.5 * (self.high - self.low) / self.mid

    def contains(self, value: float) -> bool:
        """Whether `value` lies in the closed interval."""
        return self.low <= value <= self.high


@lru_cache(maxsize=4096)
def _median_ranks(n: int, confidence: float) -> tuple[int, int] | None:
    """0-based ranks of the order statistics that enclose the median, or `None` where n is too small."""
    # P(X_(j) < median) follows Binomial(n, 1/2): the interval [X_(j), X_(n-1-j)] misses with twice the
    # lower tail up to j. n = 6, j = 0: 2/64 = 3.1% < 5%, so six samples are the fewest for 95%.
    # In integers: 2.0**n overflows at n = 1024.
    term, tail, best = 1, 0, None
    limit = int((1 - confidence) * 2**53) << n >> 54  # tail / 2^n <= (1 - confidence) / 2
    for j in range(n // 2):
        tail += term
        if tail > limit:
            break
        term = term * (n - j) // (j + 1)
        best = (j, n - 1 - j)
    return best


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> Interval:
    """The median and its distribution-free interval from order statistics.

    With fewer samples than the confidence needs (six for 95%) the interval is the whole range and
    its true confidence is lower. Source: Conover, Practical Nonparametric Statistics (1999), 3.2;
    recommended for timings by Hoefler and Belli, Scientific Benchmarking of Parallel Computing
    Systems (SC'15), rule 6.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("an interval needs at least one sample")
    ordered = sorted(samples)
    n = len(ordered)
    below, above = ordered[(n - 1) // 2], ordered[n // 2]
    # Not half of the sum, which can overflow, or leave the interval by a rounding.
    mid = below + 0.5 * (above - below)
    ranks = _median_ranks(n, confidence) or (0, n - 1)
    return Interval(ordered[ranks[0]], mid, ordered[ranks[1]])


def ratio_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The ratio of medians of two *paired* series and its percentile-bootstrap interval.

    Pair i was taken in round i of one interleaved run, so drift that hits a whole round cancels:
    rounds are resampled, not single samples (2,000 times, seeded). Source: Efron and Tibshirani,
    An Introduction to the Bootstrap (1993), ch. 13.

    Raises:
        ValueError: the series are empty or of different lengths.
    """
    top, bottom = np.asarray(numerator, float), np.asarray(denominator, float)
    if top.size == 0 or top.size != bottom.size:
        raise ValueError(f"paired series need equal, positive lengths: {top.size} and {bottom.size}")
    picks = np.random.default_rng(seed).integers(0, top.size, size=(2000, top.size))
    ratios = np.median(top[picks], axis=1) / np.median(bottom[picks], axis=1)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    mid = float(np.median(top) / np.median(bottom))
    # With few rounds the percentile interval can miss its own estimate.
    return Interval(min(float(low), mid), mid, max(float(high), mid))


def paired_ratio(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95
) -> Interval:
    """`ratio_interval` over the rounds two series of one interleaved run have in common.

    Both begin with round 0; a slow entry may have left after fewer rounds than the other.

    Raises:
        ValueError: a series is empty.
    """
    rounds = min(len(numerator), len(denominator))
    return ratio_interval(numerator[:rounds], denominator[:rounds], confidence)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers: the right mean of ratios.

    Raises:
        ValueError: there are no values, or one is not positive.
    """
    if not values or min(values) <= 0:
        raise ValueError("a geometric mean needs positive values")
    return math.exp(sum(math.log(v) for v in values) / len(values))
