"""A decision tree over a shape's dimensions whose leaves name a configuration.

A tree of the CART kind (Breiman et al., Classification and regression trees, 1984), except that a leaf is
charged for what its configuration costs each shape in it, and not for each shape that would rather have
another: two configurations within a percent of each other are not worth a question.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.workload import Workload

SIZE = "size"
"""The product of all dimensions: a feature beside them."""

_DEPTH = 5
_PARTS = 10
_FEWEST = 4
_LEAST_GAIN = 0.005
"""log2: a question that makes the average call 0.35% faster or less is not asked."""


def features(workload: Workload) -> dict[str, float]:
    """The numbers a tree may ask for: dimensions, their product, options that are numbers or yes and no."""
    found = {name: float(size) for name, size in workload.dims}
    product = 1.0
    for size in found.values():
        product *= max(size, 1.0)
    found[SIZE] = product
    found.update((n, float(v)) for n, v in workload.options if isinstance(v, int | float) and n not in found)
    return found


@dataclass(frozen=True)
class Leaf:
    """The end of a tree.

    Attributes:
        choice: which configuration, by its place in the rule's list.
        shapes: how many tuned shapes lie in it.
        good: share of their weight for which the choice is within what was asked; with fewer than two of
            them that of the drawn shapes in it.
    """

    choice: int
    shapes: int
    good: float


@dataclass(frozen=True)
class Question:
    """`feature <= at`: on to `low`, else to `high`; `leaf` is what stands here where the tree is cut."""

    feature: str
    at: float
    low: "Leaf | Question"
    high: "Leaf | Question"
    leaf: Leaf


Node = Leaf | Question


def grow(
    shapes: Sequence[Workload], costs: np.ndarray, good: np.ndarray, weights: Sequence[float],
    least: int = 2, depth: int = _DEPTH, counted: int = 0,
) -> Node:  # fmt: skip
    """Grows a tree.

    Args:
        shapes: what it is grown on.
        costs: what a choice costs at a shape `[choices, shapes]`: log2 of its time over the best.
        good: whether that is within what was asked `[choices, shapes]`.
        weights: of the shapes.
        least: shapes in a leaf, at least.
        depth: questions in a row, at most.
        counted: where the tuned shapes begin; those before were drawn.
    """
    rows = [features(shape) for shape in shapes]
    names = list(dict.fromkeys(n for row in rows for n in row))
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    return _Grower(names, table, costs, good, np.asarray(weights, float), least, counted).node(
        np.arange(len(rows)), depth
    )


class _Grower:
    def __init__(
        self, names: Sequence[str], table: np.ndarray, costs: np.ndarray, good: np.ndarray,
        weights: np.ndarray, least: int, counted: int,
    ) -> None:  # fmt: skip
        self.names, self.table, self.costs, self.good = names, table, costs, good
        self.weights, self.least, self.counted = weights, least, counted

    def node(self, members: np.ndarray, depth: int) -> Node:
        weighted = self.costs * self.weights
        whole = weighted[:, members].sum(axis=1)
        choice = int(np.argmin(whole))
        weight = self.weights[members]
        tuned = members[members >= self.counted]
        told = tuned if len(tuned) > 1 else members
        good = self.good[choice, told] @ self.weights[told] / self.weights[told].sum()
        leaf = Leaf(choice, len(tuned), float(good))
        found = self._split(members, weighted) if depth else None
        if found is None or whole[choice] - found[0] <= _LEAST_GAIN * weight.sum():
            return leaf
        _, name, at = found
        column = self.table[members, self.names.index(name)]
        low, high = self.node(members[column <= at], depth - 1), self.node(members[column > at], depth - 1)
        if isinstance(low, Leaf) and isinstance(high, Leaf) and low.choice == high.choice:
            return leaf
        return Question(name, at, low, high, leaf)

    def _split(self, members: np.ndarray, weighted: np.ndarray) -> tuple[float, str, float] | None:
        """(cost, feature, threshold) of the best question; thresholds are middles between shapes."""
        best = None
        for place, name in enumerate(self.names):
            column = self.table[members, place]
            order = np.argsort(column, kind="stable")
            ordered = column[order]
            below = np.cumsum(weighted[:, members[order]], axis=1)
            total = below[:, -1:]
            cost = below.min(axis=0) + (total - below).min(axis=0)
            for i in range(self.least - 1, len(members) - self.least):
                if ordered[i] < ordered[i + 1] and (best is None or cost[i] < best[0] - 1e-12):
                    # The geometric middle: sizes are apart by factors.
                    middle = (max(ordered[i], 0.5) * max(ordered[i + 1], 0.5)) ** 0.5
                    at = float(np.floor(middle)) if ordered[i + 1] - ordered[i] >= 1 else float(middle)
                    best = float(cost[i]), name, max(at, float(ordered[i]))
        return best


def leaf_of(node: Node, workload: Workload, depth: int | None = None) -> Leaf:
    """Where a shape ends up, after `depth` questions at most."""
    row = features(workload)
    asked = 0
    while isinstance(node, Question):
        if asked == depth:
            return node.leaf
        node, asked = (node.low if row.get(node.feature, 0.0) <= node.at else node.high), asked + 1
    return node


def cut(node: Node, depth: int) -> Node:
    """The tree with `depth` questions in a row at most."""
    if isinstance(node, Leaf):
        return node
    if not depth:
        return node.leaf
    low, high = cut(node.low, depth - 1), cut(node.high, depth - 1)
    if isinstance(low, Leaf) and isinstance(high, Leaf) and low.choice == high.choice:
        return node.leaf
    return Question(node.feature, node.at, low, high, node.leaf)


def grow_no_deeper_than_helps(
    shapes: Sequence[Workload], costs: np.ndarray, good: np.ndarray, weights: Sequence[float]
) -> Node:
    """`grow`, cut to the depth that costs least on shapes kept out: of ten parts each in turn.

    A tree that is only as good on new shapes as one with fewer questions is cut to the latter; of fewer than
    four shapes there is no question.
    """
    weight = np.asarray(weights, float)
    parts = min(_PARTS, len(shapes))
    if len(shapes) < _FEWEST:
        return cut(grow(shapes, costs, good, weights), 0)
    spent = np.zeros(_DEPTH + 1)
    for part in range(parts):
        out = [i for i in range(len(shapes)) if i % parts == part]
        inside = [i for i in range(len(shapes)) if i % parts != part]
        tree = grow([shapes[i] for i in inside], costs[:, inside], good[:, inside], weight[inside].tolist())
        for i in out:
            for depth in range(_DEPTH + 1):
                spent[depth] += weight[i] * costs[leaf_of(tree, shapes[i], depth).choice, i]
    least = float(spent.min()) + _LEAST_GAIN * weight.sum()
    depth = next(d for d in range(_DEPTH + 1) if spent[d] <= least)
    return cut(grow(shapes, costs, good, weights), depth)


def tree_lines(node: Node, names: Sequence[str], indent: str = "") -> Iterator[str]:
    """The tree as text, a line a question or leaf; `names` of the choices."""
    if isinstance(node, Leaf):
        yield f"{indent}{names[node.choice]}  ({node.shapes} shapes, {node.good:.0%} within)"
        return
    yield f"{indent}if {node.feature} <= {node.at:g}:"
    yield from tree_lines(node.low, names, indent + "  ")
    yield f"{indent}else:"
    yield from tree_lines(node.high, names, indent + "  ")


def to_plain(node: Node) -> dict[str, Any]:
    """Plain values, for JSON."""
    if isinstance(node, Leaf):
        return {"choice": node.choice, "shapes": node.shapes, "good": node.good}
    return {"feature": node.feature, "at": node.at, "low": to_plain(node.low), "high": to_plain(node.high)}
