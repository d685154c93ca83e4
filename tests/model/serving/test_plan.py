"""How many of those that wait run together."""

import random
from collections.abc import Mapping

import pytest

from tests.model.serving.made import by_hand
from tuner.model.serving.loading import Served
from tuner.model.serving.plan import least_waiting
from tuner.model.serving.protocol import Refused
from tuner.model.serving.waiting import Job, Waiting


@pytest.mark.parametrize(
    ("times", "first"),
    [
        # Two take twice as long as one: nobody gains by waiting for another, but the rate does.
        ({1: 1.0, 2: 2.0, 4: 3.9, 8: 7.8}, [0, 1, 1, 1, 1, 1, 1, 1, 8]),
        # A batch costs as much as a row: all go together.
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}, [0, 1, 2, 4, 4, 8, 8, 8, 8]),
        # Padding three to four is worth it, five to eight is not.
        ({1: 2.0, 2: 2.2, 4: 2.6, 8: 6.0}, [0, 1, 2, 4, 4, 4, 4, 4, 8]),
        ({1: 1.0, 3: 0.0}, [0, 1, 3, 3]),
        ({1: 1.0}, [0, 1]),
    ],
)
def test_rows_run_so_that_all_of_them_wait_least(times: Mapping[int, float], first: list[int]) -> None:
    assert least_waiting(times) == first


def sums(times: Mapping[int, float], rows: int) -> float:
    """The least waiting of all ways, by trying each."""
    return min((rows * times[b] + sums(times, rows - b) for b in times), default=0.0) if rows > 0 else 0.0


def test_no_other_way_waits_less() -> None:
    rng = random.Random(3)
    for _ in range(50):
        times = {b: rng.uniform(0.5, 1.5) * b**0.7 for b in (1, 2, 4)}
        first = least_waiting(times)
        waited, rows = 0.0, 3
        while rows > 0:
            waited += rows * times[first[rows]]
            rows -= first[rows]
        assert waited == pytest.approx(sums(times, 3))


def test_a_request_of_more_rows_than_the_plan_says_runs_whole_and_full_batches_stay_full() -> None:
    def job(rows: int) -> Job:
        return Job({}, rows, lambda found: None)

    made = by_hand()
    planned = Served("m", made.path, made._made[0])
    planned.plan = [0, 1, 1, 1, 4]
    waiting = Waiting(planned, 1.0, 100, 0.0)
    for rows in (1, 1, 1, 1, 3, 1):
        waiting.add(job(rows))
    taken = []
    while len(waiting):
        taken.append([one.rows for one in waiting.take()])
    assert taken == [[1, 1, 1, 1], [3, 1]]
    for rows in (2, 1):
        waiting.add(job(rows))
    assert [one.rows for one in waiting.take()] == [2] and [one.rows for one in waiting.take()] == [1]


def test_who_is_refused_is_told_to_come_back_when_all_instances_have_worked_off_what_waits() -> None:
    made = by_hand()
    for others, seconds in ((), 80), ((made._made[0],), 40):
        waiting = Waiting(Served("m", made.path, made._made[0], others=others), 1.0, 8, 0.0)
        waiting.took(1, 10.0)
        waiting.add(Job({}, 8, lambda found: None))
        with pytest.raises(Refused) as refused:
            waiting.add(Job({}, 1, lambda found: None))
        assert refused.value.retry_after_s == seconds
