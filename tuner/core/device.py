"""A device: a target that can run here."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.changes import Changes
from tuner.core.disturbance import Waits
from tuner.core.errors import Unavailable
from tuner.core.guarded import Guarded
from tuner.core.measurement import Evidence, Status
from tuner.core.protocol import Protocol
from tuner.core.resident import Resident
from tuner.core.target import Target


class Executable(ABC):
    """A loaded artifact with its tensors bound; lives in a disposable child process."""

    @abstractmethod
    def bind(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Puts tensors where the kernel reads and writes them: names of the operator's signature.

        On a CPU the arrays themselves are used; on a GPU they are copied.
        """

    def hold(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Lays constant inputs out ahead of all calls, where the artifact does so (`Artifact.prepare`)."""

    def append(self, tensors: Mapping[str, np.ndarray], there: int, added: int) -> None:
        """Lays out more of the constant inputs, for this and all calls to come (`Artifact.growth`).

        Args:
            tensors: the new entries, by the operator's names.
            there: how many entries there are already; 0: none yet, and what was held is gone.
            added: how many more.

        Raises:
            RuntimeError: the kernel reports an error, or nothing of it can grow.
        """
        raise RuntimeError("nothing that this kernel lays out can grow")

    def entry(self) -> tuple[int, int] | None:
        """The C function `int f(void** arguments)` that a call is, and its arguments as they are bound.

        Addresses that hold until the next `bind`; `None` where a call is none.
        """
        return None

    @abstractmethod
    def run(self) -> None:
        """One call, complete on return.

        Raises:
            RuntimeError: the kernel reports an error.
        """

    @abstractmethod
    def sample(self, calls: int) -> float:
        """Seconds of one call, the mean of `calls` calls back to back.

        Raises:
            RuntimeError: the kernel reports an error, or this device has no time (an emulator).
        """

    def keep_busy(self, seconds: float) -> None:
        """Calls without a pause for so long, none of them timed.

        Raises:
            RuntimeError: the kernel reports an error.
        """
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.run()

    def sample_changing(self, calls: int, changes: Changes, tensors: Mapping[str, np.ndarray]) -> float:
        """As `sample`, on an input that changes before every call: see `Changes`.

        Here it changes before the first call only, to what it will have been at the end.

        Args:
            calls: how many.
            changes: of which input, and how.
            tensors: the arrays that were bound.
        """
        changes.apply(tensors, calls)
        self.push((changes.name,))
        return self.sample(calls)

    def push(self, names: Sequence[str]) -> None:
        """Takes over what bound arrays hold now, where the kernel does not work on their own memory."""

    def poison(self, tensors: Mapping[str, Guarded]) -> None:
        """Sets every bit of tensors that were bound: NaN in every floating type, -1 in integers."""
        for tensor in tensors.values():
            tensor.poison()
        self.push(tuple(tensors))

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """The present content of a tensor."""

    def read_at(self, name: str, places: np.ndarray) -> np.ndarray:
        """The present content of some elements of a tensor, by their flat indices."""
        return np.asarray(self.read(name).reshape(-1)[places])

    def queue(self, arrays: Mapping[str, Resident]) -> None:
        """Queues one call on arrays that lie on the device, behind the work their libraries have queued.

        It returns before the call is complete; what their libraries queue from now on comes after it.

        Raises:
            RuntimeError: it cannot be launched, or this device has no such arrays.
        """
        raise RuntimeError("this device works on arrays in the host's memory only")

    def release(self) -> None:
        """Forgets the bound tensors, where this executable keeps any alive."""

    def metrics(self) -> Mapping[str, float]:
        """What only the running process can tell, such as the BLAS kernel a library chose; after `run`."""
        return {}

    def damage(self) -> str | None:
        """What stray writes did to memory around the device's own copies; `None` if nothing.

        On a CPU there are no copies: the arrays that were bound have guards of their own.
        """
        return None


class Device(ABC):
    """Something that runs artifacts: loads, times, and describes itself.

    A subclass in its own file under `tuner/devices/` is found by the registry.
    """

    name: ClassVar[str]
    target_kind: ClassVar[str]
    """Of the targets it runs: the name of a `TargetKind`."""
    noun: ClassVar[str] = ""
    """What people call it where they are told of it: GPU. By default device 'NAME'."""
    usual: ClassVar[bool] = False
    """Whether it is what a machine is measured by where nobody names a device or a target. One class is."""
    evidence: ClassVar[Evidence] = Evidence.MEASURED
    kernels_in_process: ClassVar[bool] = True
    """Whether a kernel's code runs in the process that loads it, where it can do what it likes. Then another
    process calibrates, and holds what that one says of its clock against its own."""
    trials_a_child: ClassVar[int] = 1
    """How many trials a child process may run in turn, as long as each ends well. A kernel on a CPU can
    damage its process without a sign, so it gets one of its own."""
    context_bytes: ClassVar[float] = 0
    """What a process takes of the device's own memory beside its tensors: context, libraries' workspaces."""
    sound_after: ClassVar[frozenset[Status]] = frozenset({Status.OK, Status.PRUNED, Status.WRONG_RESULT})
    """After which outcomes a child may run another trial. What failed may have broken the device's context,
    and an error that sticks to the context would be every later trial's too."""
    shares_cpu: ClassVar[bool] = True
    """Whether kernels run on the processor that builds run on: then nothing is built while they are timed."""
    limits_memory: ClassVar[bool] = True
    """Whether the address space of its children can be limited. A driver that reserves addresses for all
    memory of the machine would fail under any limit."""
    child_file_bytes: ClassVar[int] = 4 * 2**20
    """How much a child may write into one file. By default enough for messages: a flood of them ends after a
    second (they are unbuffered)."""

    @classmethod
    @abstractmethod
    def discover(cls) -> Sequence["Device"]:
        """The devices of this kind on this machine, the first the default; quick."""

    @classmethod
    def unavailable(cls) -> str | None:
        """Why there is none on this machine; `None` if there is."""
        return None

    @classmethod
    def needs(cls) -> Sequence[tuple[str, str | None]]:
        """What such a device needs beside itself: the thing, and how to get it; `None` where it is here."""
        return ()

    @property
    @abstractmethod
    def target(self) -> Target:
        """What to compile for."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the hardware and what changes its speed; the same in every process, whenever."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What people should know of it, plain values: model, cores, caches in bytes, driver."""

    @classmethod
    def called(cls) -> str:
        """How messages name a device of this kind: its `noun`, or device 'NAME'."""
        return cls.noun or f"device {cls.name!r}"

    def runs(self, target: str) -> bool:
        """Whether what is built for the device serves somebody who asked for a target of this name."""
        return target == self.target.name

    def opened_as(self, target: str) -> "Device":
        """The device as one that is built for with a target of this name, which it `runs`."""
        del target
        return self

    def target_for(self, threads: int) -> Target:
        """The target of kernels that may use so many CPU threads, not all `cores` the device has."""
        target = self.target
        if "cores" not in target.limits:
            return target
        return target.with_limits(cores=min(threads, int(target.limits["cores"])))

    @property
    def own_memory_bytes(self) -> float | None:
        """How much the tensors of a workload may take of the memory it has to itself; `None` where it has the
        machine's."""
        return None

    def own_memory_free_bytes(self) -> float | None:
        """How much of `own_memory_bytes` nobody uses at this moment, as far as the device tells."""
        return self.own_memory_bytes

    @property
    def exclusive(self) -> bool:
        """Whether only one process at a time may use it: each ends before the next one begins."""
        return False

    def default_protocol(self) -> Protocol:
        """How kernels are timed unless told otherwise: `default_threads` threads, and the rest as it is."""
        return Protocol(threads=self.default_threads)

    @property
    def default_threads(self) -> int:
        """CPU threads that a protocol has unless told otherwise: its cores, or what a quota leaves."""
        return int(self.target.limits.get("cores", 1))

    def remarks(self, threads: int) -> Sequence[str]:
        """What people should know before they measure with so many threads, a line each."""
        return ()

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules the warm process imports before the first run."""
        return ()

    @property
    def preload_of_libraries(self) -> tuple[str, ...]:
        """Modules that the processes of library baselines have imported before they start, too.

        Worth naming where a library takes seconds to import; a fork must be able to inherit it.
        """
        return ()

    def warm_up(self) -> None:
        """Once in the warm process, before anything is forked from it: what every run would otherwise repeat.

        Never more than a fork may inherit: no threads, no open GPU.
        """

    @abstractmethod
    def load(self, artifact: Artifact) -> Executable:
        """Loads an artifact in this process.

        Raises:
            RuntimeError: it cannot be loaded.
        """

    def resident(self, array: Any) -> Resident | None:
        """An array of somebody's program that lies in the device's own memory; `None` for any other.

        Raises:
            TypeError: it has something that a kernel cannot see: a mask, a gradient.
        """
        return None

    @property
    def index(self) -> int:
        """Which of the machine's devices of this kind, from 0."""
        return 0

    def within(self) -> AbstractContextManager[Any]:
        """Around what somebody's program asks of the device: whatever was current in the calling thread
        before is so again afterwards."""
        return nullcontext()

    @abstractmethod
    def prepare(self, threads: int) -> None:
        """Called once in the child before `load`: pins threads, opens the GPU."""

    @abstractmethod
    def calibrate(self) -> float:
        """Seconds of a kernel that never changes: how fast the machine is at this moment."""

    def calibration_kind(self, flops: float, nbytes: float, dtype: str) -> str:
        """Which calibration kernel is slowed by what slows such work; empty for the usual one.

        Args:
            flops, nbytes, dtype: what the work cannot do without, see `Operator`.
        """
        return ""

    def calibrate_as(self, kind: str) -> float:
        """As `calibrate`, by the kernel of a `calibration_kind`; here there is the usual one only."""
        return self.calibrate()

    def held(self, protocol: Protocol) -> AbstractContextManager[Any]:
        """Around all that is measured: the device's clock is held where the protocol asks for it, and let go
        in the end, however the process ends.

        Raises:
            Unavailable: it cannot be held here, with the reason.
        """
        if protocol.clock_mhz:
            raise Unavailable(f"the clock of {self.called()} cannot be held: leave out --lock-clock")
        return nullcontext()

    @abstractmethod
    def flush(self) -> None:
        """Evicts the caches, so that the next call finds them cold."""

    def pass_by(self, nbytes: int, fresh: Sequence[np.ndarray]) -> None:
        """Between two calls, as in a model: other data passes through the caches, and the arrays are fresh.

        Here it evicts all caches, as `flush`.

        Args:
            nbytes: of other data; what a core's own caches hold is replaced in any case.
            fresh: bound arrays that what came before has just written; their content stays.
        """
        self.flush()

    def state(self) -> Mapping[str, float]:
        """What changes from moment to moment and moves times: clocks, temperature, throttling; by name."""
        return {}

    def waits(self) -> Waits:
        """What this process's threads waited for processors until now: cheap enough to be read before and
        after every sample. Nothing is known by default, and no sample counts as disturbed."""
        return Waits()

    def conditions(self, before: Mapping[str, float], after: Mapping[str, float]) -> Mapping[str, float]:
        """Metrics of a trial from the `state` before and after its timed calls; none by default."""
        return {}

    def least_seconds(self, flops: float, nbytes: float, dtype: str, threads: int) -> float:
        """A time that nothing on this device can beat, by far: a shorter one is no time of this work.

        0 where the device does not know. Args: operations and bytes that the work cannot do without, and the
        CPU threads that may do it.
        """
        return 0.0

    @abstractmethod
    def measure_limits(self) -> Mapping[str, float]:
        """Peaks measured on the spot: `peak_flops_f32`, `bandwidth_bytes_per_s`, for one core and all.

        Beside them `disturbed`, 1, where other programs had the cores during all readings of one of them.
        """
