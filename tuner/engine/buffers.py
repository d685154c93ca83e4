"""Tensors with guards: whatever a kernel writes outside of its output is seen.

Each tensor lies in memory of its own: a margin filled with a pattern, the data on a 64-byte line, a
margin, and a page behind it that cannot be touched at all. A stray write changes a margin (found by
`Guarded.damage`) or dies of a signal; a stray read of a float margin yields NaN, which no verification
passes.
"""

import ctypes
import mmap
import sys
from functools import cache

import numpy as np

_PAGE = mmap.PAGESIZE
_MARGIN = _PAGE
# All bits set is a NaN in every IEEE format and -1 in every integer one.
_PATTERN = 0xFF
_HUGE = 2 * 2**20
_PROT_NONE, _MADV_HUGEPAGE = 0, 14


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two C-contiguous arrays of one shape and type hold the same bits: NaNs are equal, zeros of two
    signs are not."""
    # By words of eight bytes where it goes: 1 MiB takes 0.03 ms, byte by byte 0.05.
    word = np.uint64 if one.nbytes % 8 == 0 else np.uint8
    return bool(np.array_equal(one.reshape(-1).view(word), other.reshape(-1).view(word)))


class Guarded:
    """One tensor between guards.

    Args:
        shape, dtype: of `array`, C-contiguous and 64-byte aligned; zero until `poison` or a write.

    Raises:
        MemoryError: the system has not enough memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=object)) * kind.itemsize if shape else kind.itemsize
        data = -(-size // 64) * 64
        # Large tensors start on a huge page, as a program's own large arrays do.
        lead = _HUGE if size >= 4 * _HUGE else 0
        total = -(-(lead + _MARGIN + data + _MARGIN) // _PAGE) * _PAGE
        try:
            self._map = mmap.mmap(-1, total + _PAGE)
        except OSError as error:
            raise MemoryError(f"{size} bytes for a tensor: {error.strerror}") from None
        self._all = np.frombuffer(self._map, dtype=np.uint8)
        base = self._all.ctypes.data
        if sys.platform == "linux":
            if lead:
                _libc().madvise(ctypes.c_void_p(base), ctypes.c_size_t(total), _MADV_HUGEPAGE)
            guard = ctypes.c_void_p(base + total)
            if _libc().mprotect(guard, ctypes.c_size_t(_PAGE), _PROT_NONE) != 0:
                raise MemoryError("a guard page cannot be protected")
        start = -(base + _MARGIN) % (lead or 64) + _MARGIN
        self._before = self._all[start - _MARGIN : start]
        self._data = self._all[start : start + data]
        # Padding up to the next line belongs to the margin: a vector store past the end is stray too.
        self._after = self._all[start + size : start + data + _MARGIN]
        self._payload = self._all[start : start + size]
        self.array = self._payload.view(kind).reshape(shape)
        self._before[:] = _PATTERN
        self._after[:] = _PATTERN

    def poison(self) -> None:
        """Fills the tensor with NaN (or -1), so that an element not written is a wrong one."""
        self._payload[:] = _PATTERN

    def damage(self) -> str | None:
        """What a stray write did to the margins; `None` if nothing."""
        for margin, where in ((self._before, "before"), (self._after, "after")):
            changed = np.flatnonzero(margin != _PATTERN)
            if changed.size:
                return f"{changed.size} bytes changed {where} the tensor"
        return None
