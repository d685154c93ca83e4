"""NVIDIA GPUs, through CuPy: cubins of any compiler, and library calls, timed with CUDA events."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

from tuner.core.artifact import Artifact
from tuner.core.descendants import descendants_of
from tuner.core.device import Device, Executable
from tuner.core.digest import digest
from tuner.core.protocol import Protocol
from tuner.core.resident import Resident
from tuner.core.target import Target
from tuner.devices.cuda import facts, state
from tuner.devices.cuda.context import GpuContext, open_context

__all__ = ["CudaDevice"]

# A round is 2 blocks * 512 threads * 64 FMA an SM, at 64 or 128 a clock: 2000 last 0.6 or 1.2 ms at 1.7 GHz.
CALIBRATION_ROUNDS = 2_000
PEAK_ROUNDS, REPEATS = 20_000, 5
# CUDA events resolve 0.5 us, 0.2% of this.
_SAMPLE_S = 250e-6
# Of its memory what a workload may take: the context, the code and the eviction buffer need some.
_MEMORY_SHARE = 0.9


class CudaDevice(Device):
    """One GPU.

    Plain data until `prepare`: it is made in the process that asks for it and pickled into the children that
    use the GPU. None of the processes that fork opens it, since CUDA does not survive a fork.

    Args:
        found: what the driver says of it.
        arch: what is built for it, `sm_90a` for example; by default its target without a letter.

    Raises:
        ValueError: no target stands for its compute capability, or it does not run this one.
    """

    name = "cuda"
    target_kind = "cuda"
    noun = "GPU"
    # Opening a context takes a fifth of a second or more, and a kernel cannot reach its process's memory. It
    # can break the context, for good, and that ends the child: see `Workshop`.
    trials_a_child: ClassVar[int] = 64
    kernels_in_process: ClassVar[bool] = False
    # It is not disturbed by what the CPU compiles.
    shares_cpu: ClassVar[bool] = False
    # A context reserves address space for all memory of host and GPUs, and the driver keeps what it compiled
    # in files of its own.
    limits_memory: ClassVar[bool] = False
    # A context with its code takes 300 to 600 MB on large boards, cuBLAS' and cuDNN's workspaces some more.
    context_bytes: ClassVar[float] = 2**30
    child_file_bytes: ClassVar[int] = 2**30

    def __init__(self, found: facts.CudaFacts, arch: str | None = None) -> None:
        self._facts = found
        self._target = facts.target_of(found, arch)

    @classmethod
    def discover(cls) -> Sequence["CudaDevice"]:
        """The GPUs that CUDA shows and a target stands for, in CUDA's order."""
        found, _ = facts.devices()
        return [cls(each) for each in found if facts.unusable(each) is None]

    @classmethod
    def unavailable(cls) -> str | None:
        """No driver, no CuPy, no GPU, or only GPUs without a target or closed to everybody."""
        found, reason = facts.devices()
        if found and not cls.discover():
            return facts.unusable(found[0])
        return reason

    @classmethod
    def needs(cls) -> Sequence[tuple[str, str | None]]:
        """A driver, CuPy, the compiler, NVML."""
        return facts.needs()

    @property
    def index(self) -> int:
        """As CUDA counts: `cuda:0`."""
        return self._facts.index

    @property
    def target(self) -> Target:
        """The architecture's limits with this board's SMs, clocks, caches and memory."""
        return self._target

    def runs(self, target: str) -> bool:
        """Its own target, and that of its compute capability with a letter."""
        kind, _, arch = target.partition(":")
        return kind == self.target_kind and arch in facts.archs_of(self._facts.capability)

    def opened_as(self, target: str) -> "CudaDevice":
        """The same board, for which architecture-specific code is built: of 9.0 as `cuda:sm_90a`."""
        return CudaDevice(self._facts, target.partition(":")[2])

    @property
    def own_memory_bytes(self) -> float:
        """Nine tenths of the board's."""
        return _MEMORY_SHARE * self._target.limit("memory_bytes")

    def own_memory_free_bytes(self) -> float:
        """As much of that as NVML says is free: other processes may hold some."""
        free = state.free_bytes(self._facts.pci)
        return self.own_memory_bytes if free is None else min(self.own_memory_bytes, _MEMORY_SHARE * free)

    @property
    def exclusive(self) -> bool:
        """In exclusive-process compute mode a second context is refused."""
        return self._facts.compute_mode == facts.EXCLUSIVE_PROCESS

    def default_protocol(self) -> Protocol:
        """One thread, and samples of 250 us at least."""
        return Protocol(threads=self.default_threads, min_sample_s=_SAMPLE_S)

    @property
    def fingerprint(self) -> str:
        """Product, capability, SMs, clock, caches, memory and driver; two boards of a kind are one device."""
        f = self._facts
        return "cuda-" + digest(
            [
                f.name,
                list(f.capability),
                f.memory_bytes,
                sorted((limit, float(value)) for limit, value in f.limits.items()),
                f.driver,
            ]
        )

    def facts(self) -> Mapping[str, Any]:
        """Name, uuid, driver, and the numbers of the target that are this board's own."""
        f = self._facts
        major, minor = f.capability
        return {
            "model": f.name, "index": f.index, "arch": self._target.arch,
            "compute_capability": f"{major}.{minor}", "uuid": f.uuid, "pci": f.pci,
            "driver_cuda": f"{f.driver // 1000}.{f.driver % 1000 // 10}",
            "memory_bytes": f.memory_bytes, **dict(f.limits),
        }  # fmt: skip

    def remarks(self, threads: int) -> Sequence[str]:
        """Other processes that compute on it."""
        own = {os.getpid(), *descendants_of(os.getpid())}
        line = state.other_processes(self._facts.pci, own)
        return (line,) if line else ()

    @property
    def preload(self) -> tuple[str, ...]:
        """CuPy: importing it opens no device."""
        return ("cupy",)

    @property
    def preload_of_libraries(self) -> tuple[str, ...]:
        """PyTorch, where it is installed: four seconds, in each of nine processes of each final."""
        return ("torch",) if find_spec("torch") else ()

    @property
    def _context(self) -> GpuContext:
        limit = self._target.limit
        context = open_context(self.index, int(limit("sm_count")), int(limit("l2_bytes")))
        context.read_clock = context.read_clock or partial(state.sm_clock_hz, self._facts.pci)
        return context

    def resident(self, array: Any) -> Resident | None:
        """Arrays of CuPy and torch, and of `__cuda_array_interface__` or DLPack, on any GPU."""
        from tuner.devices.cuda.resident import resident

        return resident(array)

    @contextmanager
    def within(self) -> Iterator[None]:
        """This GPU is the thread's current device."""
        from cupy.cuda import runtime

        before = int(runtime.getDevice())
        runtime.setDevice(self.index)
        try:
            yield
        finally:
            if before != self.index:
                runtime.setDevice(before)

    def prepare(self, threads: int) -> None:
        """Opens the GPU in this process; `threads` has no meaning here."""
        assert self._context

    def load(self, artifact: Artifact) -> Executable:
        """Loads a cubin, or a library call.

        Raises:
            RuntimeError: it cannot be loaded.
        """
        from tuner.devices.cuda.executable import Cubin, LibraryCall

        if artifact.format == "cubin":
            return Cubin(artifact, self._context, self._target)
        if artifact.format == "callable":
            return LibraryCall(artifact, self._context)
        raise RuntimeError(f"a GPU cannot load an artifact of format {artifact.format}")

    def calibrate(self) -> float:
        """Seconds of 2000 rounds of multiply-adds on all SMs, about 1 ms: follows the SM clock."""
        return self._context.fma(CALIBRATION_ROUNDS)[0]

    def calibration_kind(self, flops: float, nbytes: float, dtype: str) -> str:
        """`memory` where the bytes take longer than the operations at the target's rates; else `tensor` for
        types that tensor cores multiply, and the usual kernel of f32 multiply-adds."""
        limits = self._target.limits
        rate, plain = (limits.get(f"peak_flops_{name}", 0.0) for name in (dtype, "f32"))
        if nbytes * (rate or plain) > flops * limits.get("bandwidth_bytes_per_s", math.inf):
            return "memory"
        return "tensor" if rate > plain else ""

    def calibrate_as(self, kind: str) -> float:
        """A copy of 8 times the L2 cache, 2000 rounds on the tensor cores, or `calibrate`; clock settled."""
        self._context.settle(CALIBRATION_ROUNDS)
        if kind == "memory":
            return self._context.copy_seconds(1)
        return self._context.mma(CALIBRATION_ROUNDS) if kind == "tensor" else self.calibrate()

    def held(self, protocol: Protocol) -> AbstractContextManager[Any]:
        """Held by NVML, which lets root do that; see `tuner.devices.cuda.clocks`."""
        if not protocol.clock_mhz:
            return nullcontext()
        from tuner.devices.cuda import clocks

        return clocks.held(self._facts.pci, self.index, protocol.clock_mhz)

    def flush(self) -> None:
        """Queues a write of twice the L2 cache."""
        self._context.evict()

    def state(self) -> Mapping[str, float]:
        """Clocks, temperature, power and throttle reasons, where NVML gives them, and `other_processes` that
        compute there beside the lab's: this one, and those forked where it was."""
        readings = state.snapshot(self._facts.pci)
        own = {os.getpid(), *descendants_of(os.getppid())}
        others = state.others_counted(self._facts.pci, own)
        return readings if others is None else {**readings, "other_processes": others}

    def conditions(self, before: Mapping[str, float], after: Mapping[str, float]) -> Mapping[str, float]:
        """See `tuner.devices.cuda.state.between`."""
        return state.between(before, after)

    def measure_limits(self) -> Mapping[str, float]:
        """`peak_flops_f32` of FMAs between registers, `bandwidth_bytes_per_s` of a copy; the best of five."""
        self._context.settle(CALIBRATION_ROUNDS)
        runs = [self._context.fma(PEAK_ROUNDS) for _ in range(REPEATS)]
        return {
            "peak_flops_f32": max(operations / seconds for seconds, operations in runs),
            "bandwidth_bytes_per_s": self._context.copy_rate(),
        }
