"""Where a sweep begins whose store has many other shapes: at what a model of them says of this one."""

import random
from collections.abc import Sequence

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import History, Observation, Problem
from tuner.core.space import Config, Parameter, SearchSpace
from tuner.engine.tuning.pooled_starts import FEWEST, MOST, pooled_starts
from tuner.engine.tuning.starting import Starts, both

pytest.importorskip("xgboost")

KERNEL = registry.kernel("cpp_register")
SPACE = SearchSpace(
    [
        Parameter("TILE", (4, 5, 6, 7, 8, 9, 10, 11, 12)),
        Parameter("UNROLL", (1, 2, 4)),
        Parameter("threads", (1, 2)),
    ]
)
HERE = {"cores": 2.0}


def seconds(config: Config, m: int) -> float:
    """Of whole tiles: best is one that divides the rows, the larger of two such."""
    tile = int(config["TILE"])
    return -(-m // tile) * tile / m * (1 + 0.4 / tile) * (1 + 0.05 * (config["UNROLL"] != 2))


def history(m: int, seed: int, trials: int = 40, dtype: str = "f32") -> History:
    rng, told = random.Random(seed), []
    for _ in range(trials):
        config = SPACE.sample(rng)
        told.append(
            Observation(config, Measurement(Status.OK, Evidence.MEASURED, samples=(seconds(config, m),)))
        )
    told.append(Observation(SPACE.sample(rng), Measurement(Status.CRASH, Evidence.MEASURED, error="it died")))
    return History(told, SPACE, HERE, {"m": float(m)}, f"m{m}", dtype)


def found(histories: Sequence[History], m: int = 33, budget: int = 40) -> Starts:
    problem = Problem(SPACE, 0, budget, None, histories, HERE, {"m": float(m)})
    return pooled_starts(KERNEL, "f32", problem, 2)


SHAPES = (16, 18, 20, 21, 22, 24, 25, 27, 28, 30, 35, 36, 40, 42, 44, 45, 48, 54, 55, 60)


def test_what_fits_this_shape_is_tried_first_though_the_nearest_shapes_need_something_else() -> None:
    starts = found([history(m, m) for m in SHAPES])
    assert 1 <= len(starts.configs) <= MOST and "20 other shapes" in starts.why
    # 33 rows are three tiles of 11, or, by far, of nothing else.
    assert starts.configs[0]["TILE"] == 11
    assert found([history(m, m) for m in SHAPES]) == starts
    assert len(found([history(m, m) for m in SHAPES], budget=6).configs) == 2


@pytest.mark.parametrize(
    "histories",
    [
        [],
        [history(m, m) for m in SHAPES[: FEWEST - 1]],
        [history(m, m, trials=6) for m in SHAPES],
        [history(m, m, dtype="f16") for m in SHAPES],
        [history(16, seed) for seed in range(20)],
    ],
    ids=["nothing", "few shapes", "tried, not searched", "another type", "one shape often"],
)
def test_of_too_little_nothing_is_predicted(histories: list[History]) -> None:
    assert not found(histories).configs


def test_what_another_machine_measured_teaches_nothing_of_this_one() -> None:
    problem = Problem(SPACE, 0, 40, None, [history(m, m) for m in SHAPES], {"cores": 8.0}, {"m": 33.0})
    assert not pooled_starts(KERNEL, "f32", problem, 8).configs


def test_starts_of_two_kinds_have_no_configuration_twice() -> None:
    one, two, three = ({"x": i} for i in range(3))
    merged = both(Starts((one, two), why="a"), Starts((two, three), why="b"), 12)
    assert merged.configs == (one, two, three) and merged.why == "a; b"
    assert both(Starts((one, two), why="a"), Starts((three,), why="b"), 2).configs == (one, two)
    assert both(Starts(), Starts((one,), why="b"), 2).why == "b"
    assert both(Starts((one,), why="a"), Starts((one,), why="b"), 2).why == "a"
