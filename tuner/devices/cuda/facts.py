"""The CUDA devices of this machine as plain data: what CuPy and the driver say of them, without a context."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec

from tuner.core.compute_capability import compute_capability, specific_feature
from tuner.core.target import Target
from tuner.devices.cuda.driver import LEAST_DRIVER, too_old
from tuner.targets import cuda as targets

# Attribute of `cudaDeviceAttr`, as CuPy names it -> limit of a target, and what one unit of it is.
_ATTRIBUTES: Mapping[str, tuple[str, float]] = {
    "WarpSize": ("warp_size", 1),
    "MaxThreadsPerBlock": ("max_threads_block", 1),
    "MaxThreadsPerMultiProcessor": ("max_threads_sm", 1),
    "MaxBlocksPerMultiprocessor": ("max_blocks_sm", 1),
    "MaxRegistersPerBlock": ("registers_block", 1),
    "MaxRegistersPerMultiprocessor": ("registers_sm", 1),
    "MaxSharedMemoryPerBlock": ("shared_bytes_block", 1),
    "MaxSharedMemoryPerBlockOptin": ("shared_bytes_block_optin", 1),
    "MaxSharedMemoryPerMultiprocessor": ("shared_bytes_sm", 1),
    "MaxGridDimX": ("max_grid_x", 1),
    "MaxGridDimY": ("max_grid_y", 1),
    "MaxGridDimZ": ("max_grid_z", 1),
    "MultiProcessorCount": ("sm_count", 1),
    "L2CacheSize": ("l2_bytes", 1),
    "ClockRate": ("clock_hz", 1e3),  # kHz
}

# Of `cudaComputeMode` (driver_types.h).
PROHIBITED, EXCLUSIVE_PROCESS = 2, 3


@dataclass(frozen=True)
class CudaFacts:
    """One device.

    Attributes:
        index: as CUDA counts them in this process.
        name: of the product.
        capability: major and minor.
        uuid: of this very board; no part of any identity.
        pci: bus id, by which NVML finds it.
        driver: highest CUDA version the driver serves, e.g. 13000.
        memory_bytes: of the device.
        compute_mode: who may use it: `EXCLUSIVE_PROCESS`, `PROHIBITED`, or anybody.
        limits: by the names of `tuner.targets.cuda`, as far as the driver states them.
    """

    index: int
    name: str
    capability: tuple[int, int]
    uuid: str
    pci: str
    driver: int
    memory_bytes: int
    limits: Mapping[str, float] = field(default_factory=dict)
    compute_mode: int = 0


def missing() -> str | None:
    """Why there can be no CUDA device here, found without loading CuPy; `None` where there may be one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1)"
    if find_spec("cupy") is None:
        return "CuPy is not installed: pip install 'kernel-tuner-lab[cuda]' (a driver before 580: [cuda12])"
    return None


def needs() -> list[tuple[str, str | None]]:
    """What a GPU needs beside itself, and how to get what is not here; nothing of it is loaded."""

    def package(module: str, what: str) -> str | None:
        try:
            here = find_spec(module) is not None
        except ImportError:  # its parent is not there
            here = False
        return None if here else f"pip install 'kernel-tuner-lab[{what}]' (a driver before 580: [{what}12])"

    try:
        ctypes.CDLL("libcuda.so.1")
        driver = None
    except OSError:
        driver = f"install {LEAST_DRIVER[13]} or later, or {LEAST_DRIVER[12]} with the extra cuda12"
    return [
        ("an NVIDIA driver (libcuda.so.1)", driver),
        ("CuPy, which launches and times", package("cupy", "cuda")),
        ("NVRTC through cuda-core, which compiles CUDA C++", package("cuda.core", "cuda")),
        ("NVML's bindings, for clocks and throttling", package("pynvml", "cuda")),
    ]


@cache
def devices() -> tuple[tuple[CudaFacts, ...], str | None]:
    """All devices CUDA shows this process, and why there are none.

    No context is made: processes that are started later may still use the GPU as they like.
    """
    reason = missing()
    if reason:
        return (), reason
    try:
        from cupy.cuda import runtime

        # Before anything else is asked: CUDA itself says no more than that the driver is insufficient.
        if reason := too_old(int(runtime.driverGetVersion())):
            return (), reason
        found = tuple(_facts(runtime, index) for index in range(runtime.getDeviceCount()))
    except (ImportError, RuntimeError) as error:
        return (), f"CUDA cannot be used: {str(error).splitlines()[0]}"
    return found, None if found else "the NVIDIA driver shows no GPU"


