"""Builds and runs candidates of one device under one protocol."""

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import MachineFault, TunerError
from tuner.core.guarded import RESERVED
from tuner.core.kernel import Kernel
from tuner.core.measurement import Calibration, Evidence, Measurement, Status
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.engine.building import answers
from tuner.engine.building.answers import trial_answer
from tuner.engine.building.build_process import artifact_to_plain
from tuner.engine.building.build_stage import BuildRequest, BuildStage, Built
from tuner.engine.candidate import device_jobs
from tuner.engine.candidate.evaluator import Evaluated, Standing, TrialJob
from tuner.engine.candidate.in_turn import in_turn
from tuner.engine.judging import runner
from tuner.engine.judging.judge_client import JudgeClient, Seat
from tuner.engine.processes import machine_faults
from tuner.engine.processes.limits import Limits
from tuner.engine.processes.locks import measuring
from tuner.engine.processes.preflight import prepared_scratch
from tuner.engine.processes.workers import ChildLost, Warm, Workers
from tuner.engine.processes.zygote import Child

# Addresses around the tensors that nothing lies at, of up to eight tensors and workspaces at a time.
_ADDRESSES = 8 * 2 * RESERVED
# A float64 reference of a large workload takes its time.
_PATIENCE_S = 300.0

_T = TypeVar("_T")


