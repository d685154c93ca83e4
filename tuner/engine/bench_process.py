"""Inside a disposable child: load an artifact, verify it, time it.

`TrialRun` is one artifact on one device in this process. `run_job` makes a whole trial of it,
`serve_job` answers requests for single samples, for interleaved re-measurement.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.artifact import Artifact
from tuner.core.device import Device, Executable
from tuner.core.operator import worst_error
from tuner.core.protocol import Protocol
from tuner.core.stats import median_interval
from tuner.core.workload import Workload
from tuner.engine import dataset, machine_faults
from tuner.engine.buffers import Guarded, same_bits
from tuner.engine.build_process import artifact_from_plain
from tuner.engine.channel import Channel

# A calibration is the best of a few: what preempts one of them is not what slows the machine.
_CALIBRATIONS = 3
# Cold first calls (page faults, packing buffers) are that much slower than later ones at worst.
_FIRST_CALL_ALLOWANCE = 4.0
# Who is surely so many times slower than the best is never a finalist: how much slower exactly is not worth
# another sample.
_BEHIND = 1.2

# What a first call adds (page faults, packing buffers) does not show in a call of so many seconds.
_LONG_S = 1.0
_REWARM_BELOW_S = 0.1
_TURN_AT_MOST = 9


class WrongResult(Exception):
    """The kernel computed something else; the message says what and where."""


class TrialRun:
    """One artifact in this process, with tensors of its own.

    Args:
        device: what it runs on.
        artifact: what to run.
        data: inputs and reference of the workload.
    """

    def __init__(self, device: Device, artifact: Artifact, data: dataset.Dataset) -> None:
        self.device, self.data = device, data
        self.executable: Executable = device.load(artifact)
        self._tensors = {spec.name: Guarded(spec.shape, spec.dtype) for spec in data.signature}
        for name, values in data.inputs.items():
            self._tensors[name].array[...] = values
        self.executable.bind({name: t.array for name, t in self._tensors.items()})
        self._first: dict[str, np.ndarray] = {}

    def verify(self) -> tuple[float, float]:
        """Runs once on poisoned outputs and compares: (error as a share of the tolerance, seconds).

        Raises:
            WrongResult: it differs, changed an input, or wrote outside of its output.
        """
        for spec in self.data.outputs:
            self._tensors[spec.name].poison()
        self.executable.bind({name: t.array for name, t in self._tensors.items()})
        started = time.perf_counter()
        self.executable.run()
        seconds = time.perf_counter() - started
        outputs = {spec.name: self.executable.read(spec.name) for spec in self.data.outputs}
        error, where = worst_error(outputs, dict(self.data.reference), dict(self.data.tolerance))
        if not error <= 1.0:
            raise WrongResult(f"{self.data.workload.key}: {where} ({error:.3g} times the tolerance)")
        self._untouched()
        self._first = {name: np.array(values) for name, values in outputs.items()}
        return error, seconds

    def _untouched(self) -> None:
        for name, values in self.data.inputs.items():
            if not same_bits(self.executable.read(name), values):
                raise WrongResult(f"{self.data.workload.key}: it changed its input {name}")
        if damage := self.executable.damage():
            raise WrongResult(f"{self.data.workload.key}: stray write at {damage}")
        for name, tensor in self._tensors.items():
            damage = tensor.damage()
            if damage:
                raise WrongResult(f"{self.data.workload.key}: stray write at {name}: {damage}")

    def verify_again(self) -> None:
        """After the timed calls: the output is still right, the inputs and margins untouched.

        Raises:
            WrongResult: a later call computed something else than the first.
        """
        self._untouched()
        outputs = {name: self.executable.read(name) for name in self._first}
        if all(same_bits(outputs[name], first) for name, first in self._first.items()):
            return
        error, where = worst_error(outputs, dict(self.data.reference), dict(self.data.tolerance))
        if not error <= 1.0:
            raise WrongResult(f"{self.data.workload.key}: after repeated calls {where}")

    def sample(self, calls: int, cold: bool) -> float:
        """Seconds of one call: the mean of `calls` back to back; of one with evicted caches if `cold`."""
        if cold:
            self.device.flush()
            return self.executable.sample(1)
        return self.executable.sample(calls)

    def calibrate(self) -> float:
        """Seconds of the device's calibration kernel at this moment."""
        return min(self.device.calibrate() for _ in range(_CALIBRATIONS))


