"""Learning from other devices and shapes: used where it helps, discounted where it misleads."""

import math
import random

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import History, Observation, Problem
from tuner.core.space import Constraint, Parameter, SearchSpace
from tuner.searchers.transfer.sources import find_sources

SPACE = SearchSpace(
    [
        Parameter("x", tuple(2**i for i in range(8))),
        Parameter("y", tuple(2**i for i in range(8))),
        Parameter("stages", (1, 2, 3, 4)),
        Parameter("pad", (False, True)),
    ],
    [Constraint("fits", "x * y <= 4096")],
)


def seconds(config, best_x: int, best_y: int, seed: str) -> float:
    """A valley with a rough floor: no two configurations are quite alike."""
    distance = abs(math.log2(config["x"] / best_x)) + abs(math.log2(config["y"] / best_y))
    rough = random.Random(f"{seed}{sorted(config.items())}").random()
    return 1e-3 * 1.5**distance * (1 + 0.3 * abs(config["stages"] - 3)) * (1 + 0.1 * rough)


def outcome(config, best_x=16, best_y=32, seed="") -> Measurement:
    if config["x"] * config["y"] > 2048:
        return Measurement(Status.OVER_RESOURCES, Evidence.MEASURED, error="too many registers")
    return Measurement(Status.OK, Evidence.MEASURED, samples=(seconds(config, best_x, best_y, seed),))


def history(best_x: int, best_y: int, label: str, device=None, every=1) -> History:
    told = [Observation(c, outcome(c, best_x, best_y, label)) for i, c in enumerate(SPACE) if i % every == 0]
    return History(told, SPACE, device or {}, {}, label)


def sweep(name: str, histories, trials: int, seed: int = 0) -> list[float]:
    """Best fraction of the optimum after each trial."""
    optimum = min(outcome(c).time_s or math.inf for c in SPACE)
    searcher = registry.searcher(name)(Problem(SPACE, seed, trials, history=histories, device={"sms": 80.0}))
    best, fractions = math.inf, []
    while len(fractions) < trials:
        (config,) = searcher.ask(1)
        measurement = outcome(config)
        best = min(best, measurement.time_s or best)
        fractions.append(optimum / best)
        searcher.tell([Observation(config, measurement)])
    return fractions


def test_a_near_device_leads_at_once():
    fractions = sweep("transfer", [history(16, 32, "near")], 5)
    assert fractions[0] > 0.85 and fractions[4] > 0.9


def test_few_observations_of_another_shape_lead_too():
    fractions = sweep("transfer", [history(16, 64, "another shape", every=12)], 6)
    assert fractions[-1] > 0.7
    assert sum(sweep("random", [], 6, seed)[-1] for seed in range(10)) / 10 < fractions[-1]


def test_a_history_that_misleads_costs_little():
    # Its best is this device's worst corner.
    wrong = [history(1, 1, "wrong"), history(128, 1, "wrong too")]
    with_it = [sweep("transfer", wrong, 40, seed)[-1] for seed in range(3)]
    without = [sweep("surrogate", [], 40, seed)[-1] for seed in range(3)]
    assert sum(with_it) / 3 > sum(without) / 3 - 0.05


def test_the_more_similar_device_comes_first():
    far = history(1, 1, "far", {"sms": 20.0})
    near = history(16, 32, "near", {"sms": 82.0})
    sources, _ = find_sources(Problem(SPACE, device={"sms": 80.0}, history=[far, near]))
    assert [s.label for s in sources] == ["near", "far"]
    assert sources[0].similarity > 0.95 > 0.4 > sources[1].similarity
    assert sweep("transfer", [far, near], 1)[0] > 0.85


def test_another_vendor_counts_less_and_a_far_device_is_not_heard():
    own = {"sms": 80.0, "nvidia": 1.0}
    near = history(16, 32, "near", {"sms": 40.0, "nvidia": 1.0})
    same_size = history(1, 1, "same size", {"sms": 80.0, "nvidia": 0.0})
    other = history(1, 1, "other", {"sms": 20.0, "nvidia": 0.0})
    sources, refused = find_sources(Problem(SPACE, device=own, history=[other, same_size, near]))
    assert [s.label for s in sources] == ["near", "same size"]
    assert sources[1].similarity == pytest.approx(0.25)
    assert refused == ["other: near is far more similar"]
    # With nothing nearer it is heard.
    assert [s.label for s in find_sources(Problem(SPACE, device=own, history=[other]))[0]] == ["other"]


def test_without_a_usable_history_it_is_surrogate():
    other = History([], SearchSpace([Parameter("z", (1, 2))]), label="another kernel")
    searcher = registry.searcher("transfer")(Problem(SPACE, 1, 30, history=[other]))
    plain = registry.searcher("surrogate")(Problem(SPACE, 1, 30))
    assert "parameter z" in searcher.why and "surrogate" in searcher.why
    for _ in range(4):
        ours, theirs = searcher.ask(4), plain.ask(4)
        assert ours == theirs
        told = [Observation(c, outcome(c)) for c in ours]
        searcher.tell(told)
        plain.tell(told)


def test_failures_elsewhere_are_avoided_here():
    searcher = registry.searcher("transfer")(
        Problem(SPACE, 0, 30, history=[history(64, 64, "near the edge")])
    )
    led = searcher.ask(5)
    assert not any(c["x"] * c["y"] > 2048 for c in led)


@pytest.mark.parametrize("batches", [(1,) * 12, (4, 4, 4), (12,), (3,) * 7])
def test_with_a_history_it_resumes_and_repeats_itself(batches):
    histories = [history(16, 64, "a"), history(8, 32, "b", every=5)]

    def fresh():
        return registry.searcher("transfer")(Problem(SPACE, 5, 40, history=histories))

    first, told = fresh(), []
    for n in batches:
        got = first.ask(n)
        assert len({tuple(c.items()) for c in got}) == n
        first.tell(batch := [Observation(c, outcome(c)) for c in got])
        told += batch
    assert len({tuple(o.config.items()) for o in told}) == sum(batches)
    resumed = fresh()
    for observation in told:
        resumed.tell([observation])
    assert resumed.ask(3) == first.ask(3)


def test_exhausts_the_space_with_a_history():
    small = SearchSpace(
        [Parameter("x", (1, 2, 4)), Parameter("y", (1, 2, 4, 8)), Parameter("pad", (False, True))]
    )
    told = [
        Observation(c, Measurement(Status.OK, Evidence.MEASURED, samples=(1.0 + c["x"] * c["y"],)))
        for c in small
    ]
    searcher = registry.searcher("transfer")(Problem(small, budget=24, history=[History(told, small)]))
    seen = []
    while got := searcher.ask(5):
        seen += [tuple(c.values()) for c in got]
        searcher.tell([o for o in told if o.config in got])
    assert len(seen) == len(set(seen)) == 24


def test_a_space_too_large_to_list_is_led_by_its_history():
    large = SearchSpace([Parameter(n, tuple(2**i for i in range(10))) for n in "abcdefg"])

    def cost(config) -> Measurement:
        distance = sum(abs(math.log2(v) - 4) for v in config.values())
        return Measurement(Status.OK, Evidence.MEASURED, samples=(1.0 + distance,))

    rng = random.Random(0)
    told = [Observation(c, cost(c)) for c in (large.sample(rng) for _ in range(300))]
    searcher = registry.searcher("transfer")(Problem(large, budget=30, history=[History(told, large)]))
    best = math.inf
    for _ in range(20):
        (config,) = searcher.ask(1)
        best = min(best, cost(config).time_s)
        searcher.tell([Observation(config, cost(config))])
    assert best < min(o.value for o in told)
