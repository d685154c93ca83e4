"""Arrays that lie on a GPU, of CuPy, torch, and whoever speaks `__cuda_array_interface__` or DLPack."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tuner.core.resident import Resident

# Of `DLDeviceType` (dlpack.h): memory that only the GPU reads, and memory that both do.
_DLPACK_CUDA = (2, 13)


def resident(array: Any) -> Resident | None:
    """The array where it lies; `None` where it does not lie on a GPU.

    torch comes first, because its tensors of bfloat16 have no `__cuda_array_interface__`. CUDA numbers GPUs
    for all libraries of a process alike.

    Raises:
        TypeError: it has a gradient or a mask, which a kernel cannot see.
    """
    torch = sys.modules.get("torch")  # not imported: no tensor of it
    if torch is not None and isinstance(array, torch.Tensor):
        return _of_torch(torch, array) if array.is_cuda else None
    if isinstance(array, np.ndarray | np.generic | list | tuple | int | float):
        return None
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is not None:
        return _of_interface(array, interface)
    if hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) in _DLPACK_CUDA:
        import cupy

        taken = cupy.from_dlpack(array)  # ordered behind its library's work by the protocol
        return _of_interface(taken, taken.__cuda_array_interface__)
    return None


def _of_torch(torch: Any, array: Any) -> Resident:
    if array.requires_grad:
        raise TypeError("a tensor with a gradient, which a kernel cannot see: give .detach()")
    index, size = int(array.device.index), int(array.element_size())

    def empty(shape: tuple[int, ...], dtype: str) -> Any:
        return torch.empty(shape, dtype=getattr(torch, dtype), device=array.device)

    return Resident(
        int(array.data_ptr()), tuple(array.shape), str(array.dtype).removeprefix("torch."),
        tuple(size * int(step) for step in array.stride()), index,
        int(torch.cuda.current_stream(index).cuda_stream), True, "torch", empty, array,
    )  # fmt: skip


def _of_interface(array: Any, interface: dict[str, Any]) -> Resident:
    """Of the CUDA Array Interface, version 3 (Numba's documentation), which CuPy's arrays have as well."""
    import cupy

    if interface.get("mask") is not None:
        raise TypeError("an array with a mask, which a kernel cannot see")
    address, read_only = interface["data"]
    strides = interface.get("strides")
    own = isinstance(array, cupy.ndarray)
    if own:
        index, dtype = int(array.device.id), np.dtype(array.dtype).name
    else:
        index = int(cupy.cuda.runtime.pointerGetAttributes(int(address)).device) if address else 0
        dtype = np.dtype(interface["typestr"]).name
    current = int(cupy.cuda.get_current_stream(index).ptr)
    # Of somebody else's array the work that fills it may be queued elsewhere; 0 there is not allowed.
    stream = interface.get("stream")
    queued = current if own or stream is None else int(stream)

    def empty(shape: tuple[int, ...], name: str) -> Any:
        from tuner.core.dtypes import dtype_named

        return cupy.empty(shape, dtype_named(name))

    return Resident(
        int(address), tuple(int(size) for size in interface["shape"]), dtype,
        None if strides is None else tuple(int(step) for step in strides), index, queued, not read_only,
        "CuPy" if own else type(array).__name__, empty, array,
    )  # fmt: skip


def after(runtime: Any, event: Any, first: int, then: int) -> None:
    """What is queued on one stream from now on waits for all that is queued on another one.

    Args:
        runtime: `cupy.cuda.runtime`.
        event: of CuPy; it may be used again at once.
        first, then: handles of the streams.
    """
    if first != then:
        runtime.eventRecord(event.ptr, first)
        runtime.streamWaitEvent(then, event.ptr)


def launch_stream(arrays: Sequence[Resident]) -> int:
    """The stream of a call: the current one of the library whose array comes first."""
    return arrays[0].stream
