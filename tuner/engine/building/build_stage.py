"""The build stage: candidates in, artifacts out, several side by side, none beside what builds disturb."""

import itertools
import shutil
import threading
import time
from collections import deque
from collections.abc import Generator, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.errors import MachineFault
from tuner.core.kernel import Kernel
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.building import build_process
from tuner.engine.building.ahead import Ahead
from tuner.engine.building.answers import BuildAnswer, UnusableAnswer, build_answer
from tuner.engine.processes import machine_faults
from tuner.engine.processes.limits import Limits
from tuner.engine.processes.locks import building
from tuner.engine.processes.workers import ChildLost, Warm, Workers
from tuner.engine.processes.zygote import Child

_FILE_LIMIT = 2 * 2**30
# Forking a process with TVM loaded costs 10 ms, more than all else the engine does for a trial, and a program
# that is scheduled by traces is parsed once a child, 30 ms: a child goes on to the next build. Not for ever:
# compilers leak.
_BUILDS_A_CHILD = 64


@dataclass(frozen=True)
class BuildRequest:
    """One candidate to build.

    Attributes:
        kernel, workload, config: what.
        companions: further workloads it must compute right. A kernel that is generic in its shape
            serves them with the same artifact; any other gets one built for each.
    """

    kernel: Kernel
    workload: Workload
    config: Config
    companions: tuple[Workload, ...] = ()

    @property
    def identity(self) -> Hashable:
        """Equal for requests that one build serves."""
        shapes = tuple(workload.key for workload in (self.workload, *self.companions))
        return self.kernel.name, self.kernel.digest, shapes, tuple(sorted(self.config.items()))