class Workshop:
    """Builds and runs candidates on one device under one protocol.

    Args:
        device: what runs them.
        protocol: how they are timed.
        seed: of the random inputs.
        jobs: builds at a time; default: the device's cores.

    Use as a context manager: leaving it ends all processes and removes all files.

    Raises:
        Unavailable: the protocol holds the device's clock, and that is not allowed here.
    """

    def __init__(self, device: Device, protocol: Protocol, seed: int, jobs: int | None = None) -> None:
        self.device, self.protocol, self.seed = device, protocol, seed
        self._held = contextlib.ExitStack()
        self._held.enter_context(device.held(protocol))
        # Kernels may use as many threads as the protocol gives them, not all the device has.
        self.target = device.target_for(protocol.threads)
        # A device of its own leaves all of the machine's cores to the builds.
        cores = device.target.limits.get("cores") if device.shares_cpu else None
        self.jobs = jobs or max(1, int(cores or len(os.sched_getaffinity(0))))
        self._scratch = prepared_scratch(self.jobs)
        self._folder = self._scratch.path
        self._workers = Workers(self._folder)
        # The device arrives pickled: without its module here, every child would import it.
        modules = (
            *device.preload,
            type(device).__module__,
            "tuner.engine.candidate.device_jobs",
            "tuner.engine.judging.judge",
            "tuner.engine.judging.runner",
        )
        self._run = Warm(modules, device.warm_up)
        self._run_library = Warm((*modules, *device.preload_of_libraries), device.warm_up)
        beyond = protocol.memory_bytes + _ADDRESSES if protocol.memory_bytes and device.limits_memory else 0
        self._limits = Limits(beyond, device.child_file_bytes)
        self._judge = JudgeClient(self._workers, self._run, device, protocol, _PATIENCE_S)
        # A child that may run further trials, how many, and what it was forked from.
        self._kept: tuple[Child, int, Warm] | None = None
        disturbed = device.fingerprint if device.shares_cpu else None
        self._stage = BuildStage(self._workers, self._folder, self.target, protocol, self.jobs, disturbed)

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all processes, removes all files, lets the device's clock go."""
        self._held.close()
        self._stage.stop()
        self._workers.close()
        self._scratch.close()

    def stop(self) -> None:
        """Ends the children that are at work now."""
        self._kept = None
        self._judge.stop()
        self._stage.stop()

    def warm(self, kernels: Sequence[Kernel]) -> None:
        """Starts the warm processes these kernels need, so that they import while other things happen."""
        for language in dict.fromkeys(kernel.language for kernel in kernels):
            self._workers.warm(self._stage.warm(language))
        self._workers.warm(self._run)
        if any(kernel.baseline for kernel in kernels):
            self._workers.warm(self._run_library)

    def settle(self) -> None:
        """Waits until the warm processes are done importing, so that they disturb no measurement."""
        self._workers.settle()

    def release(self) -> None:
        """Ends the child that is kept for further trials, and waits until it and those before it have ended.

        A device may serve one process at a time only, and a context that is left open takes memory of it.
        """
        kept, self._kept = self._kept, None
        if kept is not None:
            self._judge.dismiss(kept[0])
        self._workers.collect()

    def _once(self, function: Any, payload: Any, complaint: str, again: bool = True) -> Any:
        try:
            return self._workers.ask(self._run, function, payload, Limits(), _PATIENCE_S)
        except ChildLost as lost:
            if lost.fault and again:
                return self._once(function, payload, complaint, again=False)
            raise TunerError(f"{complaint}: {lost}") from None

    def prepare(self, operator: Operator, workload: Workload, companions: bool = True) -> None:
        """Computes inputs and references of a workload and of its ragged companions, once.

        Raises:
            TunerError: they do not fit in memory, or the reference fails.
        """
        for each in (workload, *(operator.companions(workload) if companions else ())):
            self._judge.prepare(operator, each, self.seed)

    def forget(self, operator: Operator, workload: Workload) -> None:
        """Lets go what `prepare` computed for a workload; a series of many would fill the memory."""
        for each in (workload, *operator.companions(workload)):
            self._judge.forget(each)

    def build(
        self, kernel: Kernel, workload: Workload, config: Config, companions: Sequence[Workload] = ()
    ) -> Built:
        """Lowers and builds one configuration in a child; see `BuildRequest`."""
        return self.build_all([BuildRequest(kernel, workload, config, tuple(companions))])[0]

    def build_all(self, requests: Sequence[BuildRequest]) -> list[Built]:
        """Builds several candidates, `jobs` at a time; in the order given."""
        return self._stage.build_all(requests)

    def build_each(self, requests: Sequence[BuildRequest]) -> Generator[Built, None, None]:
        """Builds several candidates, each given when it may be measured; see `BuildStage.build_each`."""
        return self._stage.build_each(requests)

    def build_ahead(self, requests: Sequence[BuildRequest]) -> None:
        """Begins builds that will be asked for, where they disturb no measurement; returns at once."""
        self._stage.build_ahead(requests)

    def keep(self, request: BuildRequest, built: Built) -> None:
        """Keeps a build for whoever asks for it next; see `BuildStage.keep`."""
        self._stage.keep(request, built)

    def evaluate(self, jobs: Sequence[TrialJob], standing: Standing) -> Iterator[Evaluated]:
        """Builds the candidates and runs each alone on the device; outcomes in the order of the jobs."""
        return in_turn(self, jobs, standing)

    def serve(self, workload: Workload, built: Built) -> Seat:
        """A child that holds a verified candidate and is timed turn by turn."""
        assert built.artifact is not None
        child = self._runner(self._warm_for(built.artifact.format))
        return self._judge.seat(child, self._request(workload, built))

    def _warm_for(self, artifact_format: str) -> Warm:
        """What a runner is forked from: calls of libraries from a process that has imported the slow ones."""
        return self._run_library if artifact_format == "callable" else self._run

    def _runner(self, warm: Warm) -> Child:
        if self.device.exclusive:
            self._workers.collect()
        payload = {"device": self.device, "protocol": self.protocol}
        return self._workers.start(warm, runner.runner_job, payload, self._limits)

    def _request(
        self, workload: Workload, built: Built, incumbent_s: float | None = None,
        reference_s: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What the judge is told of a candidate."""
        assert built.artifact is not None
        operator = registry.operator(workload.operator)
        flops = operator.flops(workload) / built.fewer_operations
        return {
            "workload": workload.key, "artifact": artifact_to_plain(built.artifact),
            "companions": [[w.key, artifact_to_plain(a)] for w, a in built.companions],
            "incumbent_s": incumbent_s, "reference_s": reference_s,
            "calibration": self.calibration_kind(workload),
            "constant": list(built.constant), "special": built.special,
            "least_s": self.device.least_seconds(
                flops, operator.min_bytes(workload), workload.dtype, self.protocol.threads
            ),
        }  # fmt: skip

    def measure(
        self, workload: Workload, built: Built, incumbent_s: float | None, reference_s: float | None
    ) -> Measurement:
        """Runs what was built, alone on the device, in a child: verifies, then times.

        Args:
            workload: what it computes.
            built: a build, failed ones included (they become failed measurements).
            incumbent_s: `time_s` of the best so far: far slower candidates are dropped after one call.
            reference_s: seconds of the calibration kernel that times are related to.

        Raises:
            MachineFault: the machine failed in a way that every further candidate would meet too. What may
                be over is tried once more, then it is a measurement of status `environment`.
        """
        if built.fault and not built.fault.passing:
            raise built.fault.error()
        if built.artifact is None:
            return Measurement(built.status, Evidence.MEASURED, error=built.error, build_s=built.build_s)
        known: dict[str, Any] = {
            "evidence": Evidence.MEASURED, "build_s": built.build_s,
            "metrics": self.target.metrics(built.artifact), "artifact": built.artifact.digest,
        }  # fmt: skip
        if problem := self.target.problem(built.artifact):
            return Measurement(Status.OVER_RESOURCES, error=problem, **known)
        request = self._request(workload, built, incumbent_s, reference_s)
        found = self._run_once(request, known, reference_s)
        if found.status is Status.ENVIRONMENT:
            found = self._run_once(request, known, reference_s)
        return found

    def _run_once(
        self, request: dict[str, Any], known: dict[str, Any], reference_s: float | None
    ) -> Measurement:
        self.settle()
        with measuring(self.device.fingerprint):
            started = time.perf_counter()
            try:
                answer = self._trial(request)
            except ChildLost as lost:
                fault = lost.fault or machine_faults.of_lost_memory(str(lost), self._limits.memory_bytes)
                status = Status.RUN_TIMEOUT if lost.timed_out else Status.CRASH
                status = Status.ENVIRONMENT if fault else status
                seconds = time.perf_counter() - started
                return Measurement(status, error=f"run: {lost}", run_s=seconds, **known)
        try:
            answer = trial_answer(answer)
            if answer["status"] == Status.RUN_ERROR and (
                fault := machine_faults.of_artifact(Path(request["artifact"]["path"]))
            ):
                raise fault.error()
            if answer["status"] == Status.ENVIRONMENT and not answer["passing"]:
                raise MachineFault(str(answer["error"]))
            calibration = None
            if answer["calibration"] and reference_s:
                calibration = Calibration(reference_s, *answer["calibration"])
            known = {**known, "metrics": {**known["metrics"], **answer["metrics"]}}
            return Measurement(
                answer["status"], samples=tuple(answer["samples"]), error=answer["error"],
                calibration=calibration, run_s=answer["run_s"], max_error=answer["max_error"], **known,
            )  # fmt: skip
        except ValueError as error:
            # The judge says this, not the candidate: what a runner says of itself is checked in the judge.
            return self._judge_failed(f"the judging process: unusable answer: {error}", known)

    def _judge_failed(self, reason: str, known: dict[str, Any]) -> Measurement:
        """A fault of the machine; the judge is replaced, and so is the runner that it left in some state."""
        self._judge.stop()
        if self._kept is not None:
            self._judge.dismiss(self._kept[0])
            self._kept = None
        return Measurement(Status.ENVIRONMENT, error=f"run: {reason}", **known)

    def _trial(self, request: dict[str, Any]) -> Any:
        """Runs one trial in a child: a new one, or the last one's where the device allows; `ChildLost`."""
        warm = self._warm_for(request["artifact"]["format"])
        if self.device.trials_a_child == 1:
            child = self._runner(warm)
            answer = self._judge.trial(child, request, kept=False)
            self._judge.dismiss(child)
            return answer
        kept, self._kept = self._kept, None
        if kept is not None and not set(warm.modules) <= set(kept[2].modules):
            self._judge.dismiss(kept[0])  # to import the library there takes longer than another context
            kept = None
        if kept is not None:
            try:
                answer = self._ask_kept(*kept, request, kept=True)
            except ChildLost as lost:
                if lost.timed_out:
                    raise
            else:
                if answer.get("status") != Status.RUN_ERROR:
                    return answer
            # It may have failed for what an earlier trial left behind: a fresh process tells.
        return self._ask_kept(self._runner(warm), self.device.trials_a_child, warm, request, kept=False)

    def _ask_kept(
        self, child: Child, left: int, warm: Warm, request: dict[str, Any], kept: bool
    ) -> dict[str, Any]:
        answer = self._judge.trial(child, request, kept)
        if left > 1 and answer.get("status") in self.device.sound_after:
            self._kept = (child, left - 1, warm)
        else:
            self._judge.dismiss(child)
        return answer

    def calibration_kind(self, workload: Workload) -> str:
        """The device's calibration kernel for work of this kind."""
        operator = registry.operator(workload.operator)
        return self.device.calibration_kind(
            operator.flops(workload), operator.min_bytes(workload), workload.dtype
        )

    def calibrate(self, kind: str = "") -> tuple[float, bool]:
        """Seconds of the calibration kernel, the lower quartile of many; whether others left it the cores."""
        self.settle()
        self.release()
        with measuring(self.device.fingerprint):
            payload = {"device": self.device, "protocol": self.protocol, "kind": kind}
            complaint = "the device cannot be calibrated"
            answer = self._once(device_jobs.calibrate_job, payload, complaint)
        return _usable(answers.calibration, answer, complaint)

    def limits(self) -> dict[str, float]:
        """Peaks of the device, measured now in a child of its own."""
        self.settle()
        self.release()
        with measuring(self.device.fingerprint):
            payload = {"device": self.device, "protocol": self.protocol}
            complaint = "the device's peaks cannot be measured"
            answer = self._once(device_jobs.limits_job, payload, complaint)
        return _usable(partial(answers.numbers, what="the peaks"), answer, complaint)


def _usable(check: Callable[[Any], _T], answer: Any, complaint: str) -> _T:
    try:
        return check(answer)
    except answers.UnusableAnswer as error:
        raise TunerError(f"{complaint}: unusable answer: {error}") from None
