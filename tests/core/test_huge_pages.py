"""Large arrays lie in huge pages, and their guards see stray writes as those of small ones do."""

import ctypes

import numpy as np
import pytest

from tuner.core.guarded import Guarded
from tuner.core.huge_pages import HUGE, LEAST, in_huge_pages


@pytest.mark.parametrize("nbytes", [0, 1, LEAST, HUGE, HUGE + 5])
def test_memory_is_zeros_of_its_own(nbytes: int) -> None:
    first, second = in_huge_pages(nbytes), in_huge_pages(nbytes)
    assert (first.nbytes, first.dtype, first.flags.writeable) == (nbytes, np.uint8, True)
    assert not first.any()
    assert nbytes == 0 or first.ctypes.data % HUGE == 0
    first[:] = 1
    assert not second.any()


@pytest.mark.parametrize(
    "nbytes", [LEAST - 1, LEAST, HUGE - 4097, HUGE - 4096, HUGE - 4095, HUGE, HUGE + LEAST]
)
@pytest.mark.parametrize("behind", [0, 4000])
def test_stray_writes_around_large_tensors_are_seen(nbytes: int, behind: int) -> None:
    tensor = Guarded((nbytes,), "uint8")
    tensor.poison()
    assert tensor.damage() is None
    ctypes.memset(tensor.array.ctypes.data + nbytes + behind, 0, 3)
    assert tensor.damage() == "3 bytes changed after the tensor"
    tensor = Guarded((nbytes,), "uint8")
    ctypes.memset(tensor.array.ctypes.data - behind - 2, 0, 2)
    assert tensor.damage() == "2 bytes changed before the tensor"


def test_a_stray_write_far_behind_but_in_the_huge_page_is_seen() -> None:
    tensor = Guarded((LEAST,), "uint8")
    ctypes.memset(tensor.array.ctypes.data + HUGE - 1, 0, 1)
    assert tensor.damage() == "1 bytes changed after the tensor"
