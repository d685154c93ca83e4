"""Where a sweep begins whose store has many other shapes: at what a model of them says of this very shape.

The model sees pairs of a shape and a configuration, as the one that makes rules for all shapes
(`export/pooled.py`), of the history that the searcher was given: nothing is read for it, and it learns in a
fraction of a second. Asked are the best configurations of the most similar shapes, each moved to this one.
Predictions, and no more: each is measured like any other.
"""

import math
import random
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from tuner.core.default_config import default_config
from tuner.core.kernel import Kernel
from tuner.core.searcher import History, Problem, similarity
from tuner.core.space import Config
from tuner.engine.tuning.known_starts import fitted
from tuner.engine.tuning.pairs import SETTINGS, TREES, PairFeatures, Sized, capped, weights
from tuner.engine.tuning.starting import Starts, most_starts

FEWEST = 12
"""Of fewer shapes nothing is predicted: they have too little to teach."""
MOST = 6
"""Predicted configurations that are measured first."""
_TIMES = 10
"""A shape with fewer times was not searched."""
_NEAR, _EACH = 20, 2
"""From so many of the most similar shapes so many of the best are asked of: to move one takes 10 ms."""
_LEARNT = 1_500
"""Trials, drawn from all: of twice as many the predictions are no better, and take twice as long."""


def pooled_starts(kernel: Kernel, dtype: str, problem: Problem, threads: int) -> Starts:
    """The configurations that the model finds fastest; none of a history of few shapes, or without XGBoost.

    Equal histories give equal starts.

    Args:
        kernel, dtype: of the sweep.
        problem: its space, its budget, and what the store knows of the kernel elsewhere.
        threads: what work is shared among.
    """
    known = [h for h in problem.history if (h.dtype, h.device) == (dtype, problem.device) and _times(h)]
    if len({tuple(sorted(h.workload.items())) for h in known}) < FEWEST or find_spec("xgboost") is None:
        return Starts()
    candidates = _candidates(known, problem)
    if not candidates:
        return Starts()
    asked = [(kernel.name, config, problem.workload) for config in candidates]
    predicted = _predicted(kernel.name, known, asked, threads)
    count = min(MOST, most_starts(problem.budget))
    configs = tuple(candidates[place] for place in np.argsort(predicted, kind="stable")[:count])
    why = f"starts from {len(configs)} configurations predicted from {len(known)} other shapes of the store"
    return Starts(configs, why=why)


def _times(history: History) -> list[float]:
    """The times of a shape that was searched; nothing of one that was only tried."""
    times = [o.value for o in history.observations if o.value is not None and not o.disturbed]
    return times if len(times) >= _TIMES else []


def _candidates(known: Sequence[History], problem: Problem) -> list[Config]:
    """Distinct configurations that are valid here, of the most similar shape first."""
    space, default = problem.space, default_config(problem.space)
    near = sorted(known, key=lambda h: -similarity({}, {}, problem.workload, h.workload))[:_NEAR]
    found: dict[tuple[int, ...], Config] = {}
    for history in near:
        right = [o for o in history.observations if o.value is not None]
        for observation in sorted(right, key=lambda o: o.value or 0.0)[:_EACH]:
            if (moved := fitted(space, observation.config, default)) is not None:
                found.setdefault(space.indices(moved), moved)
    return list(found.values())


def _predicted(kernel: str, known: Sequence[History], asked: Sequence[Sized], threads: int) -> np.ndarray:
    """float64[len(asked)]: log2 of the time over the best of the shape."""
    import xgboost

    learnt: list[tuple[Sized, float]] = []
    for history in known:
        best = min(_times(history))
        learnt += [
            ((kernel, o.config, history.workload), math.inf if o.value is None else math.log2(o.value / best))
            for o in history.observations
            if not o.disturbed
        ]
    if len(learnt) > _LEARNT:
        learnt = random.Random(0).sample(learnt, _LEARNT)
    pairs = [pair for pair, _ in learnt]
    targets = capped(np.array([cost for _, cost in learnt]))
    features = PairFeatures(pairs, threads)
    data = xgboost.DMatrix(features.table(pairs), label=targets, weight=weights(targets))
    booster = xgboost.train(dict(SETTINGS), data, TREES)
    return np.asarray(booster.inplace_predict(features.table(asked)), float)
