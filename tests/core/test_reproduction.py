"""Numbers of two hours: what counts as the same, what differs, what nobody can say."""

import itertools
import random

import pytest

from tuner.core.reproduction import Mark, judge, mark_of, of_pairs, of_processes
from tuner.core.shift import _rank, _ways, ratio_of
from tuner.core.stats import Interval
from tuner.core.turns import Turns


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (4, 4), (5, 2)])
def test_the_distribution_is_that_of_all_orders(m: int, n: int) -> None:
    counts = [0] * (m * n + 1)
    for places in itertools.combinations(range(m + n), m):
        counts[sum(place - i for i, place in enumerate(places))] += 1
    assert _ways(m, n) == tuple(counts)


def test_tables_of_the_test_have_these_critical_values() -> None:
    # Two-sided, 5% and 1%, as printed in textbooks: U of at most 17 and 11 for nine and nine, 5 and 2 for
    # six and six.
    assert [_rank(9, 9, 0.05) - 1, _rank(9, 9, 0.01) - 1] == [17, 11]
    assert [_rank(6, 6, 0.05) - 1, _rank(6, 6, 0.01) - 1] == [5, 2]


def test_the_interval_covers_a_shift_as_often_as_it_says() -> None:
    draw = random.Random(1)

    def sample(scale: float) -> list[float]:
        return [scale * draw.lognormvariate(0, 0.05) for _ in range(9)]

    missed = sum(not ratio_of(sample(1.3), sample(1.0)).contains(1.3) for _ in range(2000))
    assert 40 < missed < 140  # 5% is 100; the exact level of nine and nine is 4.0%


def test_a_file_of_numbers_that_did_not_change_is_said_to_reproduce() -> None:
    draw = random.Random(2)

    def sample() -> list[float]:
        return [draw.lognormvariate(0, 0.03) for _ in range(9)]

    marks = [[judge(sample(), sample(), 20).mark for _ in range(20)] for _ in range(100)]
    assert sum(Mark.DIFFERS in file for file in marks) <= 5
    assert all(file.count(Mark.REPRODUCES) >= 19 for file in marks)


def test_what_changed_differs_and_what_is_a_cloud_is_undecided() -> None:
    steady = [1.0 + 0.002 * i for i in range(9)]
    slower = judge(steady, [1.2 * s for s in steady], 20)
    assert slower.mark is Mark.DIFFERS and slower.ratio is not None and slower.ratio.mid == pytest.approx(1.2)
    assert judge(steady, [s / 1.2 for s in steady], 20).mark is Mark.DIFFERS
    assert judge(steady, [1.04 * s for s in steady], 20).mark is Mark.REPRODUCES
    assert judge(steady, [1.04 * s for s in steady], 20, within=0.01).mark is Mark.DIFFERS
    cloud = judge(steady, [1.0, 2.0, 0.6, 1.9, 0.7, 1.0, 2.2, 0.5, 1.0], 20)
    assert cloud.mark is Mark.UNDECIDED and "differ too much" in cloud.why
    assert judge(steady[:5], steady, 20).mark is Mark.UNDECIDED


@pytest.mark.parametrize(
    ("low", "high", "mark"),
    [
        (0.80, 1.15, Mark.REPRODUCES),  # nothing contradicts it; the report shows how sharp that is
        (1.04, 1.30, Mark.REPRODUCES),
        (1.06, 1.10, Mark.DIFFERS),
        (0.80, 0.94, Mark.DIFFERS),
        (1.06, 9.00, Mark.DIFFERS),  # by how much is not known, that it does is
        (0.80, 1.21, Mark.UNDECIDED),
    ],
)
def test_a_number_reproduces_within_its_interval(low: float, high: float, mark: Mark) -> None:
    assert mark_of(Interval(low, (low * high) ** 0.5, high), 0.05) is mark


def test_a_sample_is_a_process_and_pairs_are_of_the_same_rounds() -> None:
    slow = Turns((2.0, 4.0, 6.0) * 6, (3,) * 6)
    fast = Turns((1.0, 2.0) * 6, (2,) * 6)
    assert of_processes(slow) == [4.0] * 6
    assert of_pairs(slow, fast) == [2.0] * 6, "the third round of the slow one has no partner"