def calls_a_sample(seconds: float, protocol: Protocol) -> int:
    """How many calls make a sample long enough for the clock: 1 for kernels of `min_sample_s` or more."""
    if protocol.cache == "cold" or seconds >= protocol.min_sample_s:
        return 1
    return min(10_000, int(protocol.min_sample_s / max(seconds, 1e-8)) + 1)


def take_samples(
    run: TrialRun, protocol: Protocol, incumbent_s: float | None, first_s: float
) -> tuple[list[float], bool]:
    """The timed calls of one trial: (samples, pruned).

    One call first; if it is `prune_factor` times slower than the incumbent, that is all. Otherwise
    repeated until half of the median's 95% interval is within `relative_interval`, or all of the interval
    is behind 1.2 times the incumbent, or the budget is spent; `min_samples` at least.

    Args:
        run: a verified run.
        protocol: how to measure.
        incumbent_s: seconds of the best so far, if there is one.
        first_s: seconds of the verifying call.
    """
    cold = protocol.cache == "cold"
    hopeless = (
        None if incumbent_s is None or not protocol.prune_factor else incumbent_s * protocol.prune_factor
    )
    if hopeless is not None and first_s > _FIRST_CALL_ALLOWANCE * hopeless and first_s > 0.01:
        return [first_s], True
    for _ in range(protocol.warmup if first_s < _LONG_S else 0):
        run.sample(1, cold)
    samples = [run.sample(1, cold)]
    if hopeless is not None and samples[0] > hopeless and samples[0] > 1e-4:
        return samples, True
    calls = calls_a_sample(samples[0], protocol)
    if calls > 1:
        # A single call is too short for the clock: size the sample by one that is long enough.
        calls = calls_a_sample(run.sample(calls, cold), protocol)
        samples = [run.sample(calls, cold)]
        if hopeless is not None and samples[0] > hopeless:
            return samples, True
    started = time.perf_counter()
    while len(samples) < protocol.max_samples:
        if len(samples) >= protocol.min_samples:
            interval = median_interval(samples)
            behind = hopeless is not None and interval.low > _BEHIND * (incumbent_s or 0.0)
            if behind or interval.relative_half_width <= protocol.relative_interval:
                break
        # A kernel of seconds gets three samples at least, whatever the budget.
        if time.perf_counter() - started > protocol.budget_s and len(samples) >= 3:
            break
        samples.append(run.sample(calls, cold))
    return samples, False


def _open(payload: Mapping[str, Any]) -> Device:
    device: Device = payload["device"]
    device.prepare(payload["protocol"].threads)
    return device


def _dataset(payload: Mapping[str, Any], workload: Workload) -> dataset.Dataset:
    return dataset.read(dataset.folder_of(Path(payload["data"]), workload, payload["seed"]), workload)


def run_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: one trial; sends what `_trial` gives.

    Payload: `device`, `protocol`, `data` (folder of datasets), `seed`, `workload`, `artifact`,
    `companions` (pairs of workload and artifact, verified only), `incumbent_s`.
    """
    channel.send(_trial(payload))


def trials_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: trials one after the other, until told `null`.

    For devices that are slow to open (`Device.trials_a_child`). A request is {"workload": key, "artifact",
    "companions": [[key, artifact], ...], "incumbent_s"} with artifacts as plain values. Whoever asks ends
    this child after a trial that did not end well: an error of a GPU stays with its context for good.

    Payload: `device`, `protocol`, `data`, `seed`.
    """
    while (request := channel.receive()) is not None:
        told = {
            "workload": Workload.from_key(request["workload"]),
            "artifact": artifact_from_plain(request["artifact"]),
            "companions": [
                (Workload.from_key(key), artifact_from_plain(plain)) for key, plain in request["companions"]
            ],
            "incumbent_s": request["incumbent_s"],
        }
        channel.send(_trial({**payload, **told}))


