"""Device memory with guards: whatever a kernel writes outside of its tensors is seen."""

from typing import Any

import numpy as np

GUARD_BYTES = 256 * 2**10
"""On either side. A stray access further away hits another tensor's guard, or nothing: an illegal address."""
# All bits set is a NaN in every IEEE format and -1 in every integer one.
PATTERN = 0xFF
_PLACED = 256  # the alignment of cudaMalloc, which vector loads rely on


class Region:
    """So many bytes of device memory between two guards.

    Args:
        runtime: `cupy.cuda.runtime`.
        stream: on which everything is ordered.
        size: bytes.

    Raises:
        MemoryError: the device has not so much.
    """

    def __init__(self, runtime: Any, stream: Any, size: int) -> None:
        self._runtime, self._stream, self.size = runtime, stream, size
        self._base = 0
        padded = -(-max(size, 1) // _PLACED) * _PLACED
        total = GUARD_BYTES + padded + GUARD_BYTES
        try:
            self._base = int(runtime.malloc(total))
        except RuntimeError as error:
            # Not every error with the word in it: an illegal memory access is none of too little memory.
            if "cudaErrorMemoryAllocation" in str(error) or "out of memory" in str(error).lower():
                raise MemoryError(f"{total} bytes of device memory: {error}") from None
            raise
        self.address = self._base + GUARD_BYTES
        # What pads the tensor belongs to the guard behind it.
        self._behind = total - GUARD_BYTES - size
        runtime.memsetAsync(self._base, PATTERN, GUARD_BYTES, stream.ptr)
        runtime.memsetAsync(self.address + size, PATTERN, self._behind, stream.ptr)

    def write(self, array: np.ndarray) -> None:
        """Copies an array of this size to the device; complete on return."""
        plain = np.ascontiguousarray(array)
        self._copy(self.address, plain.ctypes.data, plain.nbytes, self._runtime.memcpyHostToDevice)

    def read(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A copy of its content, after all that was queued before."""
        array = np.empty(shape, dtype)
        self._copy(array.ctypes.data, self.address, array.nbytes, self._runtime.memcpyDeviceToHost)
        return array

    def read_at(self, places: np.ndarray, dtype: Any) -> np.ndarray:
        """Copies of some elements: all 32 MiB of a large product take longer to copy than a sample to run.

        Args:
            places: flat indices of elements.
            dtype: of an element.
        """
        found = np.empty(places.size, dtype)
        for at, place in enumerate(places.tolist()):
            self._element(found, at, place, self._runtime.memcpyDeviceToHost)
        self._stream.synchronize()
        return found

    def write_at(self, places: np.ndarray, values: np.ndarray) -> None:
        """Gives some elements other values, `values` in the order of `places`; complete on return."""
        plain = np.ascontiguousarray(values)
        for at, place in enumerate(places.tolist()):
            self._element(plain, at, place, self._runtime.memcpyHostToDevice)
        self._stream.synchronize()

    def _element(self, array: np.ndarray, at: int, place: int, kind: int) -> None:
        here, there = array.ctypes.data + at * array.itemsize, self.address + place * array.itemsize
        to, source = (here, there) if kind == self._runtime.memcpyDeviceToHost else (there, here)
        self._runtime.memcpyAsync(to, source, array.itemsize, kind, self._stream.ptr)

    def poison(self) -> None:
        """Sets all its bits."""
        self._runtime.memsetAsync(self.address, PATTERN, self.size, self._stream.ptr)

    def zero(self) -> None:
        """Clears it."""
        self._runtime.memsetAsync(self.address, 0, self.size, self._stream.ptr)

    def damage(self) -> str | None:
        """What a stray write did to the guards; `None` if nothing."""
        for start, size, where in (
            (self._base, GUARD_BYTES, "before"),
            (self.address + self.size, self._behind, "behind"),
        ):
            guard = np.empty(size, np.uint8)
            self._copy(guard.ctypes.data, start, size, self._runtime.memcpyDeviceToHost)
            changed = np.flatnonzero(guard != PATTERN)
            if changed.size:
                first = int(changed[0]) if where == "behind" else GUARD_BYTES - int(changed[-1])
                return f"{changed.size} bytes changed {where} the tensor, the nearest {first} bytes away"
        return None

    def _copy(self, to: int, source: int, size: int, kind: int) -> None:
        # On the kernel's own stream: a plain cudaMemcpy does not wait for a non-blocking stream.
        self._runtime.memcpyAsync(to, source, size, kind, self._stream.ptr)
        self._stream.synchronize()

    def free(self) -> None:
        """Gives it back."""
        base, self._base = self._base, 0
        if base:
            self._runtime.free(base)

    def __del__(self) -> None:
        try:
            self.free()
        except Exception:  # the context is broken: the process ends, and with it all that it holds
            pass
