"""What a configuration costs at a shape where it was not timed, learned from all pairs that were.

A shape alone tells a tree little: whether 14 rows of a tile fit 17 rows of a matrix is a matter of both.
Boosted trees (Friedman, Greedy function approximation, 2001; XGBoost) see pairs of a shape and a
configuration through numbers that mean alike for every kernel (`engine/tuning/pairs.py`).
"""

from collections.abc import Sequence

import numpy as np

from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.engine.tuning.pairs import SETTINGS, TREES, PairFeatures, Sized, capped, weights
from tuner.export.cover import regrets
from tuner.export.matrix import Matrix

FEWEST = 12
"""Of fewer searched shapes no model is made: they have too little to teach."""

_MOST_CELLS = 20_000
_MODELS = 6

Pair = tuple[str, Config, Workload]
"""Kernel, configuration, shape."""


class PooledModel:
    """Predicts log2 of a configuration's time over the best of its shape.

    Args:
        matrix: what is known; cells without a time teach nothing, failures count as slow.
        seed: of the parts of the table that each tree sees.
    """

    def __init__(self, matrix: Matrix, seed: int = 0) -> None:
        import xgboost

        self._matrix = matrix
        known = np.argwhere(~np.isnan(matrix.times))
        if len(known) > _MOST_CELLS:
            known = np.random.default_rng(0).permutation(known)[:_MOST_CELLS]
        pairs = [(matrix.choices[r].kernel, matrix.config_at(r, c), matrix.shapes[c]) for r, c in known]
        self._pairs = PairFeatures(_sized(pairs), matrix.group.threads)
        targets = capped(regrets(matrix.ratios())[known[:, 0], known[:, 1]])
        data = xgboost.DMatrix(self._pairs.table(_sized(pairs)), label=targets, weight=weights(targets))
        self._booster = xgboost.train({**SETTINGS, "seed": seed}, data, TREES)

    def predict(self, pairs: Sequence[Pair]) -> np.ndarray:
        """float64[len(pairs)]: 0 is as fast as any, 1 takes twice as long."""
        return np.asarray(self._booster.inplace_predict(self._pairs.table(_sized(pairs))), float)

    def costs(self, rows: Sequence[int], shapes: Sequence[Workload]) -> np.ndarray:
        """Rows of the table at shapes that need not be in it: float64[rows, shapes], 0 for the best row."""
        choices = [self._matrix.choices[row] for row in rows]
        pairs = [(choice.kernel, choice.config, shape) for choice in choices for shape in shapes]
        found = self.predict(pairs).reshape(len(rows), len(shapes))
        return np.asarray(found - found.min(axis=0))


class Panel:
    """Several models that see other parts of the table: they disagree where it says little.

    Args:
        matrix: what is known of other shapes.
    """

    def __init__(self, matrix: Matrix) -> None:
        self._models = [PooledModel(matrix, seed) for seed in range(_MODELS)]

    def promising(self, pairs: Sequence[Pair], count: int) -> list[Pair]:
        """The pairs to time at a shape that nobody tuned, the most promising first.

        Chosen is, one after the other, what brings the least time expected of the fastest one chosen down the
        most, on average over the models: of two that are fast for the same reason the second tells little.

        Args:
            pairs: to choose from, of one shape.
            count: how many, at most.
        """
        expected = np.array([model.predict(pairs) for model in self._models])
        expected -= expected.min(axis=1, keepdims=True)
        mean = expected.mean(axis=0)
        chosen: list[int] = []
        least = np.full(len(self._models), np.inf)
        for _ in range(min(count, len(pairs))):
            # Where nothing brings it down any more, those that are fast on average.
            gains = np.minimum(least[:, None], expected).mean(axis=0) + 1e-3 * mean
            gains[chosen] = np.inf
            chosen.append(int(np.argmin(gains)))
            least = np.minimum(least, expected[:, chosen[-1]])
        return [pairs[place] for place in chosen]


def _sized(pairs: Sequence[Pair]) -> list[Sized]:
    return [(kernel, config, dict(shape.dims)) for kernel, config, shape in pairs]
