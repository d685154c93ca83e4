"""Memory in pages of 2 MiB, where the system has them.

A program that walks through a hundred megabytes of weights needs another entry of the TLB every 4 KiB,
and in a virtual machine finding one takes two walks of page tables. Linux gives huge pages to who asks
(`madvise`); elsewhere, or where it has none left, it is memory like any other.
"""

import contextlib
import mmap

import numpy as np

HUGE = 2 * 2**20
"""Bytes of a huge page on x86-64, and of most on AArch64."""
LEAST = HUGE // 4
"""Arrays of fewer bytes would leave most of a huge page empty."""


def in_huge_pages(nbytes: int) -> np.ndarray:
    """That many bytes, zeros, which begin at a huge page; all are there, so that no later write has to wait.

    Raises:
        MemoryError: the system has not enough memory.
    """
    size = max(1, -(-nbytes // HUGE)) * HUGE
    try:
        memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"{nbytes} bytes: {error.strerror}") from None
    whole = np.frombuffer(memory, np.uint8)
    begin = -whole.ctypes.data % HUGE
    ask_for(memory, begin, size)
    found = whole[begin : begin + nbytes]
    found[:] = 0
    return found


def ask_for(memory: mmap.mmap, begin: int, size: int) -> None:
    """Asks for huge pages in a part of a mapping, before it is written; without any, nothing happens.

    Args:
        memory: a private mapping.
        begin, size: of the part, bytes; `begin` at a page.
    """
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE, begin, size)
