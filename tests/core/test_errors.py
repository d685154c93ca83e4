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


def test_of_many_names_the_three_nearest_are_listed() -> None:
    known = [f"kernel_{i}" for i in range(50)] + ["naive", "native"]
    told = str(UnknownName("kernel", "naiv", known))
    assert "did you mean 'naive'? the nearest of 52 are naive, native, " in told and len(told) < 120
    assert str(UnknownName("kernel", "x", known[:3])).endswith("known: kernel_0, kernel_1, kernel_2")
