"""Intervals over processes hold what they promise: coverage by simulation with fixed seeds."""

import numpy as np
import pytest

from tuner.core.stats import median_interval, paired_ratio
from tuner.core.turns import FEWEST, Turns

EACH = 5


def drawn(rng: np.random.Generator, between: float, within: float) -> np.ndarray:
    """Seconds by process and round: a process is slow or fast for as long as it lives."""
    process = rng.lognormal(0, between, (FEWEST, 1))
    return process * rng.lognormal(0, within, (FEWEST, EACH))


def turns(seconds: np.ndarray) -> Turns:
    return Turns(tuple(map(float, seconds.ravel())), (seconds.shape[1],) * len(seconds))


@pytest.mark.parametrize("between", [0.0, 0.02])
def test_the_interval_covers_the_median_over_processes(between):
    rng = np.random.default_rng(5)
    hits, in_one = 0, 0
    for _ in range(1000):
        taken = turns(drawn(rng, between, 0.002))
        hits += taken.interval.contains(1.0)
        one = rng.lognormal(0, between) * rng.lognormal(0, 0.002, FEWEST * EACH)
        in_one += median_interval(one.tolist()).contains(1.0)
    # Six medians miss theirs on one side in 2 of 64: 96.9%, less four standard deviations.
    assert hits / 1000 > 0.969 - 4 * 0.0055
    if between:
        assert in_one / 1000 < 0.2  # as many turns in one process do not


def test_the_ratio_covers_its_value_and_drift_cancels():
    rng = np.random.default_rng(6)
    hits, widths, unpaired = 0, [], []
    for _ in range(1000):
        drift = rng.lognormal(0, 0.3, (FEWEST, EACH))  # of a shared machine, the same for both
        top, bottom = 1.1 * drift * drawn(rng, 0.01, 0.002), drift * drawn(rng, 0.01, 0.002)
        ratio = turns(top).over(turns(bottom))
        hits += ratio.contains(1.1)
        widths.append(ratio.relative_half_width)
        unpaired.append(turns(top).over(turns(bottom[::-1])).relative_half_width)
    assert hits / 1000 > 0.969 - 4 * 0.0055
    assert np.median(widths) < 0.2 * np.median(unpaired)


def test_rounds_that_only_one_of_them_was_in_do_not_count():
    # The machine became twice as slow after the first round of each sitting; the slow entry had left.
    slow = Turns((3.0,) * FEWEST, (1,) * FEWEST)
    fast = Turns((1.0, 2.0, 2.0) * FEWEST, (3,) * FEWEST)
    assert slow.over(fast).mid == 3.0 and fast.over(slow).mid == pytest.approx(1 / 3)


def test_fewer_than_six_processes_have_only_the_intervals_of_their_samples():
    samples, other = (1.0, 1.1, 1.2, 1.05, 1.15, 1.3), (2.0, 2.1, 2.2, 2.05, 2.15, 2.3)
    for processes in ((), (6,), (2, 2, 2)):
        assert Turns(samples, processes).interval == median_interval(samples)
        assert Turns(samples, processes).over(Turns(other)) == paired_ratio(samples, other)
    assert Turns().interval is None


@pytest.mark.parametrize("processes", [(1,), (3,), (2, 0)])
def test_samples_belong_to_processes(processes):
    with pytest.raises(ValueError, match="2 samples"):
        Turns((1.0, 2.0), processes)
