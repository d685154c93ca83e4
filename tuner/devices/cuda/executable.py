"""What runs on a GPU: a cubin with its launch, or a library call on arrays that lie there."""

import ctypes
import importlib
import json
import math
import statistics
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.changes import Changes
from tuner.core.device import Executable
from tuner.core.guarded import Guarded
from tuner.core.kernel import Argument, Launch
from tuner.core.resident import Resident
from tuner.core.target import Target
from tuner.core.tensor_map import TensorMap
from tuner.core.workload import Workload
from tuner.devices.cuda.context import Function, GpuContext
from tuner.devices.cuda.memory import Region
from tuner.devices.cuda.resident import after, launch_stream
from tuner.devices.cuda.tensor_maps import encoded
from tuner.targets.gpu_model.occupancy import occupancy

_SCALARS: Mapping[str, type[Any]] = {
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "float32": ctypes.c_float,
}


class OnDevice(Executable):
    """What cubins and library calls share: guarded copies of the tensors, and the stopwatch."""

    def __init__(self, context: GpuContext) -> None:
        self._context, self._late_before = context, context.late_samples
        self._clocks_before = len(context.clocks)
        self._regions: dict[str, Region] = {}
        self._bound: Mapping[str, np.ndarray] = {}
        self._forms: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._call: Callable[[], object] | None = None
        self._launches = 1  # of kernels, by one call

    @abstractmethod
    def _prepare(self) -> Callable[[], object]:
        """The function that queues one call on the bound tensors."""

    def _region(self, name: str, size: int) -> Region:
        return Region(self._context.runtime, self._context.stream, size)

    def bind(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Copies the arrays to the device; the first call also allocates and packs the arguments.

        Raises:
            MemoryError: the device has not enough memory.
            ValueError: a scalar argument has no value.
        """
        forms = {name: (array.shape, array.dtype) for name, array in tensors.items()}
        fresh = forms != self._forms
        if fresh:
            for name in self._forms:
                self._regions.pop(name).free()
            self._forms = {}
            for name, array in tensors.items():
                self._regions[name] = self._region(name, array.nbytes)
            self._forms = forms
        self._bound = dict(tensors)
        self.push(tuple(tensors))
        if fresh:
            self._call = self._prepare()

    def push(self, names: Sequence[str]) -> None:
        """Copies these arrays to the device again."""
        for name in names:
            self._regions[name].write(self._bound[name])

    def poison(self, tensors: Mapping[str, Guarded]) -> None:
        """On the device alone: what the bound arrays hold is of no use to it."""
        for name in tensors:
            self._regions[name].poison()

    def sample_changing(self, calls: int, changes: Changes, tensors: Mapping[str, np.ndarray]) -> float:
        """Only the elements that change are written."""
        changes.apply(tensors, calls)
        self._regions[changes.name].write_at(changes.places, changes.final(calls))
        return self.sample(calls)

    def _ready(self) -> Callable[[], object]:
        if self._call is None:
            raise RuntimeError("bind comes before the first call")
        return self._call

    def run(self) -> None:
        """One call; errors of the kernel itself come up here."""
        self._ready()()
        self._context.stream.synchronize()

    def sample(self, calls: int) -> float:
        """Mean seconds of `calls` calls, between CUDA events."""
        return self._context.time(self._ready(), calls, self._launches)

    def keep_busy(self, seconds: float) -> None:
        """Calls queued one behind the other, without the hold that samples have."""
        self._context.keep_busy(self._ready(), seconds, self._launches)

    def read(self, name: str) -> np.ndarray:
        """A copy from the device."""
        shape, dtype = self._forms[name]
        return self._regions[name].read(shape, dtype)

    def read_at(self, name: str, places: np.ndarray) -> np.ndarray:
        """Copies of these elements only."""
        return self._regions[name].read_at(places, self._forms[name][1])

    def damage(self) -> str | None:
        """Looks at the guards of all tensors and workspaces."""
        for name, region in self._regions.items():
            if damage := region.damage():
                return f"{name}: {damage}"
        return None

    def metrics(self) -> Mapping[str, float]:
        """`late_samples`: how often the host was too slow to queue a sample while the GPU was held.

        `sm_clock_hz_during`: the median clock while samples ran; absent where NVML does not tell.
        """
        late = self._context.late_samples - self._late_before
        found = {"late_samples": float(late)} if late else {}
        if clocks := self._context.clocks[self._clocks_before :]:
            found["sm_clock_hz_during"] = statistics.median(clocks)
        return found


class Cubin(OnDevice):
    """A `cubin` artifact: of CUDA C++, Triton or TensorIR alike.

    Args:
        artifact: with launches and arguments; of several kernels one call launches all, in order.
        context: of this process.
        target: whose default of shared memory decides whether to opt in to more.

    Raises:
        RuntimeError: it has no launch, the driver refuses it, or has no such entry.
    """

    def __init__(self, artifact: Artifact, context: GpuContext, target: Target) -> None:
        super().__init__(context)
        self._sm_count, self._target = int(target.limit("sm_count")), target
        for step in artifact.steps:
            if step.launch is None:
                raise RuntimeError(f"{step.entry} has no launch: grid, block, shared bytes")
        self._steps, self._launches = artifact.steps, len(artifact.steps)
        module = context.load(artifact.path.read_bytes())
        self._functions = [Function(context.driver, module, step.entry) for step in self._steps]
        for step, function in zip(self._steps, self._functions, strict=True):
            shared = step.launch.shared_bytes if step.launch else 0
            static = int(step.metrics.get("static_shared_bytes", 0))
            if shared + static > target.limit("shared_bytes_block"):
                function.allow_shared(shared)
        # Set to zero once, as the kernels' contract is (`Argument.kind` "workspace").
        for name, size in artifact.workspaces.items():
            region = self._region(name, size)
            region.zero()
            self._regions[name] = region
        self._own_memory = bool(artifact.workspaces)
        if self._own_memory:
            context.stream.synchronize()  # a program's arrays are worked on in another stream
        self._done = context.cupy.cuda.Event(disable_timing=True)
        self._last: int | None = None  # the stream of the call before on a program's arrays
        self._packed_for: tuple[object, Callable[[], object]] | None = None

    def queue(self, arrays: Mapping[str, Resident]) -> None:
        """Queues one call on arrays where they lie: on the current stream of the first one's library.

        The streams of the other ones' libraries wait for it and it for them. A call waits for the one before
        on another stream where both have the same workspaces.
        """
        runtime, event = self._context.runtime, self._done
        given = tuple(arrays.values())
        stream = launch_stream(given)
        others = {each.stream for each in given} - {stream}
        for other in others:
            after(runtime, event, other, stream)
        self._follow(stream)
        key = (stream, tuple((name, each.address) for name, each in arrays.items()))
        if self._packed_for is None or self._packed_for[0] != key:
            regions = {name: region.address for name, region in self._regions.items()}
            addresses = {**regions, **{name: each.address for name, each in arrays.items()}}
            self._packed_for = (key, self._packed(addresses, stream))
        self._packed_for[1]()
        for other in others:
            after(runtime, event, stream, other)
        self._last = stream

    def metrics(self) -> Mapping[str, float]:
        """Those of `OnDevice`, and `driver_blocks_sm`: blocks that an SM holds at once, as the driver says.

        Of several kernels the fewest. `occupancy_differs`: how many more that is than the model of the target
        allows, where it is not the same: then the model's predictions are not of this GPU.
        """
        held, ours = [], []
        for step, function in zip(self._steps, self._functions, strict=True):
            if step.launch is None or "registers" not in step.metrics:
                continue
            threads, shared = math.prod(step.launch.block), step.launch.shared_bytes
            held.append(function.blocks_an_sm(threads, shared))
            static = int(step.metrics.get("static_shared_bytes", 0))
            registers = int(step.metrics["registers"])
            ours.append(occupancy(self._target, threads, registers, shared + static).blocks)
        if not held:
            return super().metrics()
        found = {"driver_blocks_sm": float(min(held))}
        if min(held) != min(ours):
            found["occupancy_differs"] = float(min(held) - min(ours))
        return {**super().metrics(), **found}

    def bind(self, tensors: Mapping[str, np.ndarray]) -> None:
        """See `OnDevice.bind`; what was queued on a program's arrays has the workspaces first."""
        self._follow(self._context.stream.ptr)
        super().bind(tensors)

    def _follow(self, stream: int) -> None:
        if self._own_memory and self._last is not None:
            after(self._context.runtime, self._done, self._last, stream)
        self._last = None

    def _value(self, argument: Argument, addresses: Mapping[str, int]) -> Any:
        if argument.kind in _SCALARS:
            if argument.value is None:
                raise ValueError(f"argument {argument.name} has no value")
            return _SCALARS[argument.kind](argument.value)
        if argument.kind == "struct":
            values = [self._value(field, addresses) for field in argument.fields]

            class Struct(ctypes.Structure):  # with the alignment of C, which is CUDA's
                _fields_ = tuple((f"f{i}", type(value)) for i, value in enumerate(values))

            return Struct(*values)
        if argument.kind == "map":
            return encoded(TensorMap.of(argument), addresses[argument.name])
        return ctypes.c_void_p(addresses.get(argument.name))  # absent: a null pointer

    def _prepare(self) -> Callable[[], object]:
        return self._packed({n: r.address for n, r in self._regions.items()}, self._context.stream.ptr)

    def _packed(self, addresses: Mapping[str, int], stream: int) -> Callable[[], object]:
        calls = []
        for step, function in zip(self._steps, self._functions, strict=True):
            launch = step.launch
            assert launch is not None
            values = [self._value(argument, addresses) for argument in step.arguments]
            waits = bool(step.metrics.get("cooperative"))
            if waits:
                self._require_room(step.entry, launch, function)
            calls.append(
                function.prepared(launch.grid, launch.block, launch.shared_bytes, values, stream, waits)
            )
        if len(calls) == 1:
            return calls[0]

        def queue() -> None:
            for call in calls:  # one stream: each waits for the one before
                call()

        return queue

    def _require_room(self, entry: str, launch: Launch, function: Function) -> None:
        blocks = math.prod(launch.grid)
        each = function.blocks_an_sm(math.prod(launch.block), launch.shared_bytes)
        if blocks > each * self._sm_count:
            raise RuntimeError(
                f"{entry} waits for its whole grid, whose {blocks} blocks cannot run at once: the GPU holds "
                f"{each * self._sm_count}, {each} an SM"
            )


class LibraryCall(OnDevice):
    """A `callable` artifact: a factory that takes CuPy arrays by name and returns the call.

    Args:
        artifact: what the builder `python` wrote.
        context: of this process.

    Raises:
        RuntimeError: the record or the library cannot be loaded.
    """

    def __init__(self, artifact: Artifact, context: GpuContext) -> None:
        super().__init__(context)
        try:
            record = json.loads(artifact.path.read_text())
            module, _, function = record["factory"].partition(":")
            factory = getattr(importlib.import_module(module), function)
            self._factory = partial(factory, config=record["config"]) if "config" in record else factory
        except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
            raise RuntimeError(f"cannot load {artifact.entry}: {type(error).__name__}: {error}") from error
        self._workload, self._threads = Workload.from_key(record["workload"]), artifact.threads

    def _prepare(self) -> Callable[[], object]:
        cupy, arrays = self._context.cupy, {}
        for name, (shape, dtype) in self._forms.items():
            region = self._regions[name]
            owned = cupy.cuda.UnownedMemory(region.address, region.size, region)
            # CuPy has no floats of 8 bits: libraries get the bits.
            known = np.dtype("uint8") if dtype.name.startswith("float8") else dtype
            arrays[name] = cupy.ndarray(shape, known, memptr=cupy.cuda.MemoryPointer(owned, 0))
        stream = self._context.stream
        with stream:
            call = self._factory(self._workload, arrays, self._threads)

        def queue() -> None:
            with stream:  # libraries take the current stream
                call()

        return queue
