"""How many samples a trial takes: as many as its place among the others needs."""

import itertools

import pytest

from tuner.core.protocol import Protocol
from tuner.engine.judging.sampling import Timed, take_samples

INCUMBENT_S = 1e-3


class _Scripted:
    """In place of `JudgedRun`: samples spread evenly over 10% to either side of a time, none twice."""

    def __init__(self, seconds: float) -> None:
        self._samples = (seconds * (0.9 + 0.2 * (0.618 * i % 1.0)) for i in itertools.count())

    def samples(self, count: int, calls: int) -> list[Timed]:
        return [Timed(next(self._samples)) for _ in range(count)]


def count(seconds: float, incumbent_s: float | None = INCUMBENT_S, **changes: float) -> tuple[int, bool]:
    protocol = Protocol(relative_interval=1e-3, max_samples=50, budget_s=1e6, **changes)  # type: ignore[arg-type]
    samples, pruned, _ = take_samples(_Scripted(seconds), protocol, incumbent_s, seconds)
    return len(samples), pruned


def test_the_first_sample_of_a_candidate_far_behind_is_its_last():
    assert count(3 * INCUMBENT_S) == (1, True)


def test_who_is_surely_behind_gets_the_fewest_samples_and_is_a_right_trial_all_the_same():
    assert count(1.6 * INCUMBENT_S) == (Protocol().min_samples, False)


@pytest.mark.parametrize("seconds", [0.7 * INCUMBENT_S, INCUMBENT_S, 1.2 * INCUMBENT_S])
def test_who_may_be_the_best_is_sampled_until_its_time_is_known(seconds):
    assert count(seconds) == (50, False)


def test_without_an_incumbent_or_without_pruning_all_are_sampled_alike():
    assert count(1.6 * INCUMBENT_S, None) == (50, False)
    assert count(1.6 * INCUMBENT_S, prune_factor=0) == (50, False)


class _Busy(_Scripted):
    """All samples, or the first `calm_after`, are taken while another program has the core."""

    def __init__(self, seconds: float, calm_after: float = float("inf")) -> None:
        super().__init__(seconds)
        self._taken, self._calm_after = 0, calm_after

    def samples(self, count: int, calls: int) -> list[Timed]:
        taken = []
        for sample in super().samples(count, calls):
            self._taken += 1
            busy = self._taken <= self._calm_after
            taken.append(Timed(sample.seconds * (25 if busy else 1), float(busy), 0.04))
        return taken


def test_a_disturbed_first_call_does_not_prune_and_is_not_a_sample():
    run = _Busy(INCUMBENT_S, calm_after=5)
    samples, pruned, disturbed = take_samples(run, Protocol(max_samples=9), INCUMBENT_S, INCUMBENT_S)
    assert not pruned and disturbed == 0.0
    assert max(samples) < 2 * INCUMBENT_S


def test_what_stays_disturbed_is_bounded_not_pruned_and_says_so():
    run = _Busy(INCUMBENT_S)
    samples, pruned, disturbed = take_samples(run, Protocol(max_samples=9), INCUMBENT_S, 0.0)
    assert (len(samples), pruned, disturbed) == (9, False, 1.0)
    # Warm-ups apart: 0.25 s of samples of 40 ms are thrown away, no more.
    assert run._taken <= 9 + 7 + Protocol().warmup + 1
