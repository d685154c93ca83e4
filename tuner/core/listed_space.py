"""A search space whose valid configurations are a list: what others measured, with no constraints known."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tuner.core.errors import InvalidSpace
from tuner.core.space import Config, Parameter, SearchSpace


class Listing:
    """The interface of `tuner.core.diagram.Diagram` over rows of value indices.

    Args:
        rows: int[configurations, parameters], indices into the parameters' value lists, all distinct.

    Raises:
        InvalidSpace: a row is listed twice.
    """

    def __init__(self, rows: np.ndarray) -> None:
        order = np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
        self.rows = np.ascontiguousarray(rows[order])
        self.size = len(rows)
        self._rank = {row: i for i, row in enumerate(map(tuple, self.rows.tolist()))}
        if len(self._rank) != self.size:
            raise InvalidSpace("a configuration is listed twice")

    def at(self, rank: int) -> tuple[int, ...]:
        """The `rank`-th row in lexicographic order."""
        if not 0 <= rank < self.size:
            raise IndexError(rank)
        return tuple(self.rows[rank].tolist())

    def rank(self, chosen: Sequence[int]) -> int | None:
        """The inverse of `at`; `None` where the row is not listed."""
        return self._rank.get(tuple(chosen))

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return iter(self._rank)

    def nearest(self, distances: Sequence[np.ndarray]) -> tuple[int, ...]:
        """The row of least total distance, `distances[p][i]` being the cost of value i of parameter p."""
        total = np.zeros(self.size)
        for column, costs in zip(self.rows.T, distances, strict=True):
            total += costs[column]
        return self.at(int(total.argmin()))


class ListedSpace(SearchSpace):
    """The configurations of a list, with all that a `SearchSpace` offers.

    Args:
        parameters: in the order shown to people.
        configs: the valid configurations, all distinct.

    Raises:
        InvalidSpace: a configuration is listed twice.
        InvalidConfig: one has a parameter missing, unknown, or with a value outside its list.
    """

    def __init__(self, parameters: Sequence[Parameter], configs: Sequence[Config]) -> None:
        super().__init__(parameters)
        places = [{(isinstance(v, bool), v): i for i, v in enumerate(p.values)} for p in self.parameters]
        rows = np.zeros((len(configs), len(self.parameters)), dtype=np.int32)
        names = self.names
        for row, config in zip(rows, configs, strict=True):
            try:
                values = [config[name] for name in names]
                row[:] = [place[isinstance(v, bool), v] for place, v in zip(places, values, strict=True)]
                known = len(config) == len(names)
            except (KeyError, TypeError):
                known = False
            if not known:
                self.indices(config)  # raises, naming the parameter
        self._listing = Listing(rows)

    @property
    def _diagram(self) -> Any:
        return self._listing

    @property
    def size(self) -> int | None:
        """How many configurations are listed."""
        return self._listing.size

    def why_invalid(self, config: Config) -> str | None:
        """Also tells of a configuration that is not in the list."""
        reason = super().why_invalid(config)
        if reason is None and self.parameters and self._diagram.rank(self.indices(config)) is None:
            reason = f"it is not among the {self._listing.size} configurations recorded"
        return reason
