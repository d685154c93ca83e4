"""The largest error of an output: wherever it is, whatever it is."""

import numpy as np
import pytest

from tuner.core.operator import worst_error


def test_the_worst_error_is_found_wherever_it_is() -> None:
    size = 20_001  # more than two of the pieces that are compared at a time, and a ragged one
    reference = np.linspace(1.0, 2.0, size)
    tolerance = np.full(size, 1e-3)
    right = reference.astype(np.float32)
    assert worst_error({"D": right}, {"D": reference}, {"D": tolerance})[0] < 1e-3
    for place in (0, 8_191, 8_192, 16_384, size - 1):
        wrong = right.copy()
        wrong[place] += 0.5
        wrong[place // 2] += 0.002  # a smaller one before it, another where they coincide
        share, where = worst_error({"D": wrong}, {"D": reference}, {"D": tolerance})
        assert share == pytest.approx(500, rel=0.01)
        assert where.startswith(f"D[{place}] is ") and f"{2 if place else 1} of {size} wrong" in where
        for bad in (np.nan, np.inf, -np.inf):
            wrong[place] = bad
            assert worst_error({"D": wrong}, {"D": reference}, {"D": tolerance})[0] == np.inf


def test_an_exact_result_needs_no_tolerance() -> None:
    reference = np.array([0.0, 3.0, np.inf, 5.0])
    none = np.zeros(4)
    assert worst_error({"D": reference.copy()}, {"D": reference}, {"D": none}) == (0.0, "")
    off = np.array([0.0, 3.0, np.inf, 6.0])
    share, where = worst_error({"D": off}, {"D": reference}, {"D": none})
    assert share == np.inf and where.startswith("D[3]")
    assert worst_error({"D": np.array([1, 2])}, {"D": np.array([1, 2])}, {"D": np.zeros(2)})[0] == 0.0
