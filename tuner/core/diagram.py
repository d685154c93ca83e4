"""The set of valid configurations as a layered decision diagram.

A multi-valued decision diagram (Srinivasan, Kam, Malik, Brayton: Algorithms for discrete function
manipulation, ICCAD 1990) has one layer a parameter; a state of a layer stands for all prefixes that
leave the same choices to the rest. What the rest can depend on are the values of the largest already
bound subexpressions of the constraints still open (`Expression.bound_parts`), so a product of nine
parameters costs as many states as it has distinct values, not 10^9. Counting paths from the end
(Knuth, TAOCP 4A, 7.1.4, algorithm C) gives the exact number of valid configurations, the i-th of
them, the rank of one, uniform samples, and the nearest one to an invalid proposal. The full product is
never listed. Layers are built with NumPy, a layer at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.core.columns import ValueColumn, column, evaluate, needs_wide
from tuner.core.expression import Expression

# Past this many (state, value) pairs in one layer the diagram is given up: under a second and 100 MB.
MAX_PAIRS = 2_000_000


class DiagramTooLarge(Exception):
    """The constraints tie too many parameters together; sample by rejection instead."""


@dataclass(frozen=True)
class _Layer:
    parameter: int  # index into the space's parameters
    successor: np.ndarray  # [states, values] -> state of the next layer, -1 invalid
    count: np.ndarray  # [states, values] -> valid completions, object or int64


def _order(domains: Sequence[Sequence[object]], names: Sequence[str], open_: list[Expression]) -> list[int]:
    """Parameters in an order that closes constraints early: greedy on the open constraints' names."""
    remaining = list(range(len(names)))
    order: list[int] = []
    bound: set[str] = set()
    while remaining:
        costs = {}
        for index in remaining:
            after = bound | {names[index]}
            touched = [e for e in open_ if e.names & after and not e.names <= after]
            missing = len({n for e in touched for n in e.names} - after)
            costs[index] = (missing, len(touched), index)
        # Free parameters first cost nothing; then those of a constraint already begun.
        begun = [i for i in remaining if any(names[i] in e.names and e.names & bound for e in open_)]
        best = min(begun or remaining, key=costs.__getitem__)
        order.append(best)
        bound.add(names[best])
        remaining.remove(best)
        open_ = [e for e in open_ if not e.names <= bound]
    return order


