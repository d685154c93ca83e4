"""Results of special inputs: a NaN where it belongs and nowhere else, infinities by their sign."""

import numpy as np
import pytest

from tuner.core.operator import special_mismatch
from tuner.core.special import places, plant

REFERENCE = np.array([[1.0, np.nan, np.inf], [-np.inf, 1e39, 3.4028235e38]])
RIGHT = np.array([[1.00001, np.nan, np.inf], [-np.inf, np.inf, 3.4028235e38]], np.float32)


def mismatch(outputs: np.ndarray, allowed: float | np.ndarray = 1e-4) -> str | None:
    return special_mismatch({"D": outputs}, {"D": REFERENCE}, {"D": np.asarray(allowed)})


def test_what_is_right_passes() -> None:
    assert mismatch(RIGHT) is None
    # A tolerance means nothing where the reference is not finite.
    assert mismatch(RIGHT, np.where(np.isfinite(REFERENCE), 1e-4, np.nan)) is None


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((0, 0), np.nan, "D[0, 0] is nan, not 1; 1 of 6 wrong"),
        ((0, 0), np.inf, "is inf, not 1"),
        ((0, 0), 1.001, "is 1.001"),
        ((0, 1), 0.0, "D[0, 1] is 0, not nan"),
        ((0, 1), np.inf, "is inf, not nan"),
        ((0, 2), -np.inf, "is -inf, not inf"),
        ((0, 2), np.nan, "is nan, not inf"),
        ((0, 2), 3.4028235e38, "not inf"),
        ((1, 0), 0.0, "is 0, not -inf"),
        ((1, 1), 3.4028235e38, "not 1e+39"),  # beyond the type's range: an infinity
        ((1, 2), np.inf, "is inf"),
    ],
)
def test_one_wrong_element_is_found_and_named(place, value, words) -> None:
    wrong = RIGHT.copy()
    wrong[place] = value
    assert words in (mismatch(wrong) or "")


def test_at_the_end_of_the_range_both_are_right() -> None:
    reference = {"D": np.array([65510.0, 65519.0])}
    for value in (65504, np.inf):
        assert (
            special_mismatch({"D": np.full(2, value, np.float16)}, reference, {"D": np.array(10.0)}) is None
        )


def test_integers_are_exact() -> None:
    reference = {"D": np.array([2**31 - 1, -(2**31), 0])}
    none = {"D": np.zeros(())}
    assert special_mismatch({"D": reference["D"].astype(np.int32)}, reference, none) is None
    off = reference["D"].astype(np.int32) - np.array([1, 0, 0], np.int32)
    assert "D[0]" in (special_mismatch({"D": off}, reference, none) or "")


def test_an_output_that_is_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="output D of shape"):
        special_mismatch({}, {"D": REFERENCE}, {"D": np.zeros(())})


def test_most_places_stay_as_they_are() -> None:
    for size in (0, 1, 3, 4, 400):
        chosen = places(np.random.default_rng(1), size, 7)
        assert len(set(chosen)) == len(chosen) == min(7, size // 4)
    array = np.ones((5, 8), np.float32)
    plant(array, np.random.default_rng(1), (np.nan, np.inf), 6)
    assert np.isnan(array).sum() == 3 and np.isinf(array).sum() == 3