@dataclass(frozen=True)
class Built:
    """What came of a build.

    Attributes:
        status: `ok`, or how it failed.
        error: the reason of a failure.
        artifact: for the workload asked for; `None` after a failure.
        companions: the artifacts that the further workloads are computed with; those are left out for which
            a GPU kernel's configuration is not valid.
        build_s: seconds of lowering and compiling.
        overhead_s: seconds beyond that, of forking and asking.
        folder: holds everything it made; remove with `discard`.
        fewer_operations, constant: the kernel's, see `Kernel`.
        special: whether it is verified on special values: not a library, which has ways of its own.
        fault: what the machine did, of status `environment`.
    """

    status: Status
    error: str = ""
    artifact: Artifact | None = None
    companions: tuple[tuple[Workload, Artifact], ...] = ()
    build_s: float = 0.0
    overhead_s: float = 0.0
    folder: Path | None = None
    fewer_operations: float = 1.0
    constant: tuple[str, ...] = ()
    special: bool = False
    fault: machine_faults.Fault | None = None

    def require_machine(self, what: str) -> None:
        """Refuses to go on without what the machine failed to build: in a final, say, another would win.

        Args:
            what: cannot be done, for the message.

        Raises:
            MachineFault: the machine failed this build, not the candidate.
        """
        if self.fault is not None:
            raise MachineFault(
                f"{what}: {self.fault.reason}; what was measured is stored: the same command goes on from "
                "there",
                self.fault.passing,
            )

    def discard(self) -> None:
        """Removes what the build made."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def one_by_one(built: Sequence[Built]) -> Generator[Built, None, None]:
    """What was built, in order; what was not taken is removed when the generator is closed."""
    left = deque(built)
    try:
        while left:
            yield left.popleft()
    finally:
        for each in left:
            each.discard()


class BuildStage:
    """Builds candidates in forked children.

    Args:
        workers: to fork from.
        folder: where artifacts go.
        target: what they are compiled for.
        protocol: gives the time and memory a build may take.
        jobs: builds at a time.
        device: fingerprint of the device whose measurements builds would disturb; `None` where it has a
            processor of its own.
    """

    def __init__(
        self,
        workers: Workers,
        folder: Path,
        target: Target,
        protocol: Protocol,
        jobs: int,
        device: str | None,
    ) -> None:
        self._workers, self._folder, self._target = workers, folder, target
        self._protocol, self._jobs, self._device = protocol, jobs, device
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        # Children between two builds: they wait for a request and compute nothing.
        self._idle: dict[tuple[str, str], list[tuple[Child, int]]] = {}
        # Set when the builds of now are ended: who was about to start a child for one does not.
        self._ended = threading.Event()
        self._ahead: Ahead[Built] = Ahead(jobs)

    def warm(self, language: str) -> Warm:
        """The warm process that builds a language."""
        builder = registry.builder_for(language, self._target.kind)
        # The builder's own module makes the process its own: each language has its own warm-up.
        modules = (*builder.preload, type(builder).__module__, "tuner.engine.building.build_process")
        return Warm(modules, partial(registry.warm_builder, builder.name))

    def build_all(self, requests: Sequence[BuildRequest]) -> list[Built]:
        """Builds candidates, `jobs` at a time; in the order given."""
        # Locked here, not in the lanes: a signal interrupts this thread's waiting, and no other's.
        with building(self._device):
            return list(self._stream(requests))

    def build_each(self, requests: Sequence[BuildRequest]) -> Generator[Built, None, None]:
        """Builds candidates, and gives them one by one in the order given.

        Where builds disturb no measurement each is given as soon as it is there, while later ones are still
        built; else all are built before the first is given. What was not taken is removed when the iterator
        is left.
        """
        return self._stream(requests) if self._device is None else one_by_one(self.build_all(requests))

    def build_ahead(self, requests: Sequence[BuildRequest]) -> None:
        """Begins builds that will be asked for, where they disturb no measurement; returns at once."""
        if self._device is None:
            for request in requests:
                self._ahead.begin(request.identity, partial(self._one, request, self._ended))

    def keep(self, request: BuildRequest, built: Built) -> None:
        """Keeps a build for whoever asks for it next, so that it is not built twice; `stop` removes it.

        Args:
            request: as it will be asked for. Companions are served by the one artifact, or there are none.
            built: what came of it, asked for without companions.
        """
        if built.artifact is not None and request.companions:
            built = replace(built, companions=tuple(self._generic(built.artifact, request)))
        self._ahead.keep(request.identity, built)

    def _stream(self, requests: Sequence[BuildRequest]) -> Generator[Built, None, None]:
        """What is built, in the order given, each as soon as it is there; left early, builds are ended."""
        # A shared queue, not a share each: builds take 0.1 s or 40, and the longest decides.
        waiting = deque(range(len(requests)))
        done: SimpleQueue[tuple[int, Built | BaseException]] = SimpleQueue()
        results: dict[int, Built] = {}
        ended = self._ended

        def lane() -> None:
            while True:
                with self._lock:
                    place = waiting.popleft() if waiting and not ended.is_set() else None
                if place is None:
                    return
                try:
                    request = requests[place]
                    done.put((place, self._ahead.take(request.identity) or self._one(request, ended)))
                except BaseException as error:
                    done.put((place, error))
                    return

        try:
            with ThreadPoolExecutor(max(1, min(self._jobs, len(requests)))) as pool:
                try:
                    for _ in range(min(self._jobs, len(requests))):
                        pool.submit(lane)
                    for place in range(len(requests)):
                        while place not in results:
                            of, found = done.get()
                            if isinstance(found, BaseException):
                                raise found
                            results[of] = found
                        yield results.pop(place)
                except BaseException:
                    self._end()  # or the lanes would go on to the end of it
                    raise
        except BaseException:
            self._forget()  # after the lanes: one may have put a child there while it was being ended
            left = [*results.values(), *(done.get()[1] for _ in range(done.qsize()))]
            for each in left:
                if isinstance(each, Built):
                    each.discard()
            raise

    def stop(self) -> None:
        """Ends all builds, and the other children that are at work now; returns when they have ended."""
        self._end()
        self._forget()

    def _end(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, threading.Event()
        ended.set()
        self._workers.stop()

    def _forget(self) -> None:
        """What was built ahead, and the children between two builds, which were ended."""
        self._ahead.drop()
        with self._lock:
            self._idle.clear()

    def _take(self, kernel: Kernel, fresh: bool) -> tuple[Child, int]:
        """A child that builds this kernel, and how many builds it has left; a new one if `fresh`."""
        with self._lock:
            idle = self._idle.get((kernel.name, kernel.digest))
            if idle and not fresh:
                return idle.pop()
        limits = Limits(self._protocol.memory_bytes, _FILE_LIMIT)
        payload = {"kernel": kernel, "target": self._target}
        warm = self.warm(kernel.language)
        return self._workers.start(warm, build_process.build_job, payload, limits), _BUILDS_A_CHILD

    def _one(self, request: BuildRequest, ended: threading.Event) -> Built:
        """One build; once more where the machine failed in a way that may be over."""
        built = self._attempt(request, ended)
        return self._attempt(request, ended, again=True) if built.fault and built.fault.passing else built

    def _attempt(self, request: BuildRequest, ended: threading.Event, again: bool = False) -> Built:
        kernel = request.kernel
        started = time.perf_counter()
        try:
            # Those that wait may have been killed together with the one that was lost.
            child, left = self._take(kernel, fresh=again)
        except MachineFault as error:
            return Built(Status.ENVIRONMENT, str(error), fault=machine_faults.of_exception(error))
        if ended.is_set():
            # It started after those that were at work had been ended: nobody else ends it.
            self._workers.dismiss(child)
            return Built(Status.BUILD_ERROR, "build: it was ended")
        folder = self._folder / f"build-{next(self._numbers)}"
        workloads = [w.key for w in self._workloads(request)]
        question = {"workloads": workloads, "config": dict(request.config), "folder": str(folder)}
        try:
            answer = self._workers.converse(child, question, self._protocol.build_timeout_s)
        except ChildLost as lost:
            shutil.rmtree(folder, ignore_errors=True)
            # LLVM ends its process where a compiler would return an error; what it prints is its own.
            fault = (
                lost.fault
                or machine_faults.of_output(str(lost))
                or machine_faults.of_lost_memory(str(lost), self._protocol.memory_bytes)
            )
            status = Status.BUILD_TIMEOUT if lost.timed_out else Status.BUILD_ERROR
            status = Status.ENVIRONMENT if fault else status
            return Built(status, f"build: {lost}", build_s=time.perf_counter() - started, fault=fault)
        seconds = time.perf_counter() - started
        try:
            result = build_answer(answer, len(workloads))
        except UnusableAnswer as error:
            # Its memory is not what it was: nothing more is built there.
            self._workers.dismiss(child)
            shutil.rmtree(folder, ignore_errors=True)
            return Built(Status.BUILD_ERROR, f"build: unusable answer: {error}", build_s=seconds)
        if left > 1:
            with self._lock:
                self._idle.setdefault((kernel.name, kernel.digest), []).append((child, left - 1))
        else:
            self._workers.dismiss(child)
        return self._built(request, folder, result, seconds)

    def _workloads(self, request: BuildRequest) -> tuple[Workload, ...]:
        own = () if request.kernel.shape_generic else request.companions
        return (request.workload, *own)

    def _built(self, request: BuildRequest, folder: Path, answer: BuildAnswer, seconds: float) -> Built:
        status, error, build_s = answer.status, answer.error, answer.build_s
        artifacts = answer.artifacts
        if status is not Status.OK:
            shutil.rmtree(folder, ignore_errors=True)
            of_machine = status is Status.ENVIRONMENT
            fault = machine_faults.Fault(error, answer.passing) if of_machine else None
            return Built(status, error, build_s=build_s, fault=fault)
        if request.kernel.shape_generic:
            pairs = tuple(self._generic(artifacts[0], request))
        else:
            pairs = tuple(zip(request.companions, artifacts[1:], strict=True))
        kernel = request.kernel
        return Built(
            Status.OK, "", artifacts[0], pairs, build_s, max(0.0, seconds - build_s), folder,
            kernel.fewer_operations(request.workload), tuple(kernel.constant),
            kernel.special_values and not kernel.baseline,
        )  # fmt: skip

    def _generic(self, artifact: Artifact, request: BuildRequest) -> Iterator[tuple[Workload, Artifact]]:
        """The one artifact of a kernel that is generic in its shape, as it is called for each companion."""
        kernel, config = request.kernel, request.config
        for workload in request.companions:
            if artifact.launch is None:
                # Sizes that follow from the dimensions may be arguments too.
                yield workload, artifact.sized(kernel.lower(workload, config, self._target))
            elif kernel.space(workload, self._target).why_invalid(config) is None:
                # Of a GPU kernel the grid and the workspaces are of the shape too.
                source = kernel.lower(workload, config, self._target)
                yield workload, replace(artifact, arguments=source.arguments, launch=source.launch)
