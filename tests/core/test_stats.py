"""Intervals hold what they promise: coverage by simulation with fixed seeds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.core.stats import Interval, geometric_mean, median_interval, ratio_interval

TIMES = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=60)


@pytest.mark.parametrize("n", [6, 7, 15, 40, 200])
@pytest.mark.parametrize("draw", ["lognormal", "bimodal"])
def test_the_median_interval_covers_the_median(n, draw):
    rng = np.random.default_rng(n)
    rounds, hits = 4000, 0
    for _ in range(rounds):
        if draw == "lognormal":  # a long tail, as timings have
            samples, median = rng.lognormal(0.0, 1.0, n), 1.0
        else:  # two clock speeds: 60% near 1, 40% near 2, whose median is the quantile 5/6 of the first
            first = rng.random(n) < 0.6
            samples = np.where(first, rng.uniform(0.9, 1.1, n), rng.uniform(1.9, 2.1, n))
            median = 0.9 + 0.2 * 5 / 6
        hits += median_interval(samples.tolist()).contains(median)
    # At least 95%, less four standard deviations of a count of 4,000.
    assert hits / rounds >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / rounds)


def test_a_lower_confidence_gives_a_narrower_interval_that_covers_less():
    rng = np.random.default_rng(1)
    hits = {0.5: 0, 0.99: 0}
    for _ in range(2000):
        samples = rng.normal(0, 1, 41).tolist()
        narrow, wide = median_interval(samples, 0.5), median_interval(samples, 0.99)
        assert wide.low <= narrow.low <= narrow.mid <= narrow.high <= wide.high
        for confidence in hits:
            hits[confidence] += median_interval(samples, confidence).contains(0.0)
    assert 0.5 <= hits[0.5] / 2000 < 0.75 and hits[0.99] / 2000 > 0.98


@given(TIMES)
def test_the_interval_encloses_the_median_and_uses_samples(samples):
    interval = median_interval(samples)
    assert interval.low <= interval.mid <= interval.high
    assert interval.mid == pytest.approx(float(np.median(samples)))
    assert interval.low in samples and interval.high in samples


def test_six_samples_are_the_fewest_that_can_leave_anything_out():
    assert (median_interval([1, 2, 3, 4, 5]).low, median_interval([1, 2, 3, 4, 5]).high) == (1, 5)
    nine = median_interval(list(range(9)))  # P(Bin(9, 1/2) <= 1) = 10/512, twice that is 3.9%
    assert (nine.low, nine.mid, nine.high) == (1, 4, 7)


def test_one_sample_is_its_own_interval():
    assert median_interval([3.0]) == Interval(3.0, 3.0, 3.0)


@pytest.mark.parametrize("n", [1023, 1024, 5000])
def test_many_samples_do_not_overflow(n):
    interval = median_interval([float(i) for i in range(n)])
    # The normal approximation: ranks n/2 -+ 1.96 sqrt(n)/2.
    assert interval.low == pytest.approx(n / 2 - 0.98 * math.sqrt(n), abs=2)
    assert interval.high == pytest.approx(n / 2 + 0.98 * math.sqrt(n), abs=2)


def test_relative_half_width_is_a_share_of_the_estimate():
    assert Interval(0.9, 1.0, 1.1).relative_half_width == pytest.approx(0.1)
    interval = Interval(0.9, 1.0, 1.1)
    assert interval.contains(0.9) and interval.contains(1.1)
    assert not interval.contains(0.89) and not interval.contains(1.11)


def test_the_ratio_interval_covers_the_ratio_and_drift_cancels():
    rng = np.random.default_rng(11)
    hits, widths, unpaired = 0, [], []
    for trial in range(300):
        drift = rng.lognormal(0, 0.5, 25)  # of a shared machine, the same for both within a round
        top = 1.5 * drift * rng.lognormal(0, 0.05, 25)
        bottom = drift * rng.lognormal(0, 0.05, 25)
        interval = ratio_interval(top.tolist(), bottom.tolist(), seed=trial)
        hits += interval.contains(1.5)
        widths.append(interval.relative_half_width)
        unpaired.append(ratio_interval(top.tolist(), rng.permutation(bottom).tolist()).relative_half_width)
    assert hits / 300 >= 0.90  # a percentile bootstrap of 25 rounds covers somewhat less than 95%
    assert np.median(widths) < 0.5 * np.median(unpaired)


def test_the_ratio_interval_is_reproducible_and_holds_its_estimate():
    top, bottom = [1.0, 1.2, 5.0], [1.0, 1.1, 0.9]
    first = ratio_interval(top, bottom)
    assert first == ratio_interval(top, bottom) and first.low <= first.mid <= first.high
    assert first.mid == pytest.approx(1.2)
    assert ratio_interval([2.0], [1.0]) == Interval(2.0, 2.0, 2.0)


def test_bad_series_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        median_interval([])
    for top, bottom in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="paired series"):
            ratio_interval(top, bottom)
    for values in ([], [1.0, 0.0], [-1.0]):
        with pytest.raises(ValueError, match="positive"):
            geometric_mean(values)


def test_the_geometric_mean_of_a_ratio_and_its_inverse_is_one():
    assert geometric_mean([4.0, 0.25]) == pytest.approx(1.0)
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
