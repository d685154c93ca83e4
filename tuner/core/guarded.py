"""Tensors with guards: whatever a kernel writes outside of its output is seen.

Each tensor lies in memory of its own: a margin filled with a pattern, the data on a page of its own, a margin
up to the page's end and one page more (of a huge page, up to its end), and on both sides a stretch of
addresses that cannot be touched at all. A stray write changes a margin (found by `Guarded.damage`) or dies of
a signal; a stray read of a float margin yields NaN, which no verification passes.
"""

import ctypes
import mmap
import sys
from functools import cache

import numpy as np

from tuner.core.dtypes import dtype_named
from tuner.core.huge_pages import HUGE, LEAST, ask_for

PATTERN = 0xFF
"""All bits set is a NaN in every IEEE format and -1 in every integer one."""
RESERVED = 128 * 2**20
"""Bytes of addresses on either side that nothing lies at; only addresses, no memory."""

_PAGE = mmap.PAGESIZE
_MARGIN = _PAGE
_PROT_NONE = 0


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two C-contiguous arrays of one shape and type hold the same bits: NaNs are equal, zeros of two
    signs are not."""
    # By words of eight bytes where it goes: 1 MiB takes 0.03 ms, byte by byte 0.05.
    word = np.uint64 if one.nbytes % 8 == 0 else np.uint8
    return bool(np.array_equal(one.reshape(-1).view(word), other.reshape(-1).view(word)))


def _untouched(margin: np.ndarray) -> bool:
    """Whether a margin is all pattern.

    Of a huge page it may be a megabyte, looked at after each call. Whether each byte equals the next one
    takes 0.04 ms, whether each equals the pattern 0.08.
    """
    place, size = margin.ctypes.data, margin.size
    alike = _libc().memcmp(ctypes.c_void_p(place), ctypes.c_void_p(place + 1), ctypes.c_size_t(size - 1)) == 0
    return bool(margin[0] == PATTERN) and alike


def _reserve(inner: int) -> tuple[mmap.mmap, int]:
    """Memory of `inner` bytes between two stretches that cannot be touched, and how long one of these is.

    Where addresses are scarce (`ulimit -v`) the stretches are shorter, one page at the least.
    """
    side = RESERVED
    while True:
        try:
            # Private: a program's own arrays are, and only private memory gets huge pages on most systems.
            return mmap.mmap(-1, side + inner + side, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), side
        except OSError as error:
            if side == _PAGE:
                raise MemoryError(f"{inner} bytes for a tensor: {error.strerror}") from None
            side = max(_PAGE, side // 8)


class Guarded:
    """One tensor between guards.

    Args:
        shape, dtype: of `array`, C-contiguous, beginning on a page; zero until `poison` or a write.

    Raises:
        MemoryError: the system has not enough memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        kind = dtype_named(dtype)
        size = int(np.prod(shape, dtype=object)) * kind.itemsize if shape else kind.itemsize
        # Large tensors lie in huge pages, as weights and values of a model do (`huge_pages`).
        lead = HUGE if size >= LEAST else 0
        room = -(-size // _PAGE) * _PAGE + _MARGIN
        # A huge page is there as a whole or not at all: what a tensor begins of one is margin up to its end.
        if lead and LEAST <= size % HUGE <= HUGE - _MARGIN:
            room = -(-size // HUGE) * HUGE
        inner = lead + _MARGIN + room
        self._map, side = _reserve(inner)
        memory = np.frombuffer(self._map, dtype=np.uint8)
        base = memory.ctypes.data
        start = side + _MARGIN
        if lead:
            start += -(base + start) % lead
        end = start + room
        if sys.platform == "linux":
            if lead:
                ask_for(self._map, start, end - start)
            for place, length in ((base, start - _MARGIN), (base + end, len(memory) - end)):
                if _libc().mprotect(ctypes.c_void_p(place), ctypes.c_size_t(length), _PROT_NONE) != 0:
                    raise MemoryError("the pages around a tensor cannot be protected")
        self._before = memory[start - _MARGIN : start]
        self._after = memory[start + size : end]
        self._payload = memory[start : start + size]
        self.array = self._payload.view(kind).reshape(shape)
        self._before[:] = PATTERN
        self._after[:] = PATTERN

    def poison(self) -> None:
        """Fills the tensor with NaN (or -1), so that an element not written is a wrong one."""
        self._payload[:] = PATTERN

    def damage(self) -> str | None:
        """What a stray write did to the margins; `None` if nothing."""
        for margin, where in ((self._before, "before"), (self._after, "after")):
            if not _untouched(margin):
                return f"{np.count_nonzero(margin != PATTERN)} bytes changed {where} the tensor"
        return None
