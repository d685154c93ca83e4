"""Builds and runs candidates: one warm process a language for building, one for running."""

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.measurement import Calibration, Evidence, Measurement, Status
from tuner.core.operator import Operator
from tuner.core.protocol import Protocol
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine import bench_process, build_process, dataset
from tuner.engine.channel import ChannelClosed, ChannelGarbage
from tuner.engine.locks import building, measuring
from tuner.engine.zygote import Child, Limits, Zygote, ZygoteDied

_FILE_LIMIT_BUILD = 2 * 2**30
# A run writes nothing but messages; a flood of them ends after a second (they are unbuffered).
_FILE_LIMIT_RUN = 4 * 2**20
# Importing TVM takes 8 s on an idle machine; much more when everything is busy.
_START_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Built:
    """What came of a build.

    Attributes:
        status: `ok`, or how it failed.
        error: the reason of a failure.
        artifact: for the workload asked for.
        companions: further workloads that the artifact, or one of its own, must compute right.
        build_s: seconds in the child.
        folder: holds everything it made; remove with `Workshop.discard`.
    """

    status: Status
    error: str = ""
    artifact: Artifact | None = None
    companions: tuple[tuple[Workload, Artifact], ...] = ()
    build_s: float = 0.0
    folder: Path | None = None


@dataclass
class _State:
    zygotes: dict[tuple[str, ...], Zygote] = field(default_factory=dict)
    children: set[Child] = field(default_factory=set)
    count: int = 0


