"""Programs compiled, each C++ text once for all models, and bound to memory."""

import ctypes
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.cache import cache_folder, entry, newest
from tuner.core.digest import digest, digest_files
from tuner.core.errors import BuildError, Unavailable
from tuner.core.host_cxx import (
    compiler_identity,
    find_compiler,
    first_error,
    isa_flags,
    require_compiler,
    run_compiler,
)
from tuner.core.places import CUDA_SRC
from tuner.engine.program.bound_call import BoundCall
from tuner.model.glue.program import Call

_FOLDER = CUDA_SRC / "model"
# As kernels are compiled (`builders/host/cxx.py`): no -ffast-math, which loses NaN.
_FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-shared", "-fopenmp", "-fvisibility=hidden", "-fno-math-errno",
    "-fno-trapping-math", "-ffp-contract=fast", "-Wl,--as-needed",
)  # fmt: skip
_COMMON = '#include "programs.h"\n'
# A program that touches less runs on one thread: a team's barriers take a microsecond.
ONE_THREAD_BYTES = 2**16
_MADE = "program.so"


def compiled(text: str, features: tuple[str, ...]) -> Path:
    """The library of a C++ text, compiled where the cache has not got it; where there is no compiler, what
    any compiler made of the same serves.

    Raises:
        Unavailable: there is no C++ compiler, or the cache cannot be written.
        BuildError: it does not compile.
    """
    headers = digest_files([*sorted(_FOLDER.glob("*.h")), CUDA_SRC / "common" / "range.h"])
    made_from, kept = digest([text, headers, list(_FLAGS), list(features)]), cache_folder() / "model"
    if find_compiler() is None and (found := newest(kept, f"{made_from}-")):
        return found / _MADE
    compiler = require_compiler()

    def fill(folder: Path) -> None:
        (folder / "program.cpp").write_text(text)
        flags = (*_FLAGS, f"-I{_FOLDER}", *isa_flags(compiler, features))
        code, output = run_compiler([*compiler, *flags, "program.cpp", "-o", _MADE], folder)
        if code != 0:
            raise BuildError(f"{first_error(output)}\n{output[:20_000]}")

    return entry(kept / f"{made_from}-{digest([compiler_identity(compiler)])}", fill) / _MADE


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
        """
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
        return BoundCall(run, team > 1, address, ctypes.addressof(addresses), ctypes.addressof(numbers))
