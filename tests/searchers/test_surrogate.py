"""What the surrogate does with its trials: spreads the first, learns from failures, finds what it models."""

import math
import random

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import Observation, Problem
from tuner.core.space import Parameter, SearchSpace
from tuner.searchers.model.model import SurrogateModel

SPACE = SearchSpace([Parameter(n, tuple(2**i for i in range(8))) for n in "xyz"])


def told(config, best=(8, 32, 4), fail=lambda c: False) -> Observation:
    if fail(config):
        return Observation(config, Measurement(Status.RUN_ERROR, Evidence.MEASURED, error="no"))
    distance = sum(abs(math.log2(config[n] / b)) for n, b in zip("xyz", best, strict=True))
    return Observation(config, Measurement(Status.OK, Evidence.MEASURED, samples=(1e-3 * 1.4**distance,)))


def searcher(seed=0, budget=60):
    kind = registry.searcher("surrogate")
    if reason := kind.unavailable():
        pytest.skip(reason)
    return kind(Problem(SPACE, seed, budget))


def closest_pair(configs) -> float:
    keys = [SPACE.indices(c) for c in configs]
    return min(math.dist(a, b) for i, a in enumerate(keys) for b in keys[:i])


@pytest.mark.parametrize("batch", [1, 10])
def test_the_first_ten_are_farther_apart_than_uniform_draws(batch):
    seeker, configs = searcher(), []
    while len(configs) < 10:
        asked = seeker.ask(batch)
        seeker.tell([told(c) for c in asked])
        configs += asked
    rng = random.Random(0)
    uniform = [closest_pair([SPACE.sample(rng) for _ in range(10)]) for _ in range(50)]
    assert closest_pair(configs) > 2 * sum(uniform) / 50


def test_other_seeds_begin_elsewhere():
    assert searcher(0).ask(10) != searcher(1).ask(10)


def test_far_apart_takes_the_farthest_first():
    model = SurrogateModel(Problem(SPACE), 3)
    pool = [(0, 0, 0), (1, 0, 0), (7, 7, 7), (7, 0, 0)]
    assert model.far_apart(pool, [(0, 0, 0)], 2) == [(7, 7, 7), (7, 0, 0)]
    assert model.far_apart(pool, [], 1) == [(0, 0, 0)]
    assert sorted(model.far_apart(pool, [], 9)) == sorted(pool)


def test_finds_a_smooth_optimum_among_512_in_40_trials():
    for seed in range(3):
        seeker, best = searcher(seed), math.inf
        for _ in range(40):
            (config,) = seeker.ask(1)
            outcome = told(config)
            best = min(best, outcome.value or math.inf)
            seeker.tell([outcome])
        assert best == pytest.approx(1e-3)


def test_failures_are_learned_from():
    def fails(config) -> bool:
        return config["x"] * config["y"] > 256

    share = sum(fails(c) for c in SPACE) / 512
    seeker, failed = searcher(), []
    for _ in range(50):
        (config,) = seeker.ask(1)
        failed.append(fails(config))
        seeker.tell([told(config, fail=fails)])
    assert share > 0.3
    assert sum(failed[10:]) / 40 < share / 2