def _facts(runtime: object, index: int) -> CudaFacts:
    import typing

    cuda = typing.cast(typing.Any, runtime)

    def attribute(name: str) -> int:
        try:
            return int(cuda.deviceGetAttribute(getattr(cuda, f"cudaDevAttr{name}"), index))
        except (AttributeError, RuntimeError):
            return 0  # a driver or CuPy that does not know it

    properties = cuda.getDeviceProperties(index)
    limits = {limit: attribute(name) * unit for name, (limit, unit) in _ATTRIBUTES.items()}
    # Double data rate: two transfers a clock. 2,619,000 kHz * 2 * 5120 bits / 8 = 3352 GB/s, an H100 SXM5.
    limits["bandwidth_bytes_per_s"] = (
        attribute("MemoryClockRate") * 1e3 * 2 * attribute("GlobalMemoryBusWidth") / 8
    )
    limits["max_warps_sm"] = limits["max_threads_sm"] // max(1, limits["warp_size"])
    name, uuid = properties["name"], properties.get("uuid", b"")
    return CudaFacts(
        index, name.decode() if isinstance(name, bytes) else str(name),
        (int(properties["major"]), int(properties["minor"])),
        uuid.hex() if isinstance(uuid, bytes) else str(uuid), str(cuda.deviceGetPCIBusId(index)),
        int(cuda.driverGetVersion()), int(properties["totalGlobalMem"]),
        # Counts and sizes stay whole numbers, as in described targets: kernels' expressions become macros.
        {limit: value for limit, value in limits.items() if value > 0}, attribute("ComputeMode"),
    )  # fmt: skip


def arch_of_capability(capability: tuple[int, int]) -> str | None:
    """The target whose machine code a device runs, without a letter; `None` where there is none.

    Of those that run the nearest: 8.7 runs `sm_86`, 12.1 runs `sm_120`, 11.0 none that is known here.
    """
    known = (compute_capability(name.removeprefix("cuda:")) for name in targets.names())
    fitting = [each for each in known if not each.letter and each.runs_on(*capability)]
    return max(fitting, key=lambda each: each.number).arch if fitting else None


def archs_of(capability: tuple[int, int]) -> tuple[str, ...]:
    """The targets that a device may be opened as: the nearest without a letter, then those with one."""
    known = [compute_capability(name.removeprefix("cuda:")) for name in targets.names()]
    plain = arch_of_capability(capability)
    lettered = (each.arch for each in known if each.letter and each.runs_on(*capability))
    return (*([plain] if plain else []), *lettered)


def target_of(facts: CudaFacts, arch: str | None = None) -> Target:
    """The target of a device: its architecture's limits, with this board's own numbers.

    Peak rates of the board that stands for the architecture are scaled by SMs and clock. What runs on
    one capability only (`wgmma` on 9.0) a device of a later minor number lacks.

    Args:
        facts: of the device.
        arch: one of `archs_of` its capability; the first of them by default.

    Raises:
        ValueError: there is no target for its compute capability, or this one does not run on it.
    """
    known = archs_of(facts.capability)
    if not known:
        raise ValueError(unsupported(facts))
    if arch is not None and arch not in known:
        raise ValueError(f"GPU {facts.index} ({facts.name}) runs {', '.join(known)}, not {arch}")
    base = targets.target(arch or known[0])
    limits = {**base.limits, **facts.limits, "memory_bytes": facts.memory_bytes}
    faster = limits["sm_count"] * limits["clock_hz"] / (base.limit("sm_count") * base.limit("clock_hz"))
    limits.update({n: value * faster for n, value in base.limits.items() if n.startswith("peak_flops_")})
    specific, number = specific_feature(base.arch), compute_capability(base.arch).number
    if specific is None or number == 10 * facts.capability[0] + facts.capability[1]:
        return replace(base, limits=limits)
    features = tuple(feature for feature in base.features if feature != specific)
    return replace(base, limits={**limits, specific: 0}, features=features)


def unusable(facts: CudaFacts) -> str | None:
    """Why the lab cannot use a device, one line; `None` where it can."""
    if facts.compute_mode == PROHIBITED:
        return (
            f"GPU {facts.index} ({facts.name}) is in compute mode prohibited: "
            f"nvidia-smi -i {facts.index} -c DEFAULT opens it"
        )
    return None if arch_of_capability(facts.capability) else unsupported(facts)


def unsupported(facts: CudaFacts) -> str:
    """One line on a device that no target stands for."""
    major, minor = facts.capability
    return (
        f"GPU {facts.index} ({facts.name}) has compute capability {major}.{minor}, for which there is no "
        f"target; known: {', '.join(targets.names())}"
    )
