"""The least time that a workload can take here: by arithmetic, by each cache level, by memory.

Below each level lies a smaller, faster memory of S elements, and whatever the blocking, a product of
matrices moves at least 2*m*n*k/sqrt(S) elements across that boundary (Hong and Kung 1981; Smith, Lowery,
Langou and van de Geijn, A tight I/O lower bound for matrix multiplication, 2019, who give 2*m*n*k/sqrt(S) -
2S). An image under a filter of r by s taps is used r*s/stride^2 times, which takes a factor of at most its
square root off (Chen, Demmel et al., Communication-optimal convolutional neural nets, 2018). Never less
than every tensor once, where they do not all fit in the smaller memory: calls are repeated on warm caches.
Of attention only the latter is counted. Rates are measured in the same run by reading arrays that fit;
peaks are measured of f32, and of f16, bf16 and int8 where the processor has an instruction for them.
"""

import ctypes
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.host_cxx import find_compiler, missing_compiler
from tuner.core.workload import Workload

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


@dataclass(frozen=True)
class Roofs:
    """What a workload costs at least, in seconds.

    Attributes:
        compute: by the measured peak of the type; `None` where it has none.
        levels: by those of `LEVELS` whose rate was measured: what has to come out of it, over that rate.
    """

    compute: float | None
    levels: Mapping[str, float]

    @property
    def binding(self) -> tuple[str, float]:
        """The highest roof: its name and seconds."""
        found = {**self.levels, **({"compute": self.compute} if self.compute else {})}
        name = max(found, key=lambda each: found[each])
        return name, found[name]


def holds(roofs: Roofs, measured_s: float) -> str:
    """What holds a measured time, in words: the highest roof where it is near, else that none is."""
    name, least = roofs.binding
    share = least / measured_s
    if share > 1.05:
        fewer = (
            "fewer operations than the definition counts (Winograd), tiles in place of FMA, or "
            if name == "compute"
            else ""
        )
        return f"beyond {name} ({share:.0%}): {fewer}a rate that was measured too low"
    if share >= 0.85:
        return f"{name}: {share:.0%} of that roof"
    if share >= 0.4:
        return f"mostly {name}: {share:.0%} of that roof, the rest is blocking, packing and edges"
    if roofs.compute is None:
        return f"neither caches nor memory ({name}: {share:.0%}); the peak of this type is not measured"
    return f"no roof: {share:.0%} of {name}; starting threads, packing, edges and latency"


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
        level: _least_bytes(workload, size) / speed
        for level, size, speed in zip(LEVELS, below, speeds, strict=True)
        if speed
    }
    return Roofs(compute, levels)


def _least_bytes(workload: Workload, size: float) -> float:
    """Bytes that at least cross into a memory of so many bytes in each of many calls."""
    operator = registry.operator(workload.operator)
    compulsory = float(operator.min_bytes(workload))
    if compulsory <= size:
        return 0.0
    width = workload.element_bytes
    elements, products = size / width, operator.flops(workload) / 2
    if "kv" in dict(workload.dims):
        return compulsory  # attention: two products through a softmax, which the bound is not for
    stride = int(workload.option("stride", 1))
    taps = dict(workload.dims).get("r", 1) * dict(workload.dims).get("s", 1)
    uses = max(1.0, taps / stride**2)
    moved = 2 * products / math.sqrt(elements * uses) - 2 * elements
    return max(compulsory, width * moved)


def geometric_mean(values: Sequence[float]) -> float | None:
    """`None` of none."""
    return math.exp(sum(math.log(value) for value in values) / len(values)) if values else None
