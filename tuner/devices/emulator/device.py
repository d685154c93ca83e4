"""The CUDA emulator as a device: kernels run on the CPU, right or wrong, and never have a time."""

import ctypes
import platform
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.device import Executable
from tuner.core.digest import digest
from tuner.core.emulator import Emulator
from tuner.core.kernel import Argument
from tuner.core.target import Target
from tuner.devices.emulator.check import CheckResult, check_emulated, launch_findings
from tuner.devices.emulator.child import SCALARS, STATUS, EmulatedLibrary, by_value, entries

FORMAT = "emulated_cuda"
_NO_TIME = "an emulator has no time: it says whether a kernel is right, not how fast it is"

# What every compute capability from 7.5 on can do; `EmulatedDevice(target)` takes any other description.
DEFAULT_TARGET = Target(
    "cuda", "sm_80", ("cp_async", "dp4a", "wmma_f16", "wmma_int8"),
    {"max_threads_block": 1024, "shared_bytes_block": 48 * 1024, "shared_bytes_block_optin": 163 * 1024,
     "max_grid_x": 2**31 - 1, "max_grid_y": 65_535, "max_grid_z": 65_535, "warp_size": 32},
)  # fmt: skip


class EmulatedKernel(Executable):
    """An artifact of the builder `cuda_emulated`, loaded in this process.

    Args:
        artifact: of format `emulated_cuda`.
        target: whose limits the launch has to keep.

    Raises:
        RuntimeError: it cannot be loaded, or the target could not launch it.
    """

    def __init__(self, artifact: Artifact, target: Target) -> None:
        for step in artifact.steps:
            if step.launch is None:
                raise RuntimeError(f"{step.entry} has no launch: grid, block, shared bytes")
        problems = launch_findings(artifact, target)
        if problems:
            raise RuntimeError(f"launch refused: {problems[0].message}")
        try:
            self._library = EmulatedLibrary(artifact.path)
        except (OSError, AttributeError) as error:
            raise RuntimeError(f"{artifact.path.name} cannot be loaded: {error}") from None
        self._steps = artifact.steps
        self._sanitized = bool(self._library.description["sanitize"])
        self._pointers = [(ctypes.c_void_p * max(1, len(step.arguments)))() for step in self._steps]
        self._values: list[Any] = []
        self._tensors: dict[str, np.ndarray] = {}
        self._workspaces = {name: np.zeros(size, np.uint8) for name, size in artifact.workspaces.items()}

    def bind(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Hands the arrays' own memory to the kernel; a tensor that is absent is a null pointer.

        Raises:
            ValueError: an array is not C-contiguous, or a scalar argument has no value.
        """
        self._tensors, self._values = dict(tensors), []
        for name, array in tensors.items():
            if not array.flags.c_contiguous:
                raise ValueError(f"tensor {name} is not C-contiguous")
        memory = {**self._workspaces, **self._tensors}
        for step, pointers in zip(self._steps, self._pointers, strict=True):
            for i, argument in enumerate(step.arguments):
                value = self._value(argument, memory)
                self._values.append(value)  # keeps alive what the pointer leads to
                pointers[i] = ctypes.addressof(value)
        if self._sanitized:
            self._library.forget()
            for known in memory.values():
                self._library.tensor(known.ctypes.data, known.nbytes, known.dtype.itemsize, True)

    @staticmethod
    def _value(argument: Argument, memory: Mapping[str, np.ndarray]) -> Any:
        for number in (argument, *argument.fields):
            if number.kind in SCALARS and number.value is None:
                raise ValueError(f"argument {number.name} has no value")
        return by_value(asdict(argument), {name: array.ctypes.data for name, array in memory.items()})

    def run(self) -> None:
        """One call of all kernels, complete on return.

        Raises:
            RuntimeError: a kernel was stopped: a barrier or warp operation that not all threads reach.
        """
        symbols = entries(len(self._steps))
        for step, pointers, symbol in zip(self._steps, self._pointers, symbols, strict=True):
            assert step.launch is not None
            grid, block = list(step.launch.grid), list(step.launch.block)
            status = self._library.launch(grid, block, pointers, 0, symbol)
            if status != 0:
                raise RuntimeError(f"emulator: {STATUS[status]}; the sanitizers say why (`tuner check`)")

    def sample(self, calls: int) -> float:
        """Raises `RuntimeError`: there is no time to sample."""
        raise RuntimeError(_NO_TIME)

    def read(self, name: str) -> np.ndarray:
        """The bound array itself."""
        return self._tensors[name]


class EmulatedDevice(Emulator):
    """A CUDA device of any description, emulated by this machine's CPU.

    Args:
        target: any CUDA target; the default has the limits of `sm_80`.
    """

    name = "emulated"
    target_kind = "cuda"
    builder = "cuda_emulated"

    def __init__(self, target: Target = DEFAULT_TARGET) -> None:
        if target.kind != self.target_kind:
            raise ValueError(f"the emulator stands for CUDA targets, not {target.name}")
        self._target = target

    @classmethod
    def discover(cls) -> Sequence["EmulatedDevice"]:
        """One device with the default target; none where `unavailable` says why."""
        return [] if cls.unavailable() else [cls()]

    @classmethod
    def unavailable(cls) -> str | None:
        """There is no g++, or the machine is none whose files the emulator can read."""
        if platform.machine() not in ("x86_64", "AMD64", "aarch64"):
            return f"the emulator has not been tried on {platform.machine()}"
        return None if shutil.which("g++") else "the CUDA emulator needs g++ on PATH"

    @property
    def target(self) -> Target:
        """What it was made with."""
        return self._target

    @property
    def fingerprint(self) -> str:
        """Of the emulated target: the host changes no result."""
        return "emulated-" + digest([self._target.name, sorted(self._target.limits.items())])

    def facts(self) -> Mapping[str, Any]:
        """The target it stands for and the limits that are enforced."""
        return {"model": f"emulator of {self._target.name}", "arch": self._target.arch, **self._target.limits}

    def load(self, artifact: Artifact) -> Executable:
        """Loads an artifact of the builder `cuda_emulated`.

        Raises:
            RuntimeError: it is of another format, cannot be loaded, or the target could not launch it.
        """
        if artifact.format != FORMAT:
            raise RuntimeError(f"the emulator loads artifacts of format {FORMAT}, not {artifact.format}")
        return EmulatedKernel(artifact, self._target)

    def examine(
        self, artifact: Artifact, tensors: Mapping[str, np.ndarray], outputs: Collection[str], seed: int,
        timeout_s: float, initial: Collection[str] = (),
    ) -> CheckResult:  # fmt: skip
        """One run with all that the sanitizers see: see `check_emulated`."""
        how: dict[str, Any] = {"seed": seed, "timeout_s": timeout_s, "initial": initial}
        return check_emulated(artifact, self._target, tensors, outputs, **how)

    def prepare(self, threads: int) -> None:
        """Nothing: one thread of the host runs all of the kernel's."""

    def calibrate(self) -> float:
        """Raises `RuntimeError`: there is no time."""
        raise RuntimeError(_NO_TIME)

    def flush(self) -> None:
        """Nothing: there are no caches."""

    def measure_limits(self) -> Mapping[str, float]:
        """Empty: an emulator has no peaks."""
        return {}
