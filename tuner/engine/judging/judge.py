"""The process that says what a candidate's run is worth.

It has the references and the clock that counts; the candidate's code runs in another process
(`runner.py`), which it asks over a socket that nobody else has. What the runner says of itself is a
claim: outputs are compared here, on inputs that changed since, and the seconds are held against this process'
own clock.
"""

import base64
import ctypes
import pickle
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tuner.core.device import Device
from tuner.core.protocol import Protocol
from tuner.engine.judging import dataset
from tuner.engine.judging.asked_runner import CandidateRefused, Lost, Runner
from tuner.engine.judging.dataset import DatasetRequest
from tuner.engine.judging.judged_run import JudgedRun
from tuner.engine.judging.laid_out import verify_laid_out_anew
from tuner.engine.judging.quiet import calibrate, turn
from tuner.engine.judging.sampling import LONG_S, calls_a_sample, take_samples
from tuner.engine.processes.channel import Channel

_PR_SET_DUMPABLE = 4
_REWARM_BELOW_S = 0.1
# A finalist has a new process in each sitting of a final. Its time is proven in the first sitting, and in
# this share of the later ones, drawn here: no kernel knows beforehand in which sittings that is.
_PROVEN_AGAIN = 0.25


class _Judge:
    """What one judge knows: datasets by workload, runners by process id."""

    def __init__(self, device: Device, protocol: Protocol, channel: Channel) -> None:
        self._device, self._protocol, self._channel = device, protocol, channel
        self._data: dict[str, dataset.Dataset] = {}
        self._runners: dict[int, Runner] = {}
        self._seats: dict[int, JudgedRun] = {}
        # What was proven of finalists, seconds of a call.
        self._proven: dict[tuple[str, str], float] = {}
        # Nobody else can know what it draws: seeded by the system.
        self._rng = np.random.default_rng()

    # --- datasets -----------------------------------------------------------------------------------------

    def prepare(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Computes a dataset: {"dataset": a `DatasetRequest`, "operator": pickled, base64}."""
        wanted = DatasetRequest.from_dict(request["dataset"])
        if wanted.workload not in self._data:
            operator = pickle.loads(base64.b64decode(request["operator"]))
            self._data[wanted.workload] = dataset.remake(wanted, operator)
            _quiet_libraries()
        return {}

    def forget(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Lets a dataset go: {"workload"}."""
        data = self._data.pop(request["workload"], None)
        if data is not None:
            data.close()
        return {}

    # --- trials -------------------------------------------------------------------------------------------

    def trial(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One whole trial.

        {"pid", "kept", "workload", "artifact", "companions": [[key, artifact], ...], "incumbent_s",
        "reference_s", "calibration", "constant", "least_s", "special"}; a descriptor of the runner's socket
        follows unless it is kept. The answer is {"status", "samples", "error", "calibration": [before,
        after], "max_error", "metrics", "run_s"}; the status may be "lost" ("garbled" where it spoke no
        message) or "run_timeout".
        """
        answer: dict[str, Any] = {
            "status": "ok", "samples": [], "error": "", "calibration": None, "max_error": None, "metrics": {},
        }  # fmt: skip
        runner = self._runner(request)
        started = time.perf_counter()
        try:
            self._judge_trial(request, runner, answer)
        except CandidateRefused as refused:
            answer.update(status=refused.status, error=str(refused), samples=[], passing=refused.passing)
        except Lost as lost:
            status = "run_timeout" if lost.timed_out else "lost"
            answer.update(status=status, error=str(lost), samples=[], garbled=lost.garbled)
        answer["run_s"] = time.perf_counter() - started
        return answer

    def _judge_trial(self, request: Mapping[str, Any], runner: Runner, answer: dict[str, Any]) -> None:
        error = self._verify_companions(runner, request, every=False)
        run = self._verified(runner, request["workload"], request["artifact"], request)
        kind = str(request.get("calibration", ""))
        before = self._calibrated(runner, run, kind)
        share, first_s = run.verify()
        self._laid_out_anew(runner, request)
        state = run.state()
        incumbent_s, reference_s = request["incumbent_s"], request["reference_s"]
        if incumbent_s and reference_s and before[1]:
            # Trials are ranked with drift divided out: on a machine that is slower now so is the incumbent.
            incumbent_s *= before[0] / reference_s
        samples, pruned, disturbed = take_samples(run, self._protocol, incumbent_s, first_s)
        conditions = dict(self._device.conditions(state, run.state()))
        if disturbed:
            conditions["disturbed_share"] = disturbed
        if not pruned:
            samples = run.prove(samples, incumbent_s)
        after = self._calibrated(runner, run, kind)
        # Without either the machine's speed is not known: a disturbed one would halve the time.
        quiet = [seconds for seconds, calm in (before, after) if calm]
        answer["calibration"] = [quiet[0], quiet[-1]] if quiet else None
        answer["max_error"] = max(error, share, run.verify_again())
        answer["metrics"] = {**run.metrics(), **conditions, **run.remarks}
        answer["samples"], answer["status"] = samples, "pruned" if pruned else "ok"

    def _verify_companions(self, runner: Runner, request: Mapping[str, Any], every: bool) -> float:
        """The largest error of all ragged shapes; the largest shape of them, or `every` one, is verified on
        special values too, where the kernel is for them."""
        worst, last = 0.0, None
        companions = request["companions"]
        small = [place for place, (key, _) in enumerate(companions) if self._data[key].special]
        if small and request["special"] and not every:
            last = max(small, key=lambda place: self._flops(companions[place][0]))
        for place, (key, artifact) in enumerate(companions):
            run = self._verified(runner, key, artifact, request)
            worst = max(worst, run.verify()[0])
            if request["special"] and (every or place == last):
                run.verify_special()
        return worst

    def _flops(self, key: str) -> int:
        data = self._data[key]
        return data.operator.flops(data.workload)

    def _runner(self, request: Mapping[str, Any]) -> Runner:
        pid = int(request["pid"])
        if not request.get("kept"):
            if (old := self._runners.pop(pid, None)) is not None:
                old.close()
            descriptor = self._channel.receive_descriptor()
            self._runners[pid] = Runner(pid, descriptor, self._protocol.run_timeout_s, self._runners)
        runner = self._runners[pid]
        runner.begin()
        return runner

    def _verified(self, runner: Runner, key: str, artifact: Any, request: Mapping[str, Any]) -> JudgedRun:
        return JudgedRun(
            runner, self._data[key], artifact, self._protocol, self._rng,
            own_clock=self._device.kernels_in_process, constant=tuple(request["constant"]),
        least_s=float(request["least_s"]), )  # fmt: skip

    def _laid_out_anew(self, runner: Runner, request: Mapping[str, Any]) -> None:
        verify_laid_out_anew(runner, self._data[request["workload"]], request["artifact"], self._rng)

    def _calibrated(self, runner: Runner, run: JudgedRun, kind: str) -> tuple[float, bool]:
        """Seconds of the calibration kernel, while the runner stands still with all its threads, and whether
        nothing disturbed it."""
        if not self._device.kernels_in_process:
            return run.calibrate(kind)
        with runner.stopped():
            return calibrate(self._device, kind)

    def drop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A runner is gone: {"pid"}."""
        self._seats.pop(int(request["pid"]), None)
        runner = self._runners.pop(int(request["pid"]), None)
        if runner is not None:
            runner.close()
        return {}

    # --- finals -------------------------------------------------------------------------------------------

    def seat(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A finalist takes its place, verified; asked as `trial`, answers {"ok": true, "calls"}."""
        runner = self._runner(request)
        self._verify_companions(runner, request, every=True)
        run = self._verified(runner, request["workload"], request["artifact"], request)
        _, last_s = run.verify()
        self._laid_out_anew(runner, request)
        if last_s < LONG_S:
            run.samples(1, 1)
            last_s = run.samples(1, 1)[0].seconds
        calls = calls_a_sample(last_s, self._protocol)
        if calls > 1:
            calls = calls_a_sample(run.samples(1, calls)[0].seconds, self._protocol)
        finalist = request["workload"], repr(request["artifact"])
        known = finalist in self._proven
        if known:
            run.proven_s = self._proven[finalist]
        if last_s < LONG_S and not (known and self._rng.random() >= _PROVEN_AGAIN):
            run.prove([run.samples(1, calls)[0].seconds], None)
            if run.doubted or run.pause_s:
                self._proven.pop(finalist, None)
            else:
                self._proven[finalist] = run.proven_s
        self._seats[int(request["pid"])] = run
        return {"ok": True, "calls": calls}

    def turn(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """{"pid", "calls", "turn_s"}: as `quiet.turn`. One far faster than what was proven is proven too, or
        taken again by the judge's clock."""
        run = self._seats[int(request["pid"])]
        run.runner.begin()
        # Its caches were emptied by the others' turns. A long kernel fills them within its sample.
        if self._protocol.warm and run.last_s < _REWARM_BELOW_S:
            run.samples(1, 1)
        calls, turn_s = int(request["calls"]), float(request["turn_s"])
        found = turn(run, calls, run.state, turn_s)
        if run.faster_than_proven(found["seconds"]):
            run.prove([found["seconds"]], None)
            if run.doubted:
                found = turn(run, calls, run.state, turn_s)
        return {"ok": True, **found}

    def recheck(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """{"pid"}: whether a finalist is still right."""
        run = self._seats[int(request["pid"])]
        run.runner.begin()
        run.verify_again()
        return {"ok": True}


def _quiet_libraries() -> None:
    """One thread for BLAS from here on: what it leaves spinning would be beside the next measurement."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)


_REQUESTS = ("prepare", "forget", "trial", "drop", "seat", "turn", "recheck")


def judge_job(payload: Mapping[str, Any], channel: Channel) -> None:
    """Child: does what it is asked, until told `null`; payload: `device`, `protocol`.

    A request is {"do": a method of `_Judge`, ...}. What goes wrong beyond a candidate's doing is answered as
    {"broken": text}.
    """
    if sys.platform == "linux":
        # Kernels run as the same user, and may not read the references out of this process' memory.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    device: Device = payload["device"]
    if device.kernels_in_process:
        device.prepare(payload["protocol"].threads)
    judge = _Judge(device, payload["protocol"], channel)
    while (request := channel.receive()) is not None:
        try:
            if request["do"] not in _REQUESTS:
                raise RuntimeError(f"no request {request['do']!r}")
            answer = getattr(judge, request["do"])(request)
        except CandidateRefused as refused:
            answer = {"ok": False, "error": str(refused), "machine": refused.status == "environment"}
        except Lost as lost:
            answer = {
                "ok": False, "lost": True, "timed_out": lost.timed_out, "garbled": lost.garbled,
                "error": str(lost),
            }  # fmt: skip
        except Exception as error:
            answer = {"broken": f"{type(error).__name__}: {error}"}
        channel.send(answer)
