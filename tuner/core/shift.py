"""How much two sets of times differ, as a ratio with an exact interval: for times of two different hours.

Within one interleaved run times are paired and `turns` compares them. Two runs share no rounds: what each
process took in one of them is a sample, and nothing is paired.
"""

from collections.abc import Sequence
from functools import lru_cache

from tuner.core.stats import Interval

FEWEST = 6
"""Samples a side below which nothing is said: of five and five the most extreme order has 0.8%."""

_MOST = 40  # a side; the exact distribution of more takes long, and no final has more processes


@lru_cache(maxsize=256)
def _ways(m: int, n: int) -> tuple[int, ...]:
    """In how many orders of m and n samples u pairs are the wrong way round, for u from 0 to m n."""
    # Coefficients of the Gaussian binomial (m+n choose m): one factor (1 - q^(n+i)) / (1 - q^i) after the
    # other.
    ways = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for u in range(m * n, n + i - 1, -1):
            ways[u] -= ways[u - n - i]
        for u in range(i, m * n + 1):
            ways[u] += ways[u - i]
    return tuple(ways)


@lru_cache(maxsize=1024)
def _rank(m: int, n: int, alpha: float) -> int:
    """The largest k with P(U <= k-1) <= alpha / 2; at least 1, the interval's ends are the k-th pairs."""
    ways = _ways(m, n)
    limit, tail, k = alpha / 2 * sum(ways), 0, 0
    for count in ways:
        tail += count
        if tail > limit:
            break
        k += 1
    return max(1, k)


def ratio_of(now: Sequence[float], then: Sequence[float], alpha: float = 0.05) -> Interval:
    """What `now` is times `then`: the median of all ratios of pairs, with its interval at 1 - alpha.

    The interval inverts the two-sided test of Wilcoxon, Mann and Whitney on the logarithms; it is exact
    whatever the distribution, as long as the two differ by a factor. Source: Hollander and Wolfe,
    Nonparametric Statistical Methods (1999), 4.2 and 4.3. Where so few samples cannot reach 1 - alpha it
    is the widest there is.

    Args:
        now, then: positive, one a process; of more than forty the first forty count.
        alpha: how often the interval may miss.

    Raises:
        ValueError: one of them is empty.
    """
    now, then = now[:_MOST], then[:_MOST]
    if not now or not then:
        raise ValueError("a ratio needs samples on both sides")
    ratios = sorted(a / b for a in now for b in then)
    count = len(ratios)
    k = min(_rank(len(now), len(then), alpha), (count + 1) // 2)
    below, above = ratios[(count - 1) // 2], ratios[count // 2]
    return Interval(ratios[k - 1], below + 0.5 * (above - below), ratios[count - k])
