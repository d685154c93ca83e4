"""A compiled kernel as a function of a user's program."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.device import Device, Executable
from tuner.core.errors import TunerError, Unavailable
from tuner.core.huge_pages import LEAST, in_huge_pages
from tuner.core.kernel import FROZEN, Kernel
from tuner.core.operator import TensorSpec
from tuner.core.resident import Resident
from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import default_device
from tuner.engine.program.after_fork import call_parallel
from tuner.engine.program.arrays import apart_from, as_input, as_output
from tuner.engine.program.bound_call import BoundCall
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.growing import GrowingKernel
from tuner.engine.program.residents import check_apart, check_resident, residents


@dataclass(frozen=True)
class Origin:
    """Where the configuration of a kernel comes from.

    Attributes:
        trial_id: the stored trial.
        time_s: seconds of a call in it; `None` where it has none.
        note: where it is not of this workload, device and source: what was used instead.
        threads: CPU threads of that trial, for which the kernel is built; `None`: all cores.
    """

    trial_id: int
    time_s: float | None = None
    note: str = ""
    threads: int | None = None


class TunedKernel:
    """A compiled kernel; call it with the operator's inputs.

    Arrays are given in the order of the operator's signature or by name (`kernel(A, B)`,
    `kernel(A=a, B=b, out=d)`); dtypes and shapes must be the workload's. Inputs that are not C-contiguous are
    copied, and so are inputs that overlap with `out`: the result is that of a call without overlap.

    Threads may share one: calls at the same time run at the same time, each with pointers and workspaces of
    its own (kept for later calls, so as many as ever ran at once). A call in a forked child works; not one of
    a GPU's kernel, as CUDA does not survive a fork. It can be pickled and copied: it is built again, or taken
    from the cache, from its workload and configuration.

    A GPU's kernel takes NumPy arrays, which are copied to it and the result back; or arrays that lie there
    already (of CuPy, torch, or with `__cuda_array_interface__` or DLPack): the call is then queued on the
    current stream of the first one's library and returns at once, and so does the output, a new array of that
    library.

    Attributes:
        workload: what it computes.
        kernel: name of the implementation.
        config: its parameters.
        trial_id: the stored trial the configuration comes from.
        exact: whether that trial was of this workload on this device with this source.
        note: where not exact, what was used instead.
        time_s: seconds of a call in that trial; `None` where not exact.
        threads: CPU threads of that trial, for which it is built; `None`: all cores.
        accuracy: where its results are less accurate than its dtype's own arithmetic; empty: nowhere.
    """

    def __init__(
        self, workload: Workload, kernel: Kernel, config: Config, artifact: Artifact, device: Device,
        origin: Origin,
    ) -> None:  # fmt: skip
        self.workload, self.kernel, self.config = workload, kernel.name, dict(config)
        self.trial_id, self.exact, self.note = origin.trial_id, not origin.note, origin.note
        self.time_s, self.threads = origin.time_s if self.exact else None, origin.threads
        self.accuracy = kernel.accuracy
        signature = registry.operator(workload.operator).signature(workload)
        self._inputs = [spec for spec in signature if not spec.output]
        (self._output,) = (spec for spec in signature if spec.output)
        self._artifact, self._device = artifact, device
        self._digest, self._fingerprint = kernel.digest, device.fingerprint
        self._weights: dict[str, np.ndarray] = {}
        # Those that no call is using. Taking and giving back are one step each, which no thread interrupts.
        self._idle = [self._load()]

    def with_weights(self, **weights: Any) -> "TunedKernel":
        """The same kernel for these weights, laid out now, once, and not in its calls, which take the others.

        >>> layer = tuner.load("gemm", m=8, n=4096, k=4096, frozen=True).with_weights(B=w)  # doctest: +SKIP
        >>> y = layer(x)  # doctest: +SKIP

        The weights are copied: changing the arrays afterwards changes no result. For other weights ask again,
        this kernel or the result, which keeps those of its own that are not given: they are laid out anew, in
        a kernel of their own. Calls that run at the same time have a layout each. A kernel that lays nothing
        out ahead is given the weights in every call.

        Args:
            **weights: all weights of the operator, and what it takes beside them (a bias, scales), if the
                calls are not to bring it.

        Raises:
            TypeError: one is missing, a name is no weight's, or something is no array.
            ValueError: an array of the wrong shape or dtype.
            TunerError: the workload is not frozen.
            RuntimeError: there is no memory for the layout.
        """
        specs, key = self._weight_specs(), self.workload.key
        self._check_weights(specs, weights.keys())
        held = {name: _kept(as_input(specs[name], array, key)) for name, array in weights.items()}
        all_held = {**self._weights, **held}
        made = self._without(all_held)
        made._weights = all_held
        made._idle = [made._load()]
        return made

    def growing(self) -> GrowingKernel:
        """The same kernel with a cache of its own, empty at first, for weights that come as a program runs.

        The workload's size is the room of the cache: the `kv` of attention is how many keys it may hold.

        Raises:
            TunerError: the workload is not frozen, or this kernel lays out nothing that can grow.
            RuntimeError: there is no memory for the cache.
        """
        specs, growth = self._weight_specs(), self._artifact.growth
        if growth is None:
            able = [k.name for k in registry.kernels_of(self.workload.operator) if k.grows]
            hint = f": give load() kernel={able[0]!r}" if able else ""
            raise TunerError(f"{self.kernel} lays out nothing that can grow{hint}")
        names = [argument.name for argument in growth.arguments if argument.kind == "tensor"]
        made = self._without(names)  # and given none: they are in the cache
        executable = made._load()
        made._idle = [executable]
        # In the order of the signature, in which they may be appended without their names.
        grown = [spec for name, spec in specs.items() if name in names]
        return GrowingKernel(self.workload, self.kernel, made, executable, growth, grown)

    def _weight_specs(self) -> dict[str, TensorSpec]:
        """What `with_weights` takes; raises `TunerError` where the workload is not frozen."""
        if not self.workload.option(FROZEN, False):
            raise TunerError(f"{self.workload.key} is not frozen: give load() frozen=True")
        operator = registry.operator(self.workload.operator)
        named = (*operator.weights, *operator.beside_weights)
        return {spec.name: spec for spec in operator.signature(self.workload) if spec.name in named}

    def _check_weights(self, specs: Collection[str], given: Collection[str]) -> None:
        """Raises `TypeError` where weights are missing or others are given than `_weight_specs` has."""
        operator = registry.operator(self.workload.operator)
        needed = [name for name in operator.weights if name in specs]
        beside = [name for name in specs if name not in needed]
        theirs = f"the weights of {self.workload.key} are {' and '.join(needed)}"
        if beside:
            theirs += f", with {', '.join(beside)} where wanted"
        if unknown := sorted(set(given).difference(specs)):
            raise TypeError(f"unexpected array {unknown[0]!r}: {theirs}")
        if not given:
            raise TypeError(f"no weights: {theirs}")
        if missing := [name for name in needed if name not in (*given, *self._weights)]:
            raise TypeError(f"array {missing[0]} is missing: {theirs}")

    def _without(self, names: Collection[str]) -> "TunedKernel":
        """A copy, without weights or an executable, whose calls do not take these inputs."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        signature = registry.operator(self.workload.operator).signature(self.workload)
        made._weights, made._idle = {}, []
        made._inputs = [spec for spec in signature if not spec.output and spec.name not in names]
        return made

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the inputs that it was given (`with_weights`): its calls take the others."""
        return tuple(self._weights)

    def __repr__(self) -> str:
        config = " ".join(f"{k}={v}" for k, v in self.config.items())
        less = f"; {self.accuracy}" if self.accuracy else ""
        return f"<TunedKernel {self.workload.key} by {self.kernel}: {config}{less}>"

    def __reduce__(self) -> tuple[Callable[..., "TunedKernel"], tuple[Any, ...]]:
        origin = {
            "trial_id": self.trial_id, "time_s": self.time_s, "note": self.note, "threads": self.threads,
        }  # fmt: skip
        measured = {"digest": self._digest, "fingerprint": self._fingerprint, "device": self._device.name}
        return rebuild, (self.workload.key, self.kernel, self.config, origin, measured, self._weights)

    def __call__(self, *arrays: Any, out: Any = None, **named: Any) -> Any:
        """Computes; returns the output, which is `out` if given.

        Raises:
            TypeError: too many or too few arrays, an unknown name, something that is no array, arrays of the
                host beside some of the device.
            ValueError: an array of the wrong shape or dtype, or on another device; `out` is read-only or not
                C-contiguous; an array on a device is not C-contiguous, or `out` overlaps it.
            RuntimeError: the kernel reports an error: it has no memory.
        """
        given = self._by_name(arrays, named)
        with self._device.within():
            names = [*(spec.name for spec in self._inputs), self._output.name]
            there = residents(self._device, given, out, names)
            if there is not None and self._weights:
                where = f"the weights of {self.workload.key} lie in the host's memory"
                raise TypeError(f"{where}: give the other arrays there too")
            if there is not None:
                return self._on_device(there, out)
            return self._on_host(given, out)

    def bound(self, tensors: Mapping[str, np.ndarray]) -> BoundCall:
        """A call on these very arrays, checked and bound once: what a program does that keeps its buffers.

        The arrays stay bound as long as the call is there. Calls of one result at the same time are not
        allowed; each `bound` has an executable of its own. On a CPU.

        Args:
            tensors: all inputs but weights that it was given, and the output, by the operator's names.

        Raises:
            TypeError: one is missing, or no array.
            ValueError: of another shape or dtype, not C-contiguous, or the output overlaps an input.
        """
        key, name = self.workload.key, self._output.name
        missing = [spec.name for spec in (*self._inputs, self._output) if spec.name not in tensors]
        if missing:
            raise TypeError(f"{key} needs array {missing[0]}")
        used = {name: as_output(self._output, tensors[name], key)}
        for spec in self._inputs:
            used[spec.name] = as_input(spec, tensors[spec.name], key)
            if used[spec.name] is not tensors[spec.name]:
                raise ValueError(f"array {spec.name} is not C-contiguous: a bound call copies nothing")
            if np.may_share_memory(used[spec.name], used[name]):
                raise ValueError(f"array {spec.name} overlaps the output")
        executable = self._taken()  # not given back: weights that are laid out stay so
        executable.bind({**self._weights, **used})
        function, addresses = executable.entry() or (0, 0)
        places = len(self._artifact.arguments)
        return BoundCall(executable.run, self._artifact.threads > 1, function, addresses, places=places)

    def _on_device(self, arrays: dict[str, Resident], out: Any) -> Any:
        key, name = self.workload.key, self._output.name
        first = next(iter(arrays.values()))
        for spec in self._inputs:
            check_resident(self._device, spec, arrays[spec.name], key)
        if out is None:
            out = first.empty(tuple(self._output.shape), self._output.dtype)
            made = self._device.resident(out)
            assert made is not None
            arrays[name] = made
        else:
            check_resident(self._device, self._output, arrays[name], key, "out")
            for spec in self._inputs:
                check_apart(arrays[name], spec.name, arrays[spec.name], (self._output.nbytes, spec.nbytes))
        executable = self._taken()
        try:
            executable.queue(arrays)
        finally:
            self._idle.append(executable)
        return out

    def _on_host(self, given: dict[str, Any], out: np.ndarray | None) -> np.ndarray:
        key = self.workload.key
        tensors = {spec.name: as_input(spec, given[spec.name], key) for spec in self._inputs}
        if out is None:
            out = np.empty(self._output.shape, self._output.dtype)
        else:
            as_output(self._output, out, key)
            tensors = {name: apart_from(out, array) for name, array in tensors.items()}
        tensors[self._output.name] = out
        self._run({**tensors, **self._weights})
        return out

    def _by_name(self, arrays: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        names = [spec.name for spec in self._inputs]
        if len(arrays) > len(names):
            raise TypeError(
                f"{self.workload.key} takes {len(names)} arrays ({', '.join(names)}), not {len(arrays)}"
            )
        given = dict(zip(names, arrays, strict=False))
        for name, array in named.items():
            if name not in names or name in given:
                raise TypeError(f"unexpected array {name!r}; {self.workload.key} takes {', '.join(names)}")
            given[name] = array
        for spec in self._inputs:
            if spec.name not in given:
                raise TypeError(f"{self.workload.key} needs array {spec.name} of shape {spec.shape}")
        return given

    def _taken(self) -> Executable:
        try:
            return self._idle.pop()
        except IndexError:  # all are at work, in other threads
            return self._load()

    def _run(self, tensors: dict[str, np.ndarray]) -> None:
        executable = self._taken()
        try:
            executable.bind(tensors)
            if self._artifact.threads > 1:
                call_parallel(executable.run)
            else:
                executable.run()
            # On a CPU the bound array itself; of a device with memory of its own a copy.
            name = self._output.name
            if (found := executable.read(name)) is not tensors[name]:
                tensors[name][...] = found
        finally:
            executable.release()
            self._idle.append(executable)

    def _load(self) -> Executable:
        try:
            with self._device.within():
                loaded = self._device.load(self._artifact)
                if self._weights and self._artifact.prepare is not None:
                    step = self._artifact.prepare
                    if {a.name for a in step.arguments if a.kind == "tensor"} <= self._weights.keys():
                        loaded.hold(self._weights)
                return loaded
        except RuntimeError as error:
            raise Unavailable(f"kernel {self.kernel} cannot be loaded: {error}") from error


def _kept(weights: np.ndarray) -> np.ndarray:
    """A copy that a kernel reads fast."""
    if weights.nbytes < LEAST:
        return weights.copy()
    made = in_huge_pages(weights.nbytes).view(weights.dtype).reshape(weights.shape)
    made[...] = weights
    return made


def rebuild(
    key: str, kernel_name: str, config: Config, origin: dict[str, Any], measured: dict[str, str],
    weights: Mapping[str, np.ndarray] | None = None,
) -> TunedKernel:  # fmt: skip
    """What a pickled or copied kernel becomes, where it is unpickled.

    Args:
        key: of the workload.
        kernel_name: of the implementation; a plug-in's is found where `TUNER_PLUGINS` names its folder.
        config: its parameters.
        origin: `trial_id`, `time_s`, `note` and `threads` of the kernel that was pickled.
        measured: `digest` of the kernel's source, `fingerprint` of the device there and its class, `device`.
        weights: that it was given (`TunedKernel.with_weights`), if any.

    Raises:
        TunerError: there is no such kernel or device here, or it does not build.
    """
    kernel = registry.kernel(kernel_name)
    device = default_device(measured.get("device"))
    notes = [origin["note"]] if origin["note"] else []
    if device.fingerprint != measured["fingerprint"]:
        notes.append("it was pickled on another device")
    if kernel.digest != measured["digest"]:
        notes.append("the kernel's source has changed since it was pickled")
    workload = Workload.from_key(key)
    came = Origin(**{**origin, "note": "; ".join(notes)})
    target = device.target if came.threads is None else device.target_for(came.threads)
    artifact = build_cached(kernel, workload, config, target)
    made = TunedKernel(workload, kernel, config, artifact, device, came)
    return made.with_weights(**weights) if weights else made
