"""The fewest configurations that serve every shape well: set cover, exactly."""

from collections.abc import Sequence

import numpy as np

from tuner.core.errors import TunerError

_MOST_RATIO = 4.0
"""A configuration at a shape where it fails, or was not measured, counts as so many times slower."""


def regrets(ratios: np.ndarray) -> np.ndarray:
    """log2 of times over the shape's own best, between 0 and 2; 2 where a time is missing."""
    capped = np.where(np.isfinite(ratios), np.clip(ratios, 1.0, _MOST_RATIO), _MOST_RATIO)
    return np.log2(capped)


def smallest_cover(
    ratios: np.ndarray, within: float, weights: Sequence[float], at_most: int | None = None
) -> list[int]:
    """Rows such that every column has one of them within a share of its best, as few as there can be.

    Among covers of equal size, the one whose rows are the least slow on average over all columns. Exact: an
    integer program, which HiGHS solves (`scipy.optimize.milp`).

    Args:
        ratios: times over the column's best `[rows, columns]`; NaN and infinite serve no column.
        within: 0.05 for 5%.
        weights: of the columns, positive.
        at_most: where fewer rows are allowed than a cover needs, those that serve the most weight.

    Raises:
        TunerError: a column is served by no row at all.
    """
    covers = np.where(np.isfinite(ratios), ratios, np.inf) <= 1 + within + 1e-12
    if not covers.any(axis=0).all():
        column = int(np.argmin(covers.any(axis=0)))
        raise TunerError(f"no configuration is within {within:.0%} at shape {column}: was it measured?")
    weight = np.asarray(weights, float)
    slowness = regrets(ratios) @ weight / weight.sum() / np.log2(_MOST_RATIO)  # 0 to 1
    rows = _undominated(covers, slowness)
    chosen = _solve(covers[rows], slowness[rows])
    if at_most is not None and len(chosen) > at_most:
        chosen = _solve(covers[rows], slowness[rows], at_most, weight)
    return sorted(int(rows[i]) for i in chosen)


def _undominated(covers: np.ndarray, slowness: np.ndarray) -> np.ndarray:
    """Rows that no other beats: one that covers as much and is no slower."""
    kept: list[int] = []
    order = np.lexsort((slowness, -covers.sum(axis=1)))
    for row in order:
        if covers[row].any() and not any(
            (covers[other] >= covers[row]).all() and slowness[other] <= slowness[row] for other in kept
        ):
            kept.append(int(row))
    return np.array(kept)


def _solve(
    covers: np.ndarray, slowness: np.ndarray, at_most: int | None = None, weight: np.ndarray | None = None
) -> list[int]:
    from scipy.optimize import Bounds, LinearConstraint, milp

    rows, columns = covers.shape
    # All tie-breakers together are less than one row.
    price = 1 + slowness / (rows + 1)
    if at_most is None or weight is None:
        answer = milp(
            price, integrality=np.ones(rows), bounds=Bounds(0, 1),
            constraints=LinearConstraint(covers.T.astype(float), lb=1), options={"mip_rel_gap": 0.0},
        )  # fmt: skip
    else:
        # Variables: rows, then whether a column is served; the most weight, then the least slow rows.
        smallest = weight.min() / (rows + 1) / 4
        served = np.hstack([covers.T.astype(float), -np.eye(columns)])
        count = np.concatenate([np.ones(rows), np.zeros(columns)])[None, :]
        answer = milp(
            np.concatenate([smallest * slowness, -weight]), bounds=Bounds(0, 1),
            integrality=np.ones(rows + columns),
            constraints=[LinearConstraint(served, lb=0), LinearConstraint(count, ub=at_most)],
            options={"mip_rel_gap": 0.0},
        )  # fmt: skip
    if answer.x is None:
        raise TunerError(f"the set cover was not solved: {answer.message}")
    return [i for i in range(rows) if answer.x[i] > 0.5]
