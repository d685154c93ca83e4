"""CUDA targets: the limits of eight compute capabilities, each with one board to stand for it.

Two tables. `_ARCHITECTURES` holds what every board of a compute capability shares; its source is the CUDA
C++ Programming Guide 13.0, section "Compute Capabilities" (tables "Technical Specifications per Compute
Capability" and "Throughput of Native Arithmetic Instructions"), and for allocation units the header
`cuda_occupancy.h` of the CUDA toolkit. `_BOARDS` holds what the named board adds; its source is stated
beside it. A board other than the named one differs in SMs, clocks, L2 and memory: a device describes
itself, these numbers serve where there is none. From 9.0 on each has a second target with the letter `a`, for
which everything is built for exactly this capability. Without the letter only kernels are that need what no
other capability has, as `wgmma` (`tuner.core.compute_capability`).
"""

from collections.abc import Mapping

from tuner.core.compute_capability import compute_capability, specific_feature, specific_features
from tuner.core.errors import UnknownName
from tuner.core.target import Target, TargetKind
from tuner.targets.gpu_model.model import GpuModel

KIB, MIB, GIB = 2**10, 2**20, 2**30

# The same for all (Programming Guide, technical specifications).
_COMMON = {
    "warp_size": 32,
    "max_threads_block": 1024,
    "max_registers_thread": 255,
    "registers_block": 65_536,
    "registers_sm": 65_536,
    # cuda_occupancy.h: cudaOccRegAllocationGranularity and cudaOccSubPartitionsPerMultiprocessor.
    "register_allocation_unit": 256,  # registers of one warp are rounded up to this
    "sub_partitions_sm": 4,  # each with a quarter of the registers and a warp scheduler of its own
    "shared_bytes_block": 48 * KIB,  # without opting in; also the most that static shared memory may take
    "max_grid_x": 2**31 - 1,
    "max_grid_y": 65_535,
    "max_grid_z": 65_535,
    # Guide, "Shared Memory": 32 banks of 4 bytes, one access a bank and clock.
    "shared_bytes_clock_sm": 128,
    # Guide, throughput of 32-bit integer multiply-add: 64 results a clock and SM on all. dp4a is not
    # in that table; it issues to the same pipe (IDP beside IMAD in the SASS), so it is given the same rate.
    "dp4a_clock_sm": 64,
    # All have them; a constraint may ask.
    "wmma_f16": 1,
    "wmma_int8": 1,
    "dp4a": 1,
}

# Columns of "Technical Specifications per Compute Capability"; `fma_f32_clock_sm` is the row "32-bit
# floating-point add, multiply, multiply-add" of the throughput table, results a clock and SM.
# `shared_bytes_reserved` (a block, by the system) and `shared_allocation_unit`: cuda_occupancy.h.
_ARCHITECTURES: Mapping[str, Mapping[str, float]] = {
    "sm_75": {
        "max_threads_sm": 1024, "max_warps_sm": 32, "max_blocks_sm": 16,
        "shared_bytes_sm": 64 * KIB, "shared_bytes_block_optin": 64 * KIB,
        "shared_bytes_reserved": 0, "shared_allocation_unit": 256,
        "fma_f32_clock_sm": 64, "cp_async": 0,
    },
    "sm_80": {
        "max_threads_sm": 2048, "max_warps_sm": 64, "max_blocks_sm": 32,
        "shared_bytes_sm": 164 * KIB, "shared_bytes_block_optin": 163 * KIB,
        "shared_bytes_reserved": KIB, "shared_allocation_unit": 128,
        "fma_f32_clock_sm": 64, "cp_async": 1,
    },
    "sm_86": {
        "max_threads_sm": 1536, "max_warps_sm": 48, "max_blocks_sm": 16,
        "shared_bytes_sm": 100 * KIB, "shared_bytes_block_optin": 99 * KIB,
        "shared_bytes_reserved": KIB, "shared_allocation_unit": 128,
        "fma_f32_clock_sm": 128, "cp_async": 1,
    },
    "sm_89": {
        "max_threads_sm": 1536, "max_warps_sm": 48, "max_blocks_sm": 24,
        "shared_bytes_sm": 100 * KIB, "shared_bytes_block_optin": 99 * KIB,
        "shared_bytes_reserved": KIB, "shared_allocation_unit": 128,
        "fma_f32_clock_sm": 128, "cp_async": 1,
    },
    # Share of the tensor cores' rate that mma.sync reaches beside wgmma, 62.9% on average: Luo et al.,
    # Benchmarking and dissecting the NVIDIA Hopper GPU architecture (2024).
    "sm_90": {
        "mma_sync_share": 0.629,
        "max_threads_sm": 2048, "max_warps_sm": 64, "max_blocks_sm": 32,
        "shared_bytes_sm": 228 * KIB, "shared_bytes_block_optin": 227 * KIB,
        "shared_bytes_reserved": KIB, "shared_allocation_unit": 128,
        "fma_f32_clock_sm": 128, "cp_async": 1,
    },
    "sm_100": {
        "max_threads_sm": 2048, "max_warps_sm": 64, "max_blocks_sm": 32,
        "shared_bytes_sm": 228 * KIB, "shared_bytes_block_optin": 227 * KIB,
        "shared_bytes_reserved": KIB, "shared_allocation_unit": 128,
        "fma_f32_clock_sm": 128, "cp_async": 1,
    },
    "sm_103": {
        "max_threads_sm": 2048, "max_warps_sm": 64, "max_blocks_sm": 32,
        "shared_bytes_sm": 228 * KIB, "shared_bytes_block_optin": 227 * KIB,
        "shared_bytes_reserved": KIB, "shared_allocation_unit": 128,
        "fma_f32_clock_sm": 128, "cp_async": 1,
    },
    "sm_120": {
        "max_threads_sm": 1536, "max_warps_sm": 48, "max_blocks_sm": 24,
        "shared_bytes_sm": 100 * KIB, "shared_bytes_block_optin": 99 * KIB,
        "shared_bytes_reserved": KIB, "shared_allocation_unit": 128,
        "fma_f32_clock_sm": 128, "cp_async": 1,
    },
}  # fmt: skip