class Diagram:
    """Counts, ranks, samples and repairs over the valid configurations of finite parameters.

    A configuration here is a tuple of value *indices*, one a parameter, in the space's order.

    Args:
        names: parameter names.
        domains: the values of each parameter.
        constraints: expressions over the names only (constants folded in).

    Raises:
        DiagramTooLarge: a layer would exceed `MAX_PAIRS` pairs.
    """

    def __init__(
        self, names: Sequence[str], domains: Sequence[Sequence[object]], constraints: Sequence[Expression]
    ) -> None:
        self._names, self._domains = list(names), [list(d) for d in domains]
        order = _order(self._domains, self._names, list(constraints))
        place = {self._names[index]: i for i, index in enumerate(order)}
        named = dict(zip(self._names, self._domains, strict=True))
        floats = frozenset(n for n, domain in named.items() if any(isinstance(v, float) for v in domain))
        pending = [e.reordered(place, floats) for e in constraints]
        self._wide = any(needs_wide(e, named) for e in pending)
        self._layers = self._count(self._forward(order, pending), order)
        first = self._layers[0].count if self._layers else np.ones((1, 1), dtype=object)
        self.size = int(first[0].sum())

    def _forward(self, order: list[int], pending: list[Expression]) -> list[np.ndarray]:
        successors: list[np.ndarray] = []
        bound: set[str] = set()
        # Columns of the present layer: subexpression text -> its value in every state.
        columns: dict[str, ValueColumn] = {}
        states = 1
        for index in order:
            name = self._names[index]
            values = column(self._domains[index], self._wide)
            width = len(self._domains[index])
            pairs = states * width
            if pairs > MAX_PAIRS:
                raise DiagramTooLarge(f"{pairs} pairs at parameter {name}")
            known = {text: part.repeat(width) for text, part in columns.items()}
            known[name] = ValueColumn(np.tile(values.values, states))
            bound.add(name)
            frozen = frozenset(bound)
            valid = np.ones(pairs, dtype=bool)
            for expression in pending:
                if expression.names <= frozen:
                    valid &= evaluate(expression, known, self._wide).holds(pairs)
            pending = [e for e in pending if not e.names <= frozen]
            parts = {part.text: part for e in pending for part in e.bound_parts(frozen)}
            kept = np.flatnonzero(valid)
            columns = {
                text: evaluate(part, known, self._wide).take(kept, pairs) for text, part in parts.items()
            }
            successor = np.full(pairs, -1, dtype=np.int64)
            successor[kept], representative = _group(list(columns.values()), len(kept))
            states = len(representative)
            columns = {text: part.take(representative, len(kept)) for text, part in columns.items()}
            successors.append(successor.reshape(-1, width))
            if states == 0:
                break
        return successors

    def _count(self, successors: list[np.ndarray], order: list[int]) -> list[_Layer]:
        if len(successors) < len(order):  # nothing is valid
            return [_Layer(order[0], successors[0], np.zeros(successors[0].shape, dtype=object))]
        total = 1
        for domain in self._domains:
            total *= len(domain)
        dtype = np.int64 if total < 2**62 else object
        below = np.ones(int(successors[-1].max(initial=-1)) + 1, dtype=dtype) if successors else None
        layers: list[_Layer] = []
        for index, successor in zip(reversed(order), reversed(successors), strict=True):
            assert below is not None
            count = np.where(successor >= 0, below[successor], 0) if len(below) else successor * 0
            layers.append(_Layer(index, successor, count))
            below = count.sum(axis=1)
        return layers[::-1]

    def at(self, rank: int) -> tuple[int, ...]:
        """The `rank`-th valid configuration, 0 <= rank < size."""
        if not 0 <= rank < self.size:
            raise IndexError(rank)
        chosen = [0] * len(self._names)
        state = 0
        for layer in self._layers:
            cumulative = np.cumsum(layer.count[state])
            value = int(np.searchsorted(cumulative, rank, side="right"))
            rank -= int(cumulative[value - 1]) if value else 0
            chosen[layer.parameter] = value
            state = int(layer.successor[state, value])
        return tuple(chosen)

    def rank(self, chosen: Sequence[int]) -> int | None:
        """The inverse of `at`; `None` where the configuration is not valid."""
        state, rank = 0, 0
        for layer in self._layers:
            value = chosen[layer.parameter]
            if layer.count[state, value] == 0:
                return None
            rank += int(layer.count[state, :value].sum())
            state = int(layer.successor[state, value])
        return rank

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return self._walk(0, 0, [0] * len(self._names))

    def _walk(self, depth: int, state: int, chosen: list[int]) -> Iterator[tuple[int, ...]]:
        if depth == len(self._layers):
            yield tuple(chosen)
            return
        layer = self._layers[depth]
        for value in np.flatnonzero(layer.count[state] != 0):
            chosen[layer.parameter] = int(value)
            yield from self._walk(depth + 1, int(layer.successor[state, value]), chosen)

    def nearest(self, distances: Sequence[np.ndarray]) -> tuple[int, ...]:
        """The valid configuration of least total distance: a shortest path through the layers.

        Args:
            distances: for each parameter (space order) the cost of each of its values.
        """
        # One more pass from the end: best[s] is the least cost from state s on.
        best: np.ndarray | None = None
        choices: list[np.ndarray] = []
        for layer in reversed(self._layers):
            cost = np.broadcast_to(distances[layer.parameter], layer.successor.shape).astype(float)
            if best is not None:
                cost = cost + best[layer.successor]
            cost = np.where(layer.count != 0, cost, np.inf)
            choices.append(cost.argmin(axis=1))
            best = cost.min(axis=1)
        chosen = [0] * len(self._names)
        state = 0
        for layer, choice in zip(self._layers, reversed(choices), strict=True):
            value = int(choice[state])
            chosen[layer.parameter] = value
            state = int(layer.successor[state, value])
        return tuple(chosen)


def _group(columns: Sequence[ValueColumn], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers rows with equal columns alike: (group of each row, first row of each group)."""
    key = np.zeros(rows, dtype=np.int64)
    for part in columns:
        inverse = _numbered(part.values)
        if part.undefined is not None:  # rows without a value are alike, whatever stands in them
            inverse = np.where(part.undefined, inverse.max(initial=0) + 1, inverse)
        # Renumbering after every column keeps the key small: no overflow however many columns.
        _, key = np.unique(key * (int(inverse.max(initial=0)) + 1) + inverse, return_inverse=True)
    _, representative, group = np.unique(key, return_index=True, return_inverse=True)
    return group, representative


def _numbered(values: np.ndarray) -> np.ndarray:
    """Equal values get equal numbers, from 0 up."""
    if values.dtype == object:  # numbers and texts side by side cannot be sorted
        numbers: dict[object, int] = {}
        return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
    return np.asarray(np.unique(values, return_inverse=True)[1])
