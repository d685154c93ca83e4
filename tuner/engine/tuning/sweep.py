"""One sweep: a searcher tunes one kernel for one workload on one device, every trial stored."""

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tuner import registry
from tuner.core.disturbance import disturbance_words, is_disturbed
from tuner.core.errors import MachineFault, StoreError
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import History, Problem, Searcher
from tuner.core.space import Config
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest, Built
from tuner.engine.candidate.domain import companions_of, space_of
from tuner.engine.candidate.evaluator import Evaluator
from tuner.engine.processes import machine_faults
from tuner.engine.tuning import seeking
from tuner.engine.tuning.claiming import Claims
from tuner.engine.tuning.history import device_numbers, known_history, workload_numbers
from tuner.engine.tuning.observer import Observer, TrialEvent
from tuner.engine.tuning.request import SweepRequest, SweepResult, better
from tuner.engine.tuning.starting import Starts, predicted_starts
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec

if TYPE_CHECKING:
    from tuner.store.store import Store

# A machine that fails so many candidates in a row, each tried twice, fails them all.
_FAULTS_IN_A_ROW = 3


class Sweep:
    """Runs one sweep; see `run`.

    Args:
        request: what to do.
        workshop: builds and runs candidates.
        store: keeps every trial.
        observer: is told.
        reference_s: seconds of the calibration kernel that times are related to; `None` where none is run.
    """

    def __init__(
        self,
        request: SweepRequest,
        workshop: Evaluator,
        store: "Store",
        observer: Observer,
        reference_s: float | None,
    ) -> None:
        self._request, self._workshop, self._store = request, workshop, store
        self._observer, self._reference_s = observer, reference_s
        self._space = space_of(request.kernel, request.workload, workshop)
        self._toolchain = registry.builder_of(request.kernel, workshop.target).toolchain(workshop.target)
        self._kernel_digest = request.kernel.digest
        self._operator = registry.operator(request.workload.operator)
        self._trials: list[Trial] = []
        self._best: Trial | None = None
        self._since_best = self._disturbed = 0
        # Of the trials, those that the machine failed; how many the last ones are.
        self._faults = self._faults_in_a_row = 0
        # Binaries measured in this sweep: equal code runs alike.
        self._binaries: dict[str, Trial] = {}
        self._sweep_id: int | None = None
        self._seeker: Searcher | None = None
        self._spent_s = 0.0
        self._starts: list[Config] | None = None
        self.closed = False

    def key(self, config: Config) -> TrialKey:
        """The identity of a configuration in this sweep."""
        return TrialKey(
            self._request.workload, self._request.kernel.name, self._kernel_digest, config,
            self._workshop.target.name, self._toolchain.digest, self._workshop.device.fingerprint,
            self._workshop.protocol.digest,
        )  # fmt: skip

    def _begin(self) -> int:
        request = self._request
        spec = SweepSpec(
            request.workload, DeviceInfo.of(self._workshop.device), KernelInfo.of(request.kernel),
            self._workshop.target.name, request.searcher, request.seed, self._workshop.protocol,
            request.budget.as_dict(),
        )  # fmt: skip
        if request.resume:
            found = self._store.resumable(spec)
            if found is not None:
                for trial in self._store.sweep_history(found):
                    self._count(trial)
                self._store.reopen_sweep(found, request.budget.as_dict())
                return found
        self._store.put_toolchain(self._toolchain)
        return self._store.begin_sweep(spec)

    def _count(self, trial: Trial) -> None:
        self._trials.append(trial)
        if trial.measurement.status is Status.ENVIRONMENT:
            self._faults += 1
            return
        self._since_best += 1
        if better(trial, self._best):
            self._best, self._since_best = trial, 0
        if is_disturbed(trial.measurement.metrics):
            self._disturbed += 1
        elif trial.measurement.artifact and trial.measurement.samples:
            self._binaries.setdefault(trial.measurement.artifact, trial)

    def _searcher(self) -> Searcher:
        request = self._request
        kernel, target = request.kernel, self._workshop.target

        def features(config: Config) -> dict[str, float]:
            return kernel.features(request.workload, config, target)

        device = DeviceInfo.of(self._workshop.device)
        history: Sequence[History] = ()
        if registry.searcher(request.searcher).wants_history:
            history = known_history(kernel, request.workload, target, device, self._store)
        problem = Problem(
            self._space, request.seed, request.budget.trials, features, history, device_numbers(device),
            workload_numbers(request.workload), request.options,
        )  # fmt: skip
        # What the machine failed in an earlier run may be proposed again.
        told = [t for t in self._trials if t.measurement.status is not Status.ENVIRONMENT]
        searcher = seeking.begin(request.searcher, problem, told)
        if why := getattr(searcher, "why", ""):
            self._observer.note(f"{kernel.name}: {why}")
        return searcher

    def run(self, pause_at: int | None = None) -> SweepResult:
        """Proposes, builds, measures and stores until the budget is spent or all was tried.

        A failed candidate is a trial like any other. Ctrl-C ends the sweep in good order: what was
        measured is stored, and `interrupted` is set.

        Args:
            pause_at: stop for now at so many trials; the next call goes on, `close` ends the sweep.

        Raises:
            MachineFault: the machine failed, not a candidate. What was measured is stored, and the sweep can
                be resumed.
        """
        started = time.monotonic()
        if self._sweep_id is None:
            self._sweep_id = self._begin()
        interrupted = exhausted = False
        try:
            self._observer.sweep_began(self._request, self._sweep_id, len(self._trials), self._space)
            companions = self._companions()
            self._workshop.prepare(self._operator, self._request.workload)
            searcher = self._seeker = self._seeker or self._searcher()
            while (room := self._room(started, pause_at)) > 0:
                asked = time.perf_counter()
                configs = self._first(room) or seeking.ask(searcher, room)
                if not configs:
                    exhausted = True
                    break
                ask_s = (time.perf_counter() - asked) / len(configs)
                done = self._batch(self._sweep_id, configs, companions, ask_s)
                seeking.tell(searcher, done)
        except KeyboardInterrupt:
            interrupted = True
            self._workshop.stop()
        except BaseException as error:
            # Whatever it is, nobody works on this sweep any more: it can be resumed.
            self._spent_s += time.monotonic() - started
            self.give_up()
            fault = machine_faults.of_exception(error) if isinstance(error, Exception) else None
            if fault is None or isinstance(error, StoreError):
                raise
            raise MachineFault(
                f"{self._request.kernel.name}: {fault.reason}; what was measured is stored: --resume goes on "
                "from there"
            ) from error
        self._spent_s += time.monotonic() - started
        if interrupted or exhausted or self._room(time.monotonic()) <= 0:
            return self.close(interrupted=interrupted, exhausted=exhausted)
        return SweepResult(self._sweep_id, tuple(self._trials), self._best, False, False, self._spent_s)

    def give_up(self) -> None:
        """Leaves the sweep to be resumed, after an error that is on its way to whoever asked for it."""
        with contextlib.suppress(StoreError):
            self.close(interrupted=True)

    def close(self, interrupted: bool = False, exhausted: bool = False, behind: bool = False) -> SweepResult:
        """Ends the sweep in the store.

        Args:
            interrupted, exhausted: as in `SweepResult`.
            behind: given up because another kernel is far ahead.
        """
        assert self._sweep_id is not None, "a sweep is run before it is closed"
        status: Literal["finished", "interrupted"] = "interrupted" if interrupted else "finished"
        summary = {"seconds": self._spent_s, "exhausted": exhausted, "behind": behind}
        self._store.finish_sweep(self._sweep_id, status, summary)
        self.closed = True
        trials = tuple(self._trials)
        return SweepResult(self._sweep_id, trials, self._best, interrupted, exhausted, self._spent_s)

    def _first(self, count: int) -> list[Config]:
        """Up to `count` configurations to measure before the searcher is asked: see `starting.py`."""
        if self._starts is None:
            request, found = self._request, Starts()
            if self._workshop.device.evidence is Evidence.MEASURED and not request.kernel.baseline:
                found = predicted_starts(
                    request.kernel, request.workload, self._workshop.target, self._space, self._store,
                    request.budget.trials,
                )  # fmt: skip
            tried = [t.key.config for t in self._trials]
            self._starts = [config for config in found.configs if config not in tried]
            if self._starts:
                self._observer.note(f"{request.kernel.name}: {found.why}")
        first, self._starts = self._starts[:count], self._starts[count:]
        return first

    def _companions(self) -> Sequence[Workload]:
        # A kernel with static shapes is verified on its companions in the final: building five
        # artifacts a trial would cost more than it finds.
        kernel = self._request.kernel
        if not kernel.shape_generic:
            return ()
        return companions_of(kernel, self._request.workload, self._workshop.target)

    def _room(self, started: float, pause_at: int | None = None) -> int:
        budget = self._request.budget
        batch = self._seeker.batch if self._seeker else 1
        if budget.seconds is not None:
            batch = min(batch, 8)  # a budget of time is overrun by a batch at most
        rooms = [max(2 * self._workshop.jobs, batch)]
        tried = len(self._trials) - self._faults
        rooms += [bound - tried for bound in (budget.trials, pause_at) if bound is not None]
        if budget.patience is not None:
            rooms.append(budget.patience - self._since_best)
        if budget.seconds is not None and self._spent_s + time.monotonic() - started >= budget.seconds:
            return 0
        return min(rooms)

    def _batch(
        self, sweep_id: int, configs: Sequence[Config], companions: Sequence[Workload], ask_s: float
    ) -> list[Trial]:
        asked = [self.key(config) for config in configs]
        claims = Claims(self._store, sweep_id, self._workshop.protocol, not self._request.remeasure)
        known, keys, elsewhere = claims.split(asked)
        fresh = [key for key in keys if key.digest not in known]
        request = self._request
        waiting: dict[str, Built] = {}
        done = []
        try:
            built = self._workshop.build_all(
                [BuildRequest(request.kernel, request.workload, k.config, tuple(companions)) for k in fresh]
            )
            waiting.update(zip([k.digest for k in fresh], built, strict=True))
            for key in keys:
                number = len(self._trials)
                if key.digest in known:
                    trial = known[key.digest]
                    assert trial.id is not None
                    self._store.record_reuse(sweep_id, number=number, trial_id=trial.id)
                    self._finish(number, trial, True, ask_s)
                else:
                    begun = time.perf_counter()
                    candidate = waiting.pop(key.digest)
                    try:
                        measurement = self._measure(candidate)
                    finally:
                        candidate.discard()
                    trial = self._add(sweep_id, number, key, measurement)
                    claims.done(key)
                    rest = time.perf_counter() - begun - measurement.run_s
                    self._finish(number, trial, False, ask_s + candidate.overhead_s + rest)
                done.append(trial)
        finally:
            for left in waiting.values():
                left.discard()
            claims.release()
        if elsewhere:
            # Last, so that two sweeps never wait for each other: what is claimed here has its outcome by now.
            claims.wait(elsewhere, self._observer.note)
            done += self._batch(sweep_id, [key.config for key in elsewhere], companions, ask_s)
        return done

    def _measure(self, built: Built) -> Measurement:
        if built.artifact is not None and (twin := self._binaries.get(built.artifact.digest)):
            m = twin.measurement
            metrics = {**built.artifact.metrics, "same_binary_as_trial": float(twin.id or 0)}
            return Measurement(
                m.status, m.evidence, m.samples, m.error, m.calibration, built.build_s, 0.0, m.max_error,
                metrics, m.artifact,
            )  # fmt: skip
        incumbent_s = self._best.measurement.time_s if self._best else None
        return self._workshop.measure(self._request.workload, built, incumbent_s, self._reference_s)

    def _add(self, sweep_id: int, number: int, key: TrialKey, measurement: Measurement) -> Trial:
        trial = Trial(key, measurement)
        (trial_id,) = self._store.add_trials(sweep_id, [trial], [number])
        return Trial(key, measurement, trial_id, trial.created_at)

    def _finish(self, number: int, trial: Trial, reused: bool, overhead_s: float) -> None:
        self._count(trial)
        if trial.measurement.status is Status.BUILD_ERROR and number == 0:
            why = trial.measurement.error.strip() or "without a word"
            self._observer.note(f"the first build failed: {why.splitlines()[0]}")
        if self._disturbed == 1 and is_disturbed(trial.measurement.metrics):
            words = disturbance_words(trial.measurement.metrics)
            self._observer.note(f"{self._request.kernel.name}: trial t{trial.id} is {words}")
        self._observer.trial_done(TrialEvent(number, trial, reused, self._best, overhead_s))
        failed = trial.measurement.status is Status.ENVIRONMENT
        self._faults_in_a_row = self._faults_in_a_row + 1 if failed else 0
        if self._faults_in_a_row == _FAULTS_IN_A_ROW:
            line = trial.measurement.error.splitlines()[0]
            raise MachineFault(f"the machine failed {_FAULTS_IN_A_ROW} candidates in a row, the last: {line}")
