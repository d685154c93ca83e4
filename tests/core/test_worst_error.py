"""Outputs are compared alike however many threads compare them."""

import numpy as np
import pytest

from tuner.core.worst_error import worst_error


@pytest.mark.parametrize("size", [7, 100_003, (1 << 21) + 5])
@pytest.mark.parametrize("wrong", ["none", "first", "last", "several", "nan"])
def test_the_worst_is_found_wherever_it_is(size: int, wrong: str) -> None:
    """The longest array is compared by several threads, where the machine has cores for them."""
    known = np.ones(size, np.float32)
    actual, tolerance = known.copy(), np.full(size, 0.5, np.float32)
    actual[size // 3] += 0.25
    at = {
        "none": [],
        "first": [0],
        "last": [size - 1],
        "several": [1, size // 2, size - 2],
        "nan": [size // 2],
    }
    for rank, place in enumerate(at[wrong]):
        actual[place] = np.nan if wrong == "nan" else 2 + rank
    error, where = worst_error({"Y": actual}, {"Y": known}, {"Y": tolerance})
    expected = {"none": 0.5, "first": 2.0, "last": 2.0, "several": 6.0, "nan": np.inf}[wrong]
    worst = at[wrong][-1] if at[wrong] else size // 3
    assert error == expected
    assert where.startswith(f"Y[{worst}] is") and where.endswith(f"{len(at[wrong])} of {size} wrong")