class Workshop:
    """Builds and runs candidates of one operator on one device under one protocol.

    Args:
        device: what runs them.
        protocol: how they are timed.
        jobs: builds at a time; default: the device's cores.
        seed: of the random inputs.

    Use as a context manager: leaving it ends all processes and removes all files.
    """

    def __init__(self, device: Device, protocol: Protocol, seed: int, jobs: int | None = None) -> None:
        self.device, self.protocol, self.seed = device, protocol, seed
        # Kernels may use as many threads as the protocol gives them, not all the device has.
        self.target = device_target(device, protocol)
        self.jobs = jobs or max(1, int(device.target.limits.get("cores", 1)))
        self._folder = Path(tempfile.mkdtemp(prefix="tuner-"))
        self._lock = threading.Lock()
        self._state = _State()

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all processes, removes all files."""
        self.stop()
        for zygote in self._state.zygotes.values():
            zygote.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Ends the children that are at work now (their calls return as crashes)."""
        for child in list(self._state.children):
            child.kill()

    def warm(self, kernels: Sequence[Kernel]) -> None:
        """Starts the warm processes these kernels need, so that they import while other things happen."""
        for kernel in kernels:
            self._builder_zygote(kernel.language)
        self._run_zygote()

    def _zygote(self, key: tuple[str, ...], modules: Sequence[str], warm_up: Any = None) -> Zygote:
        with self._lock:
            if key not in self._state.zygotes:
                self._state.zygotes[key] = Zygote(modules, self._folder, warm_up)
            return self._state.zygotes[key]

    def _start(self, zygote: Callable[[], Zygote], function: Any, payload: Any, limits: Limits) -> Child:
        """A child of a warm process; one that died (the system was short of memory, say) is replaced."""
        first = zygote()
        try:
            return first.start(function, payload, limits)
        except ZygoteDied:
            with self._lock:
                for key in [k for k, z in self._state.zygotes.items() if z is first]:
                    self._state.zygotes.pop(key).close()
            try:
                return zygote().start(function, payload, limits)
            except ZygoteDied as error:
                raise TunerError(str(error)) from None

    def _builder_zygote(self, language: str) -> Zygote:
        builder = registry.builder(language)
        modules = [*builder.preload, "tuner.engine.build_process"]
        return self._zygote(("build", language), modules, partial(registry.warm_builder, language))

    def _run_zygote(self) -> Zygote:
        # The device arrives pickled: without its module here, every child would import it.
        modules = [*self.device.preload, type(self.device).__module__, "tuner.engine.bench_process"]
        return self._zygote(("run",), modules)

    def _ask(
        self, zygote: Callable[[], Zygote], function: Any, payload: Any, limits: Limits, timeout: float
    ) -> Any:
        """One job's answer, or a (status word, reason) of how its child ended."""
        child = self._start(zygote, function, payload, limits)
        self._state.children.add(child)
        try:
            answer = child.channel.receive(timeout)
        except TimeoutError:
            child.kill()
            child.wait()
            return "timeout", f"no result within {timeout:g} s"
        except (ChannelClosed, ChannelGarbage):
            return "crash", _death(child)
        finally:
            self._state.children.discard(child)
        # Its memory need not be gone before the next one starts, but its computing must be.
        child.kill()
        child.wait()
        return answer

    def prepare(self, operator: Operator, workload: Workload, companions: bool = True) -> None:
        """Computes inputs and references of a workload and of its ragged companions, once.

        Raises:
            TunerError: they do not fit in memory, or the reference fails.
        """
        for each in (workload, *(operator.companions(workload) if companions else ())):
            folder = dataset.folder_of(self._folder, each, self.seed)
            if folder.exists():
                continue
            payload = {"operator": operator, "workload": each, "seed": self.seed, "folder": str(folder)}
            answer = self._ask(self._run_zygote, dataset.write_job, payload, Limits(), _START_TIMEOUT_S)
            if answer != "done":
                raise TunerError(f"the reference of {each.key} cannot be computed: {answer[1]}")

    def build(
        self, kernel: Kernel, workload: Workload, config: Config, companions: Sequence[Workload] = ()
    ) -> Built:
        """Lowers and builds one configuration in a child.

        A kernel that is generic in its shape serves its companions with the same artifact; any other
        gets one built for each.
        """
        with self._lock:
            self._state.count += 1
            folder = self._folder / f"build-{self._state.count}"
        own = () if kernel.shape_generic else tuple(companions)
        payload = {
            "kernel": kernel, "workloads": (workload, *own), "config": dict(config),
            "target": self.target, "folder": str(folder),
        }  # fmt: skip
        limits = Limits(self.protocol.memory_bytes, _FILE_LIMIT_BUILD)
        zygote = partial(self._builder_zygote, kernel.language)
        started = time.perf_counter()
        # A GPU is not disturbed by what the CPU compiles.
        with building(self.device.fingerprint if self.device.target.kind == "cpu" else None):
            answer = self._ask(
                zygote, build_process.build_job, payload, limits, self.protocol.build_timeout_s
            )
        seconds = time.perf_counter() - started
        if isinstance(answer, tuple):
            word, reason = answer
            status = Status.BUILD_TIMEOUT if word == "timeout" else Status.BUILD_ERROR
            shutil.rmtree(folder, ignore_errors=True)
            return Built(status, f"build: {reason}", build_s=seconds)
        artifacts = [build_process.artifact_from_plain(plain) for plain in answer["artifacts"]]
        if answer["status"] != "ok":
            shutil.rmtree(folder, ignore_errors=True)
            return Built(Status(answer["status"]), answer["error"], build_s=answer["build_s"])
        if kernel.shape_generic:
            pairs = tuple((w, _with_dims(artifacts[0], w)) for w in companions)
        else:
            pairs = tuple(zip(own, artifacts[1:], strict=True))
        return Built(Status.OK, "", artifacts[0], pairs, answer["build_s"], folder)

    def build_all(self, items: Sequence[tuple[Kernel, Workload, Config, Sequence[Workload]]]) -> list[Built]:
        """Builds several candidates, `jobs` at a time; in the order given."""
        if len(items) == 1:
            return [self.build(*items[0])]
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self.build, *item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                self.stop()
                raise

    def payload(self, workload: Workload, built: Built, incumbent_s: float | None = None) -> dict[str, Any]:
        """What `bench_process` jobs are told."""
        return {
            "device": self.device, "protocol": self.protocol, "data": str(self._folder), "seed": self.seed,
            "workload": workload, "artifact": built.artifact, "companions": built.companions,
            "incumbent_s": incumbent_s,
        }  # fmt: skip

    def serve(self, workload: Workload, built: Built) -> Child:
        """A child that holds a verified candidate and times single samples on request."""
        limits = Limits(self.protocol.memory_bytes, _FILE_LIMIT_RUN)
        payload = self.payload(workload, built)
        return self._start(self._run_zygote, bench_process.serve_job, payload, limits)

    def measure(
        self, workload: Workload, built: Built, incumbent_s: float | None, reference_s: float | None
    ) -> Measurement:
        """Runs what was built, alone on the device, in a child: verifies, then times.

        Args:
            workload: what it computes.
            built: a build, failed ones included (they become failed measurements).
            incumbent_s: seconds of the best so far: far slower candidates are dropped after one call.
            reference_s: seconds of the calibration kernel that times are related to.
        """
        if built.artifact is None:
            return Measurement(built.status, Evidence.MEASURED, error=built.error, build_s=built.build_s)
        limits = Limits(self.protocol.memory_bytes, _FILE_LIMIT_RUN)
        payload = self.payload(workload, built, incumbent_s)
        known: dict[str, Any] = {
            "build_s": built.build_s, "metrics": built.artifact.metrics, "artifact": built.artifact.digest,
        }  # fmt: skip
        with measuring(self.device.fingerprint):
            started = time.perf_counter()
            answer = self._ask(
                self._run_zygote, bench_process.run_job, payload, limits, self.protocol.run_timeout_s
            )
        seconds = time.perf_counter() - started
        if isinstance(answer, tuple):
            word, reason = answer
            status = Status.RUN_TIMEOUT if word == "timeout" else Status.CRASH
            return Measurement(status, Evidence.MEASURED, error=f"run: {reason}", run_s=seconds, **known)
        try:
            calibration = None
            if answer["calibration"] and reference_s:
                calibration = Calibration(reference_s, *answer["calibration"])
            return Measurement(
                Status(answer["status"]),
                Evidence.MEASURED,
                tuple(answer["samples"]),
                answer["error"],
                calibration,
                run_s=answer["run_s"],
                max_error=answer["max_error"],
                **known,
            )
        except (KeyError, TypeError, ValueError) as error:
            # The child overwrote its own memory and still answered: that is a crash too.
            return Measurement(
                Status.CRASH,
                Evidence.MEASURED,
                error=f"run: unusable answer: {error}",
                run_s=seconds,
                **known,
            )

    def discard(self, built: Built) -> None:
        """Removes what a build made."""
        if built.folder is not None:
            shutil.rmtree(built.folder, ignore_errors=True)

    def calibrate(self) -> float:
        """Seconds of the calibration kernel on the idle device: the lower quartile of many."""
        with measuring(self.device.fingerprint):
            payload = {"device": self.device, "protocol": self.protocol}
            answer = self._ask(
                self._run_zygote, bench_process.calibrate_job, payload, Limits(), _START_TIMEOUT_S
            )
        if isinstance(answer, tuple):
            raise TunerError(f"the device cannot be calibrated: {answer[1]}")
        return float(answer)

    def limits(self) -> dict[str, float]:
        """Peaks of the device, measured now in a child of its own."""
        with measuring(self.device.fingerprint):
            payload = {"device": self.device, "protocol": self.protocol}
            answer = self._ask(
                self._run_zygote, bench_process.limits_job, payload, Limits(), _START_TIMEOUT_S
            )
        if isinstance(answer, tuple):
            raise TunerError(f"the device's peaks cannot be measured: {answer[1]}")
        return {name: float(value) for name, value in answer.items()}


def device_target(device: Device, protocol: Protocol) -> Target:
    """The device's target with as many cores as the protocol has threads."""
    target = device.target
    if target.kind != "cpu":
        return target
    cores = min(protocol.threads, int(target.limits.get("cores", protocol.threads)))
    return Target(target.kind, target.arch, target.features, {**target.limits, "cores": cores})


def _with_dims(artifact: Artifact, workload: Workload) -> Artifact:
    """The same artifact called with another workload's dimensions."""
    from dataclasses import replace

    dims = dict(workload.dims)
    arguments = tuple(
        replace(a, value=dims[a.name]) if a.kind != "tensor" and a.name in dims else a
        for a in artifact.arguments
    )
    return replace(artifact, arguments=arguments)


def _death(child: Child) -> str:
    """How a child ended that never answered, with what it printed last."""
    code = child.wait()
    if code < 0:
        try:
            how = f"died of {signal.Signals(-code).name}"
        except ValueError:
            how = f"died of signal {-code}"
    else:
        how = f"ended with exit code {code} and no result"
    lines = [line for line in child.output_tail().splitlines() if line.strip()]
    return f"{how}: {lines[-1].strip()[:300]}" if lines else how
