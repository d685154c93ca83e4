"""Programs compiled, each C++ text once for all models, and bound to memory."""

import ctypes
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.compiled import compiled_text
from tuner.core.errors import Unavailable
from tuner.core.host_cxx import KERNEL_FLAGS, LINK_FLAGS
from tuner.core.places import CUDA_SRC
from tuner.engine.program.bound_call import BoundCall
from tuner.model.glue.moves import copy_of
from tuner.model.glue.program import Call

_FOLDER = CUDA_SRC / "model"
_FLAGS = (*KERNEL_FLAGS, *LINK_FLAGS)
_COMMON = '#include "programs.h"\n'
# A program that touches less runs on one thread: a team's barriers take a microsecond.
ONE_THREAD_BYTES = 2**16


def compiled(text: str, features: tuple[str, ...]) -> Path:
    """The library of a C++ text, as kernels are compiled.

    Raises:
        Unavailable: there is no C++ compiler, or the cache cannot be written.
        BuildError: it does not compile.
    """
    shared = (CUDA_SRC / "common" / name for name in ("curves.h", "range.h"))
    headers = [*sorted(_FOLDER.glob("*.h")), *shared]
    return compiled_text("program.cpp", text, _FLAGS, ".so", features, headers)


@cache
def _loaded(text: str, features: tuple[str, ...]) -> ctypes.CDLL:
    path = compiled(text, features)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:  # such as a cache on a file system that executes nothing
        raise Unavailable(f"{path.name} cannot be loaded: {error}") from None


class Library:
    """The functions of some calls, compiled and loaded.

    Args:
        calls: of programs.
        features: of the processor.

    Raises:
        Unavailable: there is no C++ compiler, the cache cannot be written, or what is in it cannot be loaded.
        BuildError: one does not compile.
    """

    def __init__(self, calls: Iterable[Call], features: tuple[str, ...]) -> None:
        self._features = features
        texts = list(dict.fromkeys([_COMMON, *(call.text or _COMMON for call in calls)]))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda text: _loaded(text, features), texts))

    @property
    def walk(self) -> Any:
        """The C function that calls others (`walk.h`)."""
        return _loaded(_COMMON, self._features).walk

    def bound(self, call: Call, arrays: Sequence[np.ndarray | None], threads: int) -> BoundCall:
        """A call on these arrays, which stay bound as long as it is there.

        Args:
            call: one of those that the library was made for, or one of `programs.h`, which are always there.
            arrays: C-contiguous, in the order of the call's operands; `None` is a null pointer.
            threads: at most; small work is one's.

        Raises:
            ValueError: an array is not C-contiguous: a call finds elements by its numbers, not by strides.
        """
        for place, array in enumerate(arrays):
            if array is not None and not array.flags.c_contiguous:
                raise ValueError(
                    f"operand {place} of {call.function}, {list(array.shape)} with strides "
                    f"{list(array.strides)}, is not C-contiguous"
                )
        return self._bound(call, arrays, threads)

    def copied(self, view: np.ndarray, to: np.ndarray, threads: int) -> BoundCall | None:
        """The copy of a view, its axes in whatever order, to a C-contiguous array of its shape; `None` where
        there is no program for elements of this size.

        Raises:
            ValueError: `to` is not C-contiguous, or of another shape or dtype.
        """
        if not to.flags.c_contiguous or (to.shape, to.dtype) != (view.shape, view.dtype):
            raise ValueError(f"a copy of {view.shape} {view.dtype} is no C-contiguous {to.shape} {to.dtype}")
        call = copy_of(view)
        return None if call is None else self._bound(call, (view, to), threads)

    def gather(self, to: np.ndarray, arrays: Sequence[np.ndarray]) -> None:
        """Copies arrays behind each other in one call, on this thread: Python's lock is let go of once.

        Args:
            to: C-contiguous, as large as all of them or larger.
            arrays: C-contiguous, of the dtype of `to`.

        Raises:
            ValueError: an array is not so.
        """
        sizes = [array.nbytes for array in arrays]
        if sum(sizes) > to.nbytes or not to.flags.c_contiguous:
            raise ValueError(f"{sum(sizes)} bytes do not fit in {to.nbytes} that follow each other")
        if not all(array.flags.c_contiguous and array.dtype == to.dtype for array in arrays):
            raise ValueError(f"arrays to be gathered are not all C-contiguous {to.dtype}")
        numbers = (ctypes.c_int64 * (1 + len(sizes)))(len(sizes), *sizes)
        places = (ctypes.c_void_p * (1 + len(sizes)))(*(array.ctypes.data for array in (to, *arrays)))
        function = _loaded(_COMMON, self._features).gather
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
        function(numbers, places)

    def _bound(self, call: Call, arrays: Sequence[np.ndarray | None], threads: int) -> BoundCall:
        function = getattr(_loaded(call.text or _COMMON, self._features), call.function)
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
        touched = sum(array.nbytes for array in arrays if array is not None)
        team = threads if touched >= ONE_THREAD_BYTES else 1
        numbers = (ctypes.c_int64 * (1 + len(call.numbers)))(team, *call.numbers)
        places = [None if array is None else array.ctypes.data for array in arrays]
        addresses = (ctypes.c_void_p * len(places))(*places)
        kept: Any = (arrays, numbers, addresses)

        def run() -> None:
            function(kept[1], kept[2])

        address = ctypes.cast(function, ctypes.c_void_p).value or 0
        tables = ctypes.addressof(addresses), ctypes.addressof(numbers)
        return BoundCall(run, team > 1, address, *tables, places=len(places))
