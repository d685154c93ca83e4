"""Arrays of somebody's program that lie in a device's own memory: what a kernel needs to know of one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resident:
    """An array where it lies; nothing was copied.

    Attributes:
        address: of its first element, in the device's memory.
        shape: elements along each axis.
        dtype: by name: `float32`, `bfloat16`.
        strides: bytes from element to element along each axis; `None` for a C-contiguous array.
        device: which one, of those of its kind.
        stream: handle of the queue that its library uses at this moment; work queued there comes first.
        writable: whether a kernel may write to it.
        library: whose array it is, for people.
        empty: makes an array of the same library on the same device: `empty(shape, dtype)`.
        owner: what keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None
    device: int
    stream: int
    writable: bool
    library: str
    empty: Callable[[tuple[int, ...], str], Any]
    owner: Any

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie one behind the other in C's order, as kernels take them."""
        if self.strides is None or 0 in self.shape:
            return True
        step = None
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size == 1:  # its stride is never used
                continue
            if step is not None and stride != step:
                return False
            step = stride * size
        return True
