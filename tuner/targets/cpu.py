"""CPU targets as data: architectures, their features and limits, whether this machine has them or not."""

from collections.abc import Mapping, Sequence

from tuner.core.target import Target, TargetKind

_SSE = ("sse", "sse2")
_AVX2 = (*_SSE, "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "lzcnt", "movbe", "bmi", "bmi2", "f16c", "fma",
         "avx", "avx2")  # fmt: skip
_AVX512 = (*_AVX2, "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl")

ARCHES: Mapping[str, tuple[tuple[str, ...], int, int]] = {
    "avx512": (_AVX512, 64, 32),
    "avx2": (_AVX2, 32, 16),
    "neon": (("neon",), 16, 32),
    "aarch64": ((), 16, 32),
    "x86_64": (_SSE, 16, 16),
}
"""Architecture -> features it needs, bytes of a vector register, number of them; the widest first.

avx2 and avx512 are the levels v3 and v4 of the x86-64 psABI.
"""


def arch_of(features: Sequence[str], machine: str) -> str:
    """The widest architecture whose features are all there; `machine` is `platform.machine()`."""
    if machine in ("aarch64", "arm64"):
        return "neon" if "neon" in features else "aarch64"
    for arch in ("avx512", "avx2"):
        if set(ARCHES[arch][0]) <= set(features):
            return arch
    return "x86_64"


def vector_limits(arch: str) -> dict[str, float]:
    """Bytes of a vector register, and how many there are."""
    _, vector_bytes, registers = ARCHES[arch]
    return {"vector_bytes": vector_bytes, "vector_registers": registers}


def named_targets() -> dict[str, Target]:
    """`cpu:avx2` and the like, described with the caches of a common server core.

    32 KiB of L1 and 512 KiB of L2 a core are those of AMD Zen 2 to 4 (Software Optimization Guide for
    AMD EPYC 7003, 2.6); most other cores have at least as much, so kernels lowered for these targets run
    well on them. Eight cores and 16 GiB are a round figure, not a claim about any machine.
    """
    found = {}
    for arch, (features, _, _) in ARCHES.items():
        limits = {
            "cores": 8, "l1d_bytes": 32 * 2**10, "l2_bytes": 512 * 2**10, "l3_bytes": 32 * 2**20,
            "line_bytes": 64, "memory_bytes": 16 * 2**30, **vector_limits(arch),
        }  # fmt: skip
        target = Target(CpuTargets.name, arch, tuple(sorted(features)), limits)
        found[target.name] = target
    return found


class CpuTargets(TargetKind):
    """x86-64 and Arm by vector instruction set; what a device runs is its own processor's target."""

    name = "cpu"
    summary = "processors by vector instruction set"

    def targets(self) -> Mapping[str, Target]:
        """`cpu:x86_64` and the others of `ARCHES`."""
        return dict(reversed(named_targets().items()))

    def product(self, target: Target) -> str:
        """No product: see `named_targets`."""
        return f"a common server core with {target.arch}"