# `peak_flops_<dtype>`: dense, a multiply-add counts as two; f16 with f32 accumulation and int8 on the
# tensor cores, fp8 with f32 accumulation where they have it. `clock_hz` is the boost clock those peaks are
# stated at.
_BOARDS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    # NVIDIA Turing GPU Architecture white paper (WP-09183-001), table 1, RTX 2080 Ti Founders Edition.
    # f32: 68 SMs * 64 FMA * 2 * 1.635 GHz = 14.2e12. f16 with f32 accumulation runs at half the rate of
    # f16 accumulation on GeForce boards.
    "sm_75": ("GeForce RTX 2080 Ti", {
        "sm_count": 68, "clock_hz": 1.635e9, "l2_bytes": 5632 * KIB,
        "memory_bytes": 11 * GIB, "bandwidth_bytes_per_s": 616e9,
        "peak_flops_f32": 14.2e12, "peak_flops_f16": 56.9e12, "peak_flops_int8": 227.7e12,
    }),
    # NVIDIA A100 Tensor Core GPU Architecture white paper (2020), tables 1 and 4: A100 SXM4 40 GB.
    # f16: 108 SMs * 4 tensor cores * 256 FMA * 2 * 1.41 GHz = 312e12.
    "sm_80": ("A100-SXM4-40GB", {
        "sm_count": 108, "clock_hz": 1.41e9, "l2_bytes": 40 * MIB,
        "memory_bytes": 40 * GIB, "bandwidth_bytes_per_s": 1555e9,
        "peak_flops_f32": 19.5e12, "peak_flops_f16": 312e12, "peak_flops_int8": 624e12,
    }),
    # NVIDIA Ampere GA102 GPU Architecture white paper (V2), table "comparison of GeForce RTX 3090".
    # f16 with f32 accumulation at half rate, as on all GeForce boards.
    "sm_86": ("GeForce RTX 3090", {
        "sm_count": 82, "clock_hz": 1.695e9, "l2_bytes": 6 * MIB,
        "memory_bytes": 24 * GIB, "bandwidth_bytes_per_s": 936e9,
        "peak_flops_f32": 35.6e12, "peak_flops_f16": 71e12, "peak_flops_int8": 284e12,
    }),
    # NVIDIA Ada GPU Architecture white paper (V2), appendix A, table "GeForce RTX 4090".
    "sm_89": ("GeForce RTX 4090", {
        "sm_count": 128, "clock_hz": 2.52e9, "l2_bytes": 72 * MIB,
        "memory_bytes": 24 * GIB, "bandwidth_bytes_per_s": 1008e9,
        "peak_flops_f32": 82.6e12, "peak_flops_f16": 165.2e12, "peak_flops_int8": 660.6e12,
        "peak_flops_fp8": 330.3e12,
    }),
    # NVIDIA H100 Tensor Core GPU Architecture white paper (V1.04), tables 1 to 3: H100 SXM5 80 GB. Two boost
    # clocks: 1.98 GHz for f32 (132 * 128 * 2 * 1.98 GHz = 66.9e12), 1.83 GHz for tensor cores
    # (132 * 4 * 512 * 2 * 1.83 GHz = 989e12, which only wgmma reaches: wmma, as mma.sync, does not).
    "sm_90": ("H100-SXM5-80GB", {
        "sm_count": 132, "clock_hz": 1.98e9, "l2_bytes": 50 * MIB,
        "memory_bytes": 80 * GIB, "bandwidth_bytes_per_s": 3352e9,
        "peak_flops_f32": 66.9e12, "peak_flops_f16": 989.4e12, "peak_flops_int8": 1978.9e12,
        "peak_flops_fp8": 1978.9e12,
    }),
    # NVIDIA Blackwell architecture technical brief (2025), column HGX B200, figures of one GPU:
    # f32 75e12, f16 4.5e15 and int8 9e15 sparse (halved here to dense), 180 GB, 7.7 TB/s. SMs and L2 as the
    # board's device query prints them. The clock is what the f32 peak implies: 75e12 / (148 * 128 * 2) =
    # 1.98 GHz. The tensor peaks are those of tcgen05; wmma, as mma.sync, does not reach them.
    "sm_100": ("B200", {
        "sm_count": 148, "clock_hz": 1.98e9, "l2_bytes": 126 * MIB,
        "memory_bytes": 180e9, "bandwidth_bytes_per_s": 7.7e12,
        "peak_flops_f32": 75e12, "peak_flops_f16": 2250e12, "peak_flops_int8": 4500e12,
        "peak_flops_fp8": 4500e12,
    }),
    # NVIDIA HGX platform page (2025), column HGX B300, an eighth of what eight GPUs have, sparse figures
    # halved: f32 75e12, f16 2.25e15, fp8 4.5e15, int8 0.15e15 (integer tensor cores were cut for FP4's sake).
    # SMs, L2 and clock as of the B200, whose f32 peak it has; 270 GB, 7.7 TB/s.
    "sm_103": ("B300", {
        "sm_count": 148, "clock_hz": 1.98e9, "l2_bytes": 126 * MIB,
        "memory_bytes": 270e9, "bandwidth_bytes_per_s": 7.7e12,
        "peak_flops_f32": 75e12, "peak_flops_f16": 2250e12, "peak_flops_int8": 150e12,
        "peak_flops_fp8": 4500e12,
    }),
    # NVIDIA RTX Blackwell GPU Architecture white paper (V1.1), appendix A, table "GeForce RTX 5090". f32:
    # 170 * 128 * 2 * 2.407 GHz = 104.8e12. f16 and fp8 with f32 accumulation at half rate, as on all GeForce
    # boards.
    "sm_120": ("GeForce RTX 5090", {
        "sm_count": 170, "clock_hz": 2.407e9, "l2_bytes": 96 * MIB,
        "memory_bytes": 32 * GIB, "bandwidth_bytes_per_s": 1792e9,
        "peak_flops_f32": 104.8e12, "peak_flops_f16": 209.5e12, "peak_flops_int8": 838e12,
        "peak_flops_fp8": 419e12,
    }),
}  # fmt: skip

