"""Shared libraries that people link from C, as wheels or packages bring them: found and called directly.

Nothing is compiled: the calls go through `ctypes`, which adds about a microsecond to each. Wheels of Intel's
libraries put them into the environment's `lib/`; a distribution puts them where the loader looks.
"""

import ctypes
import ctypes.util
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tuner.schedules.library import LibraryKernel


@cache
def find_library(stem: str, versions: tuple[str, ...] = ()) -> str | None:
    """The file (or, of the system's, the name) of a shared library; `None` where there is none.

    Args:
        stem: as in `lib<stem>.so`.
        versions: endings of the file that will do, in the order of preference; none means any.
    """
    folder = Path(sys.prefix) / "lib"
    names = [f"lib{stem}.so.{version}" for version in versions] or [f"lib{stem}.so"]
    for name in names:
        if (folder / name).exists():
            return str(folder / name)
    if not versions:
        for path in sorted(folder.glob(f"lib{stem}.so.*")):
            return str(path)
    system = ctypes.util.find_library(stem)
    return system if system and (not versions or system.rpartition(".so.")[2] in versions) else None


@cache
def load_library(path: str) -> ctypes.CDLL:
    """Loads a library, once.

    Raises:
        OSError: it cannot be loaded.
    """
    return ctypes.CDLL(path)


class NativeKernel(LibraryKernel):
    """A library called through its C interface.

    A subclass names `stem` and `versions` as `find_library` takes them, and the `extra` whose wheel brings
    the file.
    """

    libraries = ("numpy",)
    stem: str
    versions: tuple[str, ...] = ()
    extra = "vendor"

    def unavailable(self) -> str | None:
        """Names the extra to install; looks for the file without loading it."""
        if find_library(self.stem, self.versions):
            return None
        which = f" (version {' or '.join(self.versions)})" if self.versions else ""
        return f"lib{self.stem}.so{which} is not installed: pip install 'kernel-tuner-lab[{self.extra}]'"


def int64s(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    """64-bit integers as C takes them."""
    return (ctypes.c_int64 * len(values))(*values)
