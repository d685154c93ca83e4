"""Errors arrive in another process as they were raised."""

import pickle

import pytest

from tuner.core.errors import MissingExtra, TunerError, Unavailable, UnknownName


@pytest.mark.parametrize(
    "error",
    [
        TunerError("a"),
        Unavailable("no compiler"),
        UnknownName("kernel", "cpp_nive", ["cpp_naive"], "; see --help"),
        MissingExtra("replay", "parquet"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_pickled_with_its_message(error: TunerError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error) and str(arrived) == str(error) and str(error)
