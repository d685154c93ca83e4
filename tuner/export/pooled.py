"""What a configuration costs at a shape where it was not timed, learned from all pairs that were.

A shape alone tells a tree little: whether 14 rows of a tile fit 17 rows of a matrix is a matter of both.
Boosted trees (Friedman, Greedy function approximation, 2001; XGBoost) see pairs of a shape and a
configuration through numbers that mean alike for every kernel: how much a size is rounded up to whole
multiples of a parameter, how many of these there are, and how evenly they fall to the threads.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.export.cover import regrets
from tuner.export.matrix import Matrix

FEWEST = 12
"""Of fewer searched shapes no model is made: they have too little to teach."""

_MOST_CELLS = 20_000
_TREES, _DEPTH = 120, 4
_FAR = 0.6
"""log2: what is half as slow again may as well be three times as slow. Failures count as this too."""
_MODELS = 6
_SETTINGS = {
    "max_depth": _DEPTH, "eta": 0.1, "subsample": 0.7, "colsample_bytree": 0.4, "min_child_weight": 2,
    "nthread": 1, "tree_method": "exact", "verbosity": 0,
}  # fmt: skip

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
        self._pairs = _Pairs(pairs, matrix.group.threads)
        targets = np.minimum(regrets(matrix.ratios())[known[:, 0], known[:, 1]], _FAR)
        # Whether it is 3% or 8% behind matters more than whether 30% or 40%.
        data = xgboost.DMatrix(self._pairs.table(pairs), label=targets, weight=np.exp(-2 * targets) + 0.1)
        self._booster = xgboost.train({**_SETTINGS, "seed": seed}, data, _TREES)

    def predict(self, pairs: Sequence[Pair]) -> np.ndarray:
        """float64[len(pairs)]: 0 is as fast as any, 1 takes twice as long."""
        return np.asarray(self._booster.inplace_predict(self._pairs.table(pairs)), float)

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


class _Pairs:
    """Numbers of pairs; which there are is settled by those it is made of.

    Args:
        pairs: of all kernels, parameters and values that are to be told apart.
        threads: what work is shared among.
    """

    def __init__(self, pairs: Sequence[Pair], threads: int) -> None:
        self._threads = threads
        self._kernels = {name: float(i) for i, name in enumerate(sorted({kernel for kernel, _, _ in pairs}))}
        self._dims = list(dict.fromkeys(name for _, _, shape in pairs for name, _ in shape.dims))
        values: dict[str, set[object]] = {}
        for _, config, _ in pairs:
            for name, value in config.items():
                values.setdefault(name, set()).add(value)
        # A parameter with one value tells nothing.
        self._names = sorted(name for name, found in values.items() if len(found) > 1)
        self._words: dict[str, Mapping[object, float]] = {
            name: {
                word: float(i) for i, word in enumerate(sorted(v for v in values[name] if isinstance(v, str)))
            }
            for name in self._names
        }
        self._whole = [
            name for name in self._names
            if all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values[name])
        ]  # fmt: skip

    def table(self, pairs: Sequence[Pair]) -> np.ndarray:
        """float32[len(pairs), columns]."""
        kernels = np.array([self._kernels.get(kernel, -1.0) for kernel, _, _ in pairs])
        settings = {n: np.array([self._number(n, config) for _, config, _ in pairs]) for n in self._names}
        sizes = [
            np.array([float(dict(shape.dims).get(dim, 1)) for _, _, shape in pairs]) for dim in self._dims
        ]
        sizes = [np.maximum(size, 1.0) for size in sizes]
        logs = [np.log2(size) for size in sizes]
        columns = [kernels, *settings.values(), *logs, np.sum(logs, axis=0)]
        columns += [a - b for i, a in enumerate(logs) for b in logs[i + 1 :]]
        for name in self._whole:
            part = np.maximum(settings[name], 1.0)
            for size, log in zip(sizes, logs, strict=True):
                count = np.ceil(size / part)
                rounds = np.ceil(count / self._threads)
                columns += [count * part / size, log - np.log2(part), rounds * self._threads / count,
                            np.minimum(size, part)]  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float32)

    def _number(self, name: str, config: Config) -> float:
        value = config.get(name, -1)
        return self._words[name].get(value, -1.0) if isinstance(value, str) else float(value)
