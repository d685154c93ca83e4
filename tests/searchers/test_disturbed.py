"""What a time of a busy machine teaches a searcher: nothing, while there are others."""

import random

import pytest

from tests.searchers.test_contract import CLOSED, gemm_like, make
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import Observation
from tuner.searchers.disturbed import Withheld, learnable


def timed(config, seconds: float, disturbed: bool = False) -> Observation:
    metrics = {"disturbed_share": 0.5, "others_share": 0.3} if disturbed else {}
    return Observation(config, Measurement(Status.OK, Evidence.MEASURED, (seconds,), metrics=metrics))


def after(name: str, slow_s: float, share: int, disturbed: bool = True) -> list:
    """Proposals after thirty trials of which one in `share` took `slow_s`, disturbed or not."""
    space = gemm_like()
    searcher = make(name, space, seed=3)
    rng = random.Random(1)
    configs = rng.sample(list(space), 40)
    for i, config in enumerate(configs[:30]):
        slow = i % share == 1
        searcher.tell([timed(config, slow_s if slow else 1.0 + rng.random(), slow and disturbed)])
    proposed = searcher.ask(4)
    told = [tuple(sorted(c.items())) for c in configs[:30]]
    assert not {tuple(sorted(c.items())) for c in proposed} & set(told)  # tried is tried
    return proposed


@pytest.mark.parametrize("name", CLOSED)
def test_how_long_a_disturbed_time_was_changes_no_proposal(name):
    assert after(name, 1.5, share=3) == after(name, 0.001, share=3) == after(name, 900.0, share=3)


@pytest.mark.parametrize("name", ["surrogate", "local"])
def test_the_same_times_undisturbed_do(name):
    assert after(name, 0.001, share=3, disturbed=False) != after(name, 900.0, share=3, disturbed=False)


def test_a_machine_that_is_always_busy_teaches_by_its_times():
    first, second = after("surrogate", 0.5, share=1), after("surrogate", 0.001, share=1)
    assert len(first) == len(second) == 4
    withheld = Withheld()
    busy = [timed({"n": i}, 1.0, disturbed=True) for i in range(6)]
    assert [len(withheld.admit(o)) for o in busy] == [0, 0, 0, 4, 1, 1]
    quiet = [timed({"n": 10 + i}, 1.0) for i in range(4)]
    assert [withheld.admit(o) for o in quiet] == [[o] for o in quiet]
    assert withheld.admit(busy[0]) == []  # four of eleven are undisturbed by now
    failed = Observation({"n": 99}, Measurement(Status.CRASH, Evidence.MEASURED, error="died"))
    assert withheld.admit(failed) == [failed]


def test_a_history_is_read_without_its_disturbed_times():
    clean, busy = [timed({"n": i}, 1.0) for i in range(3)], [timed({"n": 9}, 1.0, disturbed=True)]
    assert learnable([*busy, *clean]) == clean
    assert learnable([*busy * 7, *clean]) == [*busy * 7, *clean]
