"""A tree that says what a model of all shapes and configurations says, between the tuned shapes too.

Thirty shapes are few to grow a tree on: where a question should stand between two of them they do not tell.
The model does (Craven and Shavlik, Extracting tree-structured representations of trained networks, 1996): it
is asked at shapes drawn between the tuned ones, and the tree is grown on its answers and on what was
measured.
"""

import math
import random
from collections.abc import Sequence

import numpy as np

from tuner.core.workload import Workload
from tuner.export.pooled import PooledModel
from tuner.export.tree import Node, grow

_DRAWN = 800
_MEASURED = 0.5
"""What all tuned shapes count beside all drawn ones."""
_LEAST, _DEPTH = 12, 7


def between(shapes: Sequence[Workload], count: int, seed: int = 0) -> list[Workload]:
    """Shapes between two of these, each dimension for itself: geometrically, so by factors. Each has the
    options of one of the two."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        one, other = rng.choice(shapes), dict(rng.choice(shapes).dims)
        dims = []
        for name, size in one.dims:
            share = rng.random()
            dims.append((name, max(1, round(math.exp(share * _log(size) + (1 - share) * _log(other[name]))))))
        found.append(Workload(one.operator, one.dtype, tuple(dims), one.options))
    return found


def _log(size: int) -> float:
    return math.log(max(size, 1))


def distilled(
    model: PooledModel, rows: Sequence[int], shapes: Sequence[Workload], costs: np.ndarray, good: np.ndarray,
    weights: Sequence[float], within: float,
) -> Node:  # fmt: skip
    """The tree.

    Args:
        model: of the table.
        rows: of the table that the leaves choose from.
        shapes: that were measured.
        costs: what each row costs at each of them, log2 `[rows, shapes]`.
        good: whether that is within what was asked `[rows, shapes]`.
        weights: of the measured shapes.
        within: what was asked: a drawn shape's choice is to be within this share of the best of `rows`.
    """
    drawn = between(shapes, _DRAWN)
    expected = model.costs(rows, drawn)
    share = _MEASURED * len(drawn) / float(np.sum(weights))
    # A measured shape that none of the rows serves well is not to be charged more for it.
    measured = costs - costs.min(axis=0)
    return grow(
        [*drawn, *shapes], np.hstack([expected, measured]),
        np.hstack([expected <= math.log2(1 + within), good]),
        [*[1.0] * len(drawn), *(share * weight for weight in weights)],
        least=_LEAST, depth=_DEPTH, counted=len(drawn),
    )  # fmt: skip
