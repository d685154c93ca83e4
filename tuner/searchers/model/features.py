"""What a model sees of a configuration: numbers derived from parameters in a way any kernel's mean alike."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tuner.core.space import Config, Parameter, SearchSpace

# Pairs grow with the square: 12 parameters give 132 columns.
_MAX_PAIRED = 12
_MAX_DECLARED = 16


def alignment(value: int) -> int:
    """How often 2 divides a positive integer: 48 -> 4, 96 -> 5, 7 -> 0.

    Warps, vector loads, banks and cache lines are powers of two long, so 96 has more in common with 32
    than with 97.
    """
    return (value & -value).bit_length() - 1


def _scaled(table: np.ndarray) -> np.ndarray:
    span = table.max() - table.min()
    result: np.ndarray = (table - table.min()) / span if span > 0 else table * 0.0
    return result


def _logarithms(parameter: Parameter) -> np.ndarray:
    values = np.array([float(v) for v in parameter.values])
    return np.log2(values) if values.min() > 0 else values


class FeatureMap:
    """Features of configurations given as rows of value indices.

    `smooth` is for distances: every column in [0, 1]; ordinal parameters by the logarithm of their value,
    those with values other than powers of two also by their `alignment`, two-valued ones as 0 and 1, other
    categorical ones as a column a value. `crossed` is for trees, which cannot multiply: the logarithms of
    all values, of the products and ratios of all pairs of ordinal parameters, and of the product of all.
    Both carry the kernel's declared features, `smooth` scaled to [0, 1] over the first rows seen.
    """

    def __init__(
        self, space: SearchSpace, declared: Callable[[Config], Mapping[str, float]] | None = None
    ) -> None:
        self._space = space
        self._declared = declared
        self._ranges: dict[str, _Range] | None = None
        self._tables: list[tuple[int, np.ndarray]] = []
        self._logs: list[tuple[int, np.ndarray]] = []
        for place, p in enumerate(space.parameters):
            if len(p.values) < 2:
                continue
            if not p.ordinal:
                eye = np.eye(len(p.values))
                # Two values of a one-hot code differ by sqrt(2): as far as a whole ordinal range, not more.
                tables = [np.arange(2.0)] if len(p.values) == 2 else list(eye / math.sqrt(2))
                self._logs.append((place, np.arange(float(len(p.values)))))
            else:
                tables = [_scaled(_logarithms(p)), *_alignments(p)]
                self._logs.append((place, _logarithms(p)))
            self._tables += [(place, table) for table in tables]
        ordinal = [i for i, (place, _) in enumerate(self._logs) if self._is_paired(place)]
        self._pairs = list(combinations(ordinal[:_MAX_PAIRED], 2))
        self._all = ordinal

    def _is_paired(self, place: int) -> bool:
        parameter = self._space.parameters[place]
        return parameter.ordinal and len(parameter.values) > 2

    def smooth(self, rows: np.ndarray) -> np.ndarray:
        """float64[len(rows), columns] in [0, 1]."""
        columns = [table[rows[:, place]] for place, table in self._tables]
        columns += self._declared_columns(rows)
        return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0))

    def groups(self, columns: int) -> list[list[int]]:
        """The first so many columns of `smooth` by parameter; what a kernel declares stands alone."""
        found: dict[int, list[int]] = {}
        for column, (place, _) in enumerate(self._tables):
            found.setdefault(place, []).append(column)
        return [*found.values(), *([column] for column in range(len(self._tables), columns))]

    def crossed(self, rows: np.ndarray) -> np.ndarray:
        """float32[len(rows), columns]."""
        logs = [table[rows[:, place]] for place, table in self._logs]
        columns = list(logs)
        for a, b in self._pairs:
            columns += [logs[a] + logs[b], logs[a] - logs[b]]
        if self._all:
            columns.append(np.sum([logs[i] for i in self._all], axis=0))
        columns += self._declared_columns(rows)
        if not columns:
            return np.zeros((len(rows), 0), dtype=np.float32)
        return np.stack(columns, axis=1).astype(np.float32)

    def _declared_columns(self, rows: np.ndarray) -> list[np.ndarray]:
        if self._declared is None:
            return []
        values = [self._declared(self.config(row)) for row in rows.tolist()]
        if self._ranges is None:
            self._ranges = _ranges(values)
        return [
            scale.column(np.array([float(v.get(name, math.nan)) for v in values]))
            for name, scale in self._ranges.items()
        ]

    def config(self, row: Sequence[int]) -> dict[str, bool | int | float | str]:
        """The configuration of a row of value indices."""
        return {p.name: p.values[i] for p, i in zip(self._space.parameters, row, strict=True)}


def _alignments(parameter: Parameter) -> list[np.ndarray]:
    values = parameter.values
    whole = [v for v in values if isinstance(v, int) and v > 0]
    if len(values) < 3 or len(whole) < len(values) or all(v & (v - 1) == 0 for v in whole):
        return []  # of powers of two the logarithm says it all
    table = np.array([float(alignment(v)) for v in whole])
    return [_scaled(table)] if table.max() > 0 else []


@dataclass(frozen=True)
class _Range:
    """How a declared quantity becomes a column in [0, 1]: sizes and intensities act by ratio."""

    logarithmic: bool
    low: float
    high: float

    def column(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.log2(values) if self.logarithmic else values
        scaled = (moved - self.low) / (self.high - self.low)
        # What is unknown stands in the middle; what was not seen when the range was taken, a little outside.
        return np.clip(np.where(np.isfinite(scaled), scaled, 0.5), -1.0, 2.0)


def _ranges(values: Sequence[Mapping[str, float]]) -> dict[str, _Range]:
    ranges = {}
    for name in sorted({name for v in values for name in v})[:_MAX_DECLARED]:
        column = np.array([float(v[name]) for v in values if name in v])
        column = column[np.isfinite(column)]
        if len(column) == 0 or column.min() == column.max():
            continue
        logarithmic = bool(column.min() > 0)
        ends = np.log2([column.min(), column.max()]) if logarithmic else (column.min(), column.max())
        ranges[name] = _Range(logarithmic, float(ends[0]), float(ends[1]))
    return ranges
