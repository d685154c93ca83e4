"""Inside a disposable child: loads an artifact, runs it and times it, as a judge in another process asks.

Here a kernel's own code runs, so nothing here knows what is right: no reference, no seed, no way to the lab
but through the judge, which takes what it is told as a claim (`judge.py`). What is found here (a
changed input, a stray write) helps honest mistakes to be seen; a kernel that hides them gains nothing.
"""

import base64
import contextlib
import ctypes
import mmap
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tuner.core.changes import Changes
from tuner.core.device import Device, Executable
from tuner.core.disturbance import others_share
from tuner.core.guarded import Guarded, same_bits
from tuner.core.protocol import Protocol
from tuner.engine.building.build_process import artifact_from_plain
from tuner.engine.judging.challenge import moved
from tuner.engine.judging.quiet import calibrate
from tuner.engine.judging.sealed import Layout
from tuner.engine.processes import machine_faults
from tuner.engine.processes.channel import Channel

_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 38, 24
# With these root could read another process' memory: SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN.
_POWERS = (16, 17, 19, 21)
_CAPABILITY_VERSION_3 = 0x20080522


class WrongResult(Exception):
    """The kernel did something it must not; the message says what and where."""


class TrialRun:
    """One artifact in this process, with tensors of its own.

    Args:
        device: what it runs on.
        artifact: what to run.
        layout: of the tensors.
        inputs: their content, by name; read-only.
    """

    def __init__(
        self, device: Device, artifact: Any, layout: Layout, inputs: Mapping[str, np.ndarray]
    ) -> None:
        self.device, self._layout = device, layout
        self.executable: Executable = device.load(artifact)
        self._tensors = {spec.name: Guarded(spec.shape, spec.dtype) for spec in layout.signature}
        self.arrays = {name: tensor.array for name, tensor in self._tensors.items()}
        self._inputs: Mapping[str, np.ndarray] = {}
        # Flat indices of inputs that were changed in place since they were fed.
        self._changed: dict[str, set[int]] = {}
        self._rewritten: set[str] = set()
        self.feed(inputs)
        self.executable.bind(self.arrays)

    def feed(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Other inputs of the same shapes."""
        self._inputs, self._changed = inputs, {}
        for name, values in inputs.items():
            self.arrays[name][...] = values

    def run(self) -> float:
        """Seconds of one call on poisoned outputs and the inputs as they were fed.

        Raises:
            WrongResult: it changed an input or wrote outside of its outputs, now or in an earlier call.
        """
        self._restore()
        for name, places in self._changed.items():
            at = np.fromiter(places, np.int64, len(places))
            self.arrays[name].reshape(-1)[at] = self._inputs[name].reshape(-1)[at]
        self._changed = {}
        self.poison()
        self.executable.push(tuple(self._inputs))
        started = time.perf_counter()
        self.executable.run()
        seconds = time.perf_counter() - started
        self._untouched()
        return seconds

    def _untouched(self) -> None:
        for name, values in self._inputs.items():
            if not same_bits(self.executable.read(name), values):
                raise WrongResult(f"it changed its input {name}")
        if damage := self.executable.damage():
            raise WrongResult(f"stray write at {damage}")
        for name, tensor in self._tensors.items():
            if damage := tensor.damage():
                raise WrongResult(f"stray write at {name}: {damage}")

    def _restore(self) -> None:
        """Inputs that were written anew are as they were fed again."""
        for name in self._rewritten:
            self.arrays[name][...] = self._inputs[name]
        self.executable.push(tuple(self._rewritten))
        self._rewritten.clear()

    def rewrite(self, rows: int, names: Sequence[str], changes: Changes | None = None) -> None:
        """Writes these inputs anew, with their rows moved by so many places: see `challenge.moved`.

        The next sample or plain call writes them again as they were fed.

        Args:
            rows: how many places.
            names: of the inputs.
            changes: of one of them, as before one call.
        """
        for name in names:
            self.arrays[name][...] = moved(self._inputs[name], rows)
        if changes is not None:
            changes.apply(self.arrays, 1)
        self._rewritten.update(names)
        self._changed = {}
        self.executable.push(tuple(names))

    def outputs(self) -> dict[str, np.ndarray]:
        """What the outputs hold now."""
        return {spec.name: self.executable.read(spec.name) for spec in self._layout.outputs}

    def sample(self, calls: int, see_to_caches: Callable[[], None] | None, changes: Changes | None) -> float:
        """Seconds of one call: the mean of `calls` back to back, or of one after the caches were seen to.

        Args:
            calls: how many.
            see_to_caches: called just before the clock starts; then `calls` is 1.
            changes: of an input, between calls.
        """
        self._restore()
        self.poison()
        if see_to_caches is not None:
            see_to_caches()
        if changes is None:
            return self.executable.sample(calls)
        self._changed.setdefault(changes.name, set()).update(changes.places.tolist())
        return self.executable.sample_changing(calls, changes, self.arrays)

    def once(self) -> float:
        """Seconds of one call on what the inputs hold.

        By the same loop as samples whose inputs change, or its caller would tell a kernel one from the other.
        """
        name = min(self._rewritten)
        here = np.zeros(1, np.int64)
        same = Changes(name, here, self.arrays[name].reshape(-1)[here])
        return self.executable.sample_changing(1, same, self.arrays)

    def poison(self) -> None:
        """Fills the outputs with NaN (or -1): all of them, or a kernel could tell which ones are compared."""
        self.executable.poison({spec.name: self._tensors[spec.name] for spec in self._layout.outputs})

    def probed(self, probe: Mapping[str, np.ndarray]) -> dict[str, str]:
        """What these elements of the outputs hold, as base64 of their bytes."""
        return {
            name: base64.b64encode(self.executable.read_at(name, at).tobytes()).decode()
            for name, at in probe.items()
        }


def give_up_powers() -> None:
    """From now on this process and its children cannot read other processes' memory, whoever they run as.

    Without being root it could not anyway, since judges do not let themselves be traced. Best effort: a
    system that lacks one of these calls is none on which the others are missing too.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for power in _POWERS:
        libc.prctl(_PR_CAPBSET_DROP, power, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, for capabilities 0-31 and then 32-63
    if libc.capget(header, sets) == 0:
        mask = ~sum(1 << power for power in _POWERS) & 0xFFFFFFFF
        for i in range(3):
            sets[i] &= mask
        libc.capset(header, sets)


class _Runner:
    """The requests of a judge, one method each; see `runner_job`."""

    def __init__(self, device: Device, channel: Channel, protocol: Protocol) -> None:
        self._device, self._channel, self._protocol = device, channel, protocol
        self._run: TrialRun | None = None
        self._shown: dict[str, np.ndarray] = {}

    def _map(self, layout: Layout, writable: bool) -> dict[str, np.ndarray]:
        descriptor = self._channel.receive_descriptor()
        try:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            size = layout.outputs_bytes if writable else layout.inputs_bytes
            memory = mmap.mmap(descriptor, size, access=access)
        finally:
            os.close(descriptor)
        return layout.arrays(memory, outputs=writable)

    def load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """An artifact with its inputs; the last one is let go first."""
        layout = Layout.from_plain(request["layout"])
        inputs, self._shown = self._map(layout, False), self._map(layout, True)
        self._run = None
        self._run = TrialRun(self._device, artifact_from_plain(request["artifact"]), layout, inputs)
        self._layout, self._fresh = layout, [str(name) for name in request["fresh"]]
        return {}

    def feed(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Other inputs."""
        self._loaded.feed(self._map(self._layout, False))
        return {}

    @property
    def _loaded(self) -> TrialRun:
        if self._run is None:
            raise RuntimeError("nothing is loaded")
        return self._run

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One call; its outputs are copied to where the judge reads them."""
        before = self._device.waits()
        seconds = self._loaded.run()
        share = others_share(before, self._device.waits())
        for name, values in self._loaded.outputs().items():
            self._shown[name][...] = values
        return {"seconds": seconds, "share": share}

    def sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Several samples, one after the other without a word between: threads that wait go on spinning."""
        run, device = self._loaded, self._device
        seconds, shares, lasted, probes = [], [], [], []
        steps = [(int(step["calls"]), *self._challenge(step)) for step in request["steps"]]
        if request["warm"]:
            run.executable.sample(1)
        caches = self._caches() if request["single"] else None
        for calls, changes, probe in steps:
            before, began = device.waits(), time.perf_counter()
            seconds.append(run.sample(calls, caches, changes))
            probes.append(run.probed(probe))
            lasted.append(time.perf_counter() - began)
            shares.append(others_share(before, device.waits()))
        return {"seconds": seconds, "probes": probes, "shares": shares, "lasted_s": lasted}

    def _caches(self) -> Callable[[], None]:
        """What the protocol does to the caches before each call; the activations are fresh in a model."""
        if self._protocol.cache == "cold":
            return self._device.flush
        fresh = [self._loaded.arrays[name] for name in self._fresh]
        return partial(self._device.pass_by, self._protocol.between_bytes, fresh)

    def busy(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Calls that nobody times, so that what follows is of a device under load."""
        self._loaded.executable.keep_busy(float(request["seconds"]))
        return {}

    def rewrite(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs are written anew, and the outputs poisoned, for the request after this."""
        changes, _ = self._challenge(request)
        self._loaded.rewrite(int(request["rows"]), request["names"], changes)
        self._loaded.poison()
        return {}

    def once(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One timed call on what the inputs hold."""
        run, device = self._loaded, self._device
        _, probe = self._challenge(request)
        before = device.waits()
        seconds = run.once()
        share = others_share(before, device.waits())
        return {"seconds": seconds, "share": share, "probes": [run.probed(probe)]}

    def _challenge(self, step: Mapping[str, Any]) -> tuple[Changes | None, dict[str, np.ndarray]]:
        probe = {name: np.array(at, np.int64) for name, at in step.get("probe", {}).items()}
        if "changes" not in step:
            return None, probe
        told = step["changes"]
        values = np.frombuffer(base64.b64decode(told["values"]), self._loaded.arrays[told["name"]].dtype)
        return Changes(told["name"], np.array(told["places"], np.int64), values), probe

    def state(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The device's readings at this moment."""
        return {"state": dict(self._device.state())}

    def metrics(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What only this process can tell."""
        return {"metrics": dict(self._loaded.executable.metrics())}

    def calibrate(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds of the calibration kernel, where it has to run in this process."""
        seconds, quiet = calibrate(self._device, str(request["kind"]))
        return {"seconds": seconds, "quiet": quiet}


_REQUESTS: Sequence[str] = (
    "load", "feed", "run", "sample", "busy", "rewrite", "once", "state", "metrics", "calibrate",
)  # fmt: skip


def runner_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: does what it is asked, until told `null`.

    A request is {"do": one of the names above, ...}, an answer {"ok": true, ...} or {"ok": false, "status",
    "error"}. Payload: `device`, `protocol`.
    """
    give_up_powers()
    device: Device = payload["device"]
    protocol: Protocol = payload["protocol"]
    runner: _Runner | None = None
    if not device.shares_cpu:
        # Opening a GPU takes half a second, during which the judge has others to ask. What fails here fails
        # again, and is told, with the first request.
        with contextlib.suppress(Exception):
            device.prepare(protocol.threads)
    while (request := channel.receive()) is not None:
        try:
            if runner is None:
                device.prepare(protocol.threads)
                runner = _Runner(device, channel, protocol)
            if request["do"] not in _REQUESTS:
                raise RuntimeError(f"no request {request['do']!r}")
            answer = {"ok": True, **getattr(runner, request["do"])(request)}
        except WrongResult as error:
            answer = {"ok": False, "status": "wrong_result", "error": str(error)}
        except MemoryError as error:
            answer = _error(f"out of memory: {error}".rstrip(": "))
        except Exception as error:
            answer = _error(f"{type(error).__name__}: {error}")
            if fault := machine_faults.of_exception(error):
                answer.update(status="environment", error=fault.reason)
        channel.send(answer)


def _error(text: str) -> dict[str, Any]:
    return {"ok": False, "status": "run_error", "error": text}
