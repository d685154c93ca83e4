"""Tensor maps as a driver is asked for them: by a stand-in that writes down what it was told."""

import ctypes
from typing import Any

import pytest

from tuner.core.tensor_map import TensorMap
from tuner.devices.cuda.tensor_maps import encoded


def test_the_driver_is_told_sizes_strides_and_box() -> None:
    told: list[Any] = []

    def encode(
        made: Any,
        kind: int,
        rank: int,
        address: Any,
        dims: Any,
        strides: Any,
        box: Any,
        steps: Any,
        *rest: int,
    ) -> int:
        ctypes.cast(made, ctypes.POINTER(ctypes.c_uint64))[15] = 7
        told.extend([kind, rank, address.value, [*dims], [*strides], [*box], [*steps], *rest])
        return 0

    made = encoded(TensorMap((40, 20, 3), (32, 8, 1), 2, 64), 4096, encode)
    # 16-bit integers; no interleaving, a swizzle of 64 bytes, 256 bytes to L2, zeros outside.
    assert told == [1, 3, 4096, [40, 20, 3], [80, 1600], [32, 8, 1], [1, 1, 1], 0, 2, 3, 0]
    assert ctypes.addressof(made) % 64 == 0 and ctypes.sizeof(made) == 128 and made.opaque[15] == 7


def test_a_map_that_the_driver_refuses_is_said_in_one_line() -> None:
    with pytest.raises(RuntimeError, match=r"refuses TensorMap\(.*\) at 0x1001: CUDA error 1$"):
        encoded(TensorMap((64,), (64,), 2), 4097, lambda *_: 1)