# From which compute capability on a board has it (PTX ISA 8.7, "Target ISA Notes" of `mma` with fp8 and of
# the cluster directives).
_SINCE = {"fp8": 89, "clusters": 90}
_FIRST_WITH_LETTER = 90
_FLAGS = ("clusters", "cp_async", "dp4a", "fp8", "tcgen05", "wgmma", "wmma_f16", "wmma_int8")


def names() -> tuple[str, ...]:
    """The targets there are: `cuda:sm_75`, ..., those with a letter behind those without."""
    lettered = [
        f"{arch}a" for arch in _ARCHITECTURES if compute_capability(arch).number >= _FIRST_WITH_LETTER
    ]
    return tuple(f"cuda:{arch}" for arch in (*_ARCHITECTURES, *lettered))


def board(arch: str) -> str:
    """The board whose figures stand for an architecture such as `sm_80` or `sm_90a`."""
    return _BOARDS[arch.removesuffix("a")][0]


def target(name: str) -> Target:
    """A CUDA target by name: `cuda:sm_90`, `cuda:sm_90a`, or `sm_90` alone.

    Raises:
        UnknownName: there is no such target; lists those there are.
    """
    arch = name.removeprefix("cuda:")
    if f"cuda:{arch}" not in names():
        raise UnknownName("target", name, list(names()))
    plain, number = arch.removesuffix("a"), compute_capability(arch).number
    limits = {**_COMMON, **_ARCHITECTURES[plain], **_BOARDS[plain][1]}
    limits.update({flag: int(number >= first) for flag, first in _SINCE.items()})
    limits.update({flag: int(specific_feature(arch) == flag) for flag in specific_features()})
    if limits["cp_async"]:
        # From Ampere on tensor cores know bfloat16, at the rate of f16, and tf32, at half of it (ibid.).
        limits.update(peak_flops_bf16=limits["peak_flops_f16"], peak_flops_tf32=limits["peak_flops_f16"] / 2)
    if limits["fp8"]:
        limits.update(dict.fromkeys(("peak_flops_e4m3", "peak_flops_e5m2"), limits.pop("peak_flops_fp8")))
    features = tuple(flag for flag in _FLAGS if limits[flag])
    return Target(CudaTargets.name, arch, features, limits, GpuModel(), launched=True)


class CudaTargets(TargetKind):
    """NVIDIA GPUs from Turing to Blackwell, with and without the letter of code for one capability."""

    name = "cuda"
    summary = "NVIDIA GPUs by compute capability"

    def targets(self) -> Mapping[str, Target]:
        """`cuda:sm_75` to `cuda:sm_120`, then `cuda:sm_90a` to `cuda:sm_120a`."""
        return {name: target(name) for name in names()}

    def default(self) -> Target:
        """`cuda:sm_80`: what it compiles to runs on the boards after it of the same major number too."""
        return target("sm_80")

    def product(self, target: Target) -> str:
        """The board whose figures stand for the architecture."""
        return board(target.arch)

    def unlisted(self, arch: str) -> Target:
        """Some other compute capability: launched as all are, with no limits and no model."""
        return Target(self.name, arch, launched=True)
