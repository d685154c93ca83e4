"""A shape and a configuration as numbers that mean alike for every kernel, for models of what a pair costs.

How much a size is rounded up to whole multiples of a parameter, how many of these there are, and how evenly
they fall to the threads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tuner.core.space import Config

TREES, _DEPTH = 120, 4
_FAR = 0.6
"""log2: what is half as slow again may as well be three times as slow. Failures count as this too."""
SETTINGS: Mapping[str, Any] = {
    "max_depth": _DEPTH, "eta": 0.1, "subsample": 0.7, "colsample_bytree": 0.4, "min_child_weight": 2,
    "nthread": 1, "tree_method": "exact", "verbosity": 0,
}  # fmt: skip
"""Of boosted trees that learn from such pairs."""

Sized = tuple[str, Config, Mapping[str, float]]
"""Kernel, configuration, sizes of the shape by their names."""


def capped(targets: np.ndarray) -> np.ndarray:
    """What trees learn: log2 of a time over the best of its shape, no more than is still told apart."""
    return np.asarray(np.minimum(targets, _FAR))


def weights(targets: np.ndarray) -> np.ndarray:
    """Whether it is 3% or 8% behind matters more than whether 30% or 40%."""
    return np.asarray(np.exp(-2 * targets) + 0.1)


class PairFeatures:
    """Numbers of pairs; which there are is settled by those it is made of.

    Args:
        pairs: of all kernels, parameters and values that are to be told apart.
        threads: what work is shared among.
    """

    def __init__(self, pairs: Sequence[Sized], threads: int) -> None:
        self._threads = threads
        self._kernels = {name: float(i) for i, name in enumerate(sorted({kernel for kernel, _, _ in pairs}))}
        self._dims = list(dict.fromkeys(name for _, _, shape in pairs for name in shape))
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

    def table(self, pairs: Sequence[Sized]) -> np.ndarray:
        """float32[len(pairs), columns]."""
        kernels = np.array([self._kernels.get(kernel, -1.0) for kernel, _, _ in pairs])
        settings = {n: np.array([self._number(n, config) for _, config, _ in pairs]) for n in self._names}
        sizes = [np.array([float(shape.get(dim, 1)) for _, _, shape in pairs]) for dim in self._dims]
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