def _trial(payload: Mapping[str, Any]) -> dict[str, Any]:
    """One trial: {"status", "samples", "error", "calibration": [before, after], "max_error", "metrics",
    "run_s"}."""
    protocol: Protocol = payload["protocol"]
    answer: dict[str, Any] = {
        "status": "ok",
        "samples": [],
        "error": "",
        "calibration": None,
        "max_error": None,
        "metrics": {},
    }
    started = time.perf_counter()
    try:
        device = _open(payload)
        error = 0.0
        for workload, artifact in payload["companions"]:
            error = max(error, TrialRun(device, artifact, _dataset(payload, workload)).verify()[0])
        run = TrialRun(device, payload["artifact"], _dataset(payload, payload["workload"]))
        share, first_s = run.verify()
        answer["max_error"] = max(error, share)
        state = device.state()
        before = run.calibrate()
        samples, pruned = take_samples(run, protocol, payload["incumbent_s"], first_s)
        conditions = device.conditions(state, device.state())
        answer["calibration"] = [before, run.calibrate()]
        run.verify_again()
        answer["metrics"] = {**run.executable.metrics(), **conditions}
        answer["samples"], answer["status"] = samples, "pruned" if pruned else "ok"
    except WrongResult as error_:
        answer.update(status="wrong_result", error=str(error_))
    except MemoryError as error_:
        answer.update(status="run_error", error=f"out of memory: {error_}".rstrip(": "))
    except Exception as error_:
        answer.update(status="run_error", error=f"{type(error_).__name__}: {error_}")
        if fault := machine_faults.of_exception(error_):
            answer.update(status="environment", error=fault.reason, passing=fault.passing)
    answer["run_s"] = time.perf_counter() - started
    return answer


def serve_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: verifies, then answers `{"calls": n, "turn_s": s}` with seconds a call until told `null`.

    The first message is {"ok": true, "calls": calls a sample} or {"ok": false, "error": ...}.
    """
    protocol: Protocol = payload["protocol"]
    try:
        device = _open(payload)
        for workload, artifact in payload["companions"]:
            TrialRun(device, artifact, _dataset(payload, workload)).verify()
        run = TrialRun(device, payload["artifact"], _dataset(payload, payload["workload"]))
        _, last_s = run.verify()
        cold = protocol.cache == "cold"
        if last_s < _LONG_S:
            run.sample(1, cold)
            last_s = run.sample(1, cold)
        calls = calls_a_sample(last_s, protocol)
        channel.send({"ok": True, "calls": calls})
    except Exception as error:
        channel.send({"ok": False, "error": f"{type(error).__name__}: {error}"})
        return
    while (request := channel.receive()) is not None:
        if request == "verify":
            try:
                run.verify_again()
                channel.send({"ok": True})
            except WrongResult as error:
                channel.send({"ok": False, "error": str(error)})
        else:
            # Its caches were emptied by the others' turns. A long kernel fills them within its sample.
            if not cold and last_s < _REWARM_BELOW_S:
                run.sample(1, cold)
            last_s = _turn(run, int(request["calls"]), cold, float(request["turn_s"]))
            channel.send(last_s)


def _turn(run: TrialRun, calls: int, cold: bool, seconds: float) -> float:
    """The median of up to nine samples that `seconds` have room for; at least one."""
    samples: list[float] = []
    started = time.perf_counter()
    while not samples or (len(samples) < _TURN_AT_MOST and time.perf_counter() - started < seconds):
        samples.append(run.sample(calls, cold))
    return float(np.median(samples))


def calibrate_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: the lower quartile of 40 calibrations, in seconds."""
    device = _open(payload)
    channel.send(float(np.quantile([device.calibrate() for _ in range(40)], 0.25)))


def limits_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: the device's measured peaks by name."""
    device = _open(payload)
    channel.send(dict(device.measure_limits()))
