"""The compiled helper of the CPU device (`cuda_src/runtime/cpu.cpp`): built once into a cache folder."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from tuner.core.compiled import already_compiled, compiled
from tuner.core.places import CUDA_SRC

SOURCE = CUDA_SRC / "runtime" / "cpu.cpp"
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-pthread", "-ffp-contract=fast", "-fvisibility=hidden")
"""Of what measures the machine."""
HEADERS = (CUDA_SRC / "runtime" / "team.h",)


def library_path(features: tuple[str, ...]) -> Path:
    """The compiled helper for these features; see `compiled`.

    Raises:
        Unavailable: there is no C++ compiler and none has compiled it before.
        BuildError: it does not compile.
    """
    return compiled(SOURCE, FLAGS, ".so", features, HEADERS)


def is_cached(features: tuple[str, ...]) -> bool:
    """Whether the helper can be loaded where there is no compiler."""
    return already_compiled(SOURCE, FLAGS, ".so", features, HEADERS) is not None


class Runtime:
    """The functions of the helper, typed; see the C++ file for what each does."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        ints, pointer, size = ctypes.POINTER(ctypes.c_int), ctypes.c_void_p, ctypes.c_int64
        self.time = library.tuner_time
        self.time.argtypes = [pointer, pointer, size, pointer]
        self.time.restype = ctypes.c_int
        self.time_changing = library.tuner_time_changing
        self.time_changing.argtypes = [pointer, pointer, size, pointer, size, pointer, size, size, pointer]
        self.time_changing.restype = ctypes.c_int
        self._calibrate = library.tuner_calibrate
        self._calibrate.argtypes, self._calibrate.restype = [ints, ctypes.c_int, size], ctypes.c_double
        self._flops = library.tuner_fma_flops
        self._flops.argtypes, self._flops.restype = [size], ctypes.c_double
        self._bandwidths = library.tuner_bandwidths
        self._bandwidths.argtypes = [ints, ctypes.c_int, size, ctypes.c_int, ctypes.POINTER(ctypes.c_double)]
        self._bandwidths.restype = ctypes.c_int
        self._flush = library.tuner_flush
        self._flush.argtypes, self._flush.restype = [ints, ctypes.c_int, size], ctypes.c_int
        self._pass = library.tuner_pass
        self._pass.argtypes = [ints, ctypes.c_int, size, pointer, pointer, ctypes.c_int]
        self._pass.restype = ctypes.c_int

    @staticmethod
    def _cpus(cpus: Sequence[int]) -> ctypes.Array[ctypes.c_int]:
        return (ctypes.c_int * len(cpus))(*cpus)

    def calibrate(self, cpus: Sequence[int], iterations: int) -> float:
        """Seconds of FMA chains on every CPU at once, the slowest one's; `RuntimeError` if no threads."""
        return self._checked(self._calibrate(self._cpus(cpus), len(cpus), iterations), "calibration")

    def fma_flops(self, cpus: Sequence[int], iterations: int) -> float:
        """FLOP/s of one calibration run, all CPUs together."""
        seconds = self.calibrate(cpus, iterations)
        return float(self._flops(iterations)) * len(cpus) / seconds

    def bandwidths(self, cpus: Sequence[int], array_bytes: int, passes: int) -> tuple[float, float, float]:
        """Bytes a second of reading, copying and a triad, each the fastest of up to 8 passes.

        Args: `array_bytes` of each of a thread's three arrays, which are made once.
        """
        rates = (ctypes.c_double * 3)()
        status = self._bandwidths(self._cpus(cpus), len(cpus), array_bytes, passes, rates)
        self._checked(-1.0 if status else 0.0, "bandwidth measurement")
        return rates[0], rates[1], rates[2]

    def flush(self, cpus: Sequence[int], bytes_each: int) -> None:
        """Every CPU walks through so many bytes of its own."""
        if self._flush(self._cpus(cpus), len(cpus), bytes_each) != 0:
            raise RuntimeError(f"cache eviction failed: no memory for {len(cpus)} x {bytes_each} bytes")

    def pass_by(self, cpus: Sequence[int], nbytes: int, fresh: Sequence[np.ndarray]) -> None:
        """All CPUs together read so many bytes of other data, then write `fresh` arrays as they are."""
        addresses = np.array([array.ctypes.data for array in fresh], np.uintp)
        sizes = np.array([array.nbytes for array in fresh], np.int64)
        status = self._pass(
            self._cpus(cpus), len(cpus), nbytes, addresses.ctypes.data, sizes.ctypes.data, len(fresh)
        )
        if status != 0:
            raise RuntimeError(f"no memory for {nbytes} bytes that pass between two calls")

    @staticmethod
    def _checked(value: float, what: str) -> float:
        if value < 0:
            raise RuntimeError(f"{what} failed: threads or memory could not be had")
        return float(value)


@cache
def runtime(features: tuple[str, ...]) -> Runtime:
    """The helper, loaded once in a process."""
    return Runtime(library_path(features))
