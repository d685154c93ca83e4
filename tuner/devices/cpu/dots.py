"""Peaks of narrow types on the CPU (`cuda_src/runtime/dots.cpp`): tiles, dot products, FP16."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from tuner.core.compiled import compiled
from tuner.core.errors import BuildError, Unavailable
from tuner.core.places import CUDA_SRC
from tuner.devices.cpu.runtime import FLAGS, HEADERS

SOURCE = CUDA_SRC / "runtime" / "dots.cpp"
_TYPES = ("f16", "bf16", "int8")  # in the order of the file's `Type`


@cache
def _library(features: tuple[str, ...]) -> ctypes.CDLL | None:
    """The compiled file; `None` where it cannot be compiled or loaded: these peaks are then not known."""
    try:
        library = ctypes.CDLL(str(compiled(SOURCE, FLAGS, ".so", features, HEADERS)))
    except (BuildError, Unavailable, OSError):  # the last where nothing in the cache may be executed
        return None
    ints, size = ctypes.POINTER(ctypes.c_int), ctypes.c_int64
    library.tuner_dot_rate.argtypes = [ctypes.c_int, ints, ctypes.c_int, size]
    library.tuner_dot_rate.restype = ctypes.c_double
    return library


def dot_rates(
    features: tuple[str, ...], cpus: Sequence[int], rounds: int
) -> Mapping[str, Callable[[], float]]:
    """What takes a reading of the peak, operations a second, of each type that has an instruction.

    Args:
        features: of the processor; a type without an instruction of its own is left out.
        cpus: that compute at the same time, together.
        rounds: of a reading: 12 vector instructions each, or as long a time of tiles.

    Raises:
        RuntimeError: threads cannot be had.
    """
    library = _library(features)
    if library is None:
        return {}
    return {
        dtype: partial(_rate, library, number, tuple(cpus), rounds)
        for number, dtype in enumerate(_TYPES)
        if _rate(library, number, tuple(cpus[:1]), 100) > 0
    }


def _rate(library: ctypes.CDLL, number: int, cpus: Sequence[int], rounds: int) -> float:
    rate = float(library.tuner_dot_rate(number, (ctypes.c_int * len(cpus))(*cpus), len(cpus), rounds))
    if rate < 0:
        raise RuntimeError("measurement of a peak failed: threads could not be had")
    return rate
