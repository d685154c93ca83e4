"""Tensor maps as the driver makes them: what a kernel's copies by the copy engine (TMA) go by."""

import ctypes
from collections.abc import Callable
from typing import Any

from tuner.core.tensor_map import TensorMap

_BYTES, _BOUNDARY = 128, 64
# CUtensorMapDataType by bytes of an element: integers, since bytes are copied as they are and what lies
# outside is zero in every type. CUtensorMapSwizzle by its width.
_TYPES = {1: 0, 2: 1, 4: 2, 8: 4}
_SWIZZLES = {0: 0, 32: 1, 64: 2, 128: 3}
_PROMOTE_256 = 3  # CU_TENSOR_MAP_L2_PROMOTION_L2_256B


class OpaqueMap(ctypes.Structure):
    """A `CUtensorMap`."""

    _fields_ = (("opaque", ctypes.c_uint64 * (_BYTES // 8)),)


def encoded(tensor: TensorMap, address: int, encode: Callable[..., Any] | None = None) -> OpaqueMap:
    """The map of a tensor at an address of the device, on a boundary of 64 bytes as the driver asks.

    Args:
        tensor: its sizes and box.
        address: of its first element, a multiple of 16.
        encode: `cuTensorMapEncodeTiled`, with windows `cuTensorMapEncodeIm2col`; by default libcuda's.

    Raises:
        RuntimeError: the driver is not there, has no tensor maps (older than CUDA 12), or refuses this one.
    """
    memory = (ctypes.c_ubyte * (_BYTES + _BOUNDARY))()
    start = ctypes.addressof(memory)
    made = OpaqueMap.from_buffer(memory, -start % _BOUNDARY)  # keeps the memory
    rank, windows = len(tensor.dims), tensor.windows
    if windows is None:
        function, steps = "cuTensorMapEncodeTiled", [1] * rank
        box: list[Any] = [(ctypes.c_uint32 * rank)(*tensor.box)]
    else:
        function, steps = "cuTensorMapEncodeIm2col", [1, *windows.steps, 1]
        corners = [(ctypes.c_int * (rank - 2))(*each) for each in (windows.lower, windows.upper)]
        box = [*corners, *map(ctypes.c_uint32, tensor.box)]
    status = (encode or _driver(function))(
        ctypes.byref(made), _TYPES[tensor.element_bytes], rank, ctypes.c_void_p(address),
        (ctypes.c_uint64 * rank)(*tensor.dims), (ctypes.c_uint64 * max(1, rank - 1))(*tensor.strides),
        *box, (ctypes.c_uint32 * rank)(*steps), 0, _SWIZZLES[tensor.swizzle], _PROMOTE_256, 0,
    )  # fmt: skip
    if status:
        raise RuntimeError(f"{function} refuses {tensor} at {address:#x}: CUDA error {status}")
    return made


def _driver(function: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = getattr(ctypes.CDLL("libcuda.so.1"), function)
    except (OSError, AttributeError) as error:
        raise RuntimeError(f"the driver makes no tensor maps: {error}") from None
    return found
