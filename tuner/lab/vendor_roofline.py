"""The roofs of CPUs (see `least_times.py`): rates of their caches, and the memories below each level.

Rates are measured in the same run by reading arrays that fit; peaks are measured of f32, and of f16, bf16 and
int8 where the processor has an instruction for them.
"""

import ctypes
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.host_cxx import find_compiler, missing_compiler
from tuner.core.workload import Workload
from tuner.lab.least_times import Roofs, least_bytes

LEVELS = ("L1", "L2", "L3", "memory")
_SHORT_S = 0.02  # seconds of one reading; the fastest of seven counts
_READINGS = 7

# Sums of an array that stays where it fits; threads that start and end take a thousandth of a reading.
_READER = r"""
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <thread>
#include <vector>
typedef float Vec __attribute__((vector_size(64), aligned(64)));
static volatile float sink;
static void work(int64_t bytes, int64_t passes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 2 << 20, size_t(bytes))) return;
    // Of small pages the translation is what is measured: tensors of tuned programs lie in huge ones too.
    madvise(memory, size_t(bytes), MADV_HUGEPAGE);
    memset(memory, 0, size_t(bytes));
    const Vec* array = static_cast<const Vec*>(memory);
    int64_t count = bytes / 64 & ~int64_t(7);
    Vec s[8] = {};
    for (int64_t pass = 0; pass < passes; ++pass) {
        for (int64_t i = 0; i < count; i += 8)
            for (int j = 0; j < 8; ++j) s[j] += array[i + j];
        asm volatile("" ::: "memory");
    }
    for (int j = 1; j < 8; ++j) s[0] += s[j];
    sink = s[0][0];
    free(memory);
}
extern "C" double read_seconds(int threads, int64_t bytes, int64_t passes) {
    auto began = std::chrono::steady_clock::now();
    std::vector<std::thread> team;
    for (int i = 1; i < threads; ++i) team.emplace_back(work, bytes, passes);
    work(bytes, passes);
    for (auto& member : team) member.join();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}
"""


def cache_rates(limits: Mapping[str, float], threads: int, folder: Path) -> dict[str, float]:
    """Bytes a second that all threads together read out of L1, L2 and L3, each an array of its own.

    Arrays are half of L1 and L2, and at most 16 MiB of L3: what a virtual machine says of its L3 is the whole
    chip's, much of which others use.

    Args:
        limits: of the target: `l1d_bytes`, `l2_bytes`, `l3_bytes`.
        threads: that read at the same time.
        folder: for the compiled reader.

    Raises:
        TunerError: there is no compiler, or it fails.
    """
    read = _reader(folder)
    l2, l3 = int(limits["l2_bytes"]), int(limits["l3_bytes"])
    sizes = {"L1": int(limits["l1d_bytes"]) // 2, "L2": l2 // 2, "L3": min(l3 // (2 * threads), 16 * 2**20)}
    found = {}
    for level, size in sizes.items():
        if level == "L3" and size <= 2 * l2:
            size = 3 * l2
        size = max(size // 512 * 512, 512)
        passes = 1
        while (seconds := read(threads, size, passes)) < _SHORT_S:
            passes *= max(2, min(64, int(_SHORT_S / max(seconds, 1e-6))))
        fastest = min(read(threads, size, passes) for _ in range(_READINGS))
        found[level] = threads * size * passes / fastest
    return found


def _reader(folder: Path) -> "ctypes._NamedFuncPointer":
    compiler = find_compiler()
    if compiler is None:
        raise TunerError(str(missing_compiler()))
    source, made = folder / "reader.cpp", folder / "reader.so"
    source.write_text(_READER)
    flags = ["-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread"]
    built = subprocess.run([*compiler, *flags, str(source), "-o", str(made)], capture_output=True, text=True)
    if built.returncode:
        raise TunerError(f"the reader of caches does not compile: {built.stderr.strip().splitlines()[0]}")
    function = ctypes.CDLL(str(made)).read_seconds
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    function.restype = ctypes.c_double
    return function


def roofs(
    workload: Workload, limits: Mapping[str, float], peaks: Mapping[str, float], rates: Mapping[str, float],
    threads: int,
) -> Roofs:  # fmt: skip
    """The roofs of a workload.

    Args:
        workload: what is computed.
        limits: of the target: sizes of caches and of vectors.
        peaks: measured: `peak_flops_` of types, `bandwidth_bytes_per_s`.
        rates: of `cache_rates`.
        threads: that work on it; each has an L1 and an L2 of its own.
    """
    operator = registry.operator(workload.operator)
    peak = peaks.get(f"peak_flops_{workload.dtype}")
    compute = operator.flops(workload) / peak if peak else None
    # Registers, L1 and L2 of all threads, L3: the smaller memory below each of LEVELS.
    registers = 32 if limits["vector_bytes"] == 64 else 16  # AVX-512 has 32 vectors, AVX2 16
    below = (
        registers * limits["vector_bytes"] * threads,
        limits["l1d_bytes"] * threads,
        limits["l2_bytes"] * threads,
        limits["l3_bytes"],
    )
    speeds = [*(rates[level] for level in LEVELS[:3]), peaks.get("bandwidth_bytes_per_s")]
    levels = {
        level: least_bytes(workload, size) / speed
        for level, size, speed in zip(LEVELS, below, speeds, strict=True)
        if speed
    }
    return Roofs(compute, levels)
