"""One sweep: a searcher tunes one kernel for one workload on one device, every trial stored."""

import time
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from tuner import registry
from tuner.core.disturbance import disturbance_words, is_disturbed
from tuner.core.errors import MachineFault, StoreError
from tuner.core.measurement import Status
from tuner.core.searcher import History, Problem, Searcher
from tuner.core.space import Config
from tuner.core.trial import Trial, TrialKey
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest
from tuner.engine.candidate.domain import companions_of, space_of
from tuner.engine.candidate.evaluator import BuildsAhead, Evaluator, TrialJob
from tuner.engine.processes import machine_faults
from tuner.engine.tuning import seeking
from tuner.engine.tuning.claiming import Claims
from tuner.engine.tuning.filing import Filing
from tuner.engine.tuning.foreseen import starts_of
from tuner.engine.tuning.history import device_numbers, known_history, workload_numbers
from tuner.engine.tuning.ledger import SweepLedger
from tuner.engine.tuning.observer import Observer, TrialEvent
from tuner.engine.tuning.outcomes import outcomes
from tuner.engine.tuning.request import SweepRequest, SweepResult
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
        self._request, self._workshop, self._store, self._observer = request, workshop, store, observer
        self._space = space_of(request.kernel, request.workload, workshop)
        self._operator = registry.operator(request.workload.operator)
        spec = SweepSpec(
            request.workload, DeviceInfo.of(workshop.device), KernelInfo.of(request.kernel),
            workshop.target.name, request.searcher, request.seed, workshop.protocol, request.budget.as_dict(),
        )  # fmt: skip
        toolchain = registry.builder_of(request.kernel, workshop.target).toolchain(workshop.target)
        self._filing = Filing(store, spec, toolchain)
        self._ledger = SweepLedger(workshop.device.fingerprint, reference_s)
        self._next_number = self._faults_in_a_row = 0
        self._seeker: Searcher | None = None
        self._spent_s = 0.0
        self._starts: list[Config] | None = None
        # Proposals that nobody has measured yet, and seconds of asking for each.
        self._proposed: tuple[list[Config], float] | None = None
        self.closed = False

    def key(self, config: Config) -> TrialKey:
        """The identity of a configuration in this sweep."""
        return self._filing.key(config)

    @property
    def begun(self) -> bool:
        """Whether it is in the store."""
        return self._filing.begun

    def _begin(self) -> None:
        request = self._request
        only = request.options.get("configs")
        for number, trial in self._filing.begin(request.resume, self._observer.note, only):
            self._ledger.add(number, trial)
            self._next_number = number + 1

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
            workload_numbers(request.workload), request.options, request.workload.dtype,
        )  # fmt: skip
        # What the machine failed in an earlier run may be proposed again.
        told = [t for t in self._ledger.trials if t.measurement.status is not Status.ENVIRONMENT]
        searcher = seeking.begin(request.searcher, problem, told)
        if why := getattr(searcher, "why", ""):
            self._observer.note(f"{kernel.name}: {why}")
        return searcher

    def run(self, pause_at: int | None = None, pause_s: float | None = None) -> SweepResult:
        """Proposes, builds, measures and stores until the budget is spent or all was tried.

        A failed candidate is a trial like any other. Ctrl-C ends the sweep in good order: what was
        measured is stored, and `interrupted` is set.

        Args:
            pause_at: stop for now at so many trials; the next call goes on, `close` ends the sweep.
            pause_s: stop for now after so many seconds, but for one batch at least.

        Raises:
            MachineFault: the machine failed, not a candidate. What was measured is stored, and the sweep can
                be resumed.
        """
        started = time.monotonic()
        if not self.begun:
            self._begin()
        interrupted = exhausted = False
        try:
            self._observer.sweep_began(self._request, self._filing.sweep_id, len(self._ledger), self._space)
            self.look_ahead(pause_at, pause_s)
            self._workshop.prepare(self._operator, self._request.workload)
            searcher = self._seeker = self._seeker or self._searcher()
            before = self._ledger.tried
            while (room := self._room(started, pause_at)) > 0:
                if pause_s is not None and (room := self._fitting(room, started, before, pause_s)) <= 0:
                    break
                configs, ask_s = self._proposed or self._ask(room, searcher)
                self._proposed = None
                if not configs:
                    exhausted = True
                    break
                done = self._batch(configs, ask_s)
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
                "from there",
                isinstance(error, MachineFault) and error.passing,
            ) from error
        self._spent_s += time.monotonic() - started
        if interrupted or exhausted or self._room(time.monotonic()) <= 0:
            return self.close(interrupted=interrupted, exhausted=exhausted)
        return self.result()

    def look_ahead(self, pause_at: int | None = None, pause_s: float | None = None) -> None:
        """Asks for what the next `run` begins with, and has it built meanwhile, where that disturbs nothing.

        Not where a run is of so many seconds: how many trials it begins with is known when it does. What goes
        wrong here goes wrong again in `run`, which says so.

        Args:
            pause_at, pause_s: as the next `run` is told.
        """
        builds, request = self._workshop, self._request
        if not isinstance(builds, BuildsAhead) or builds.device.shares_cpu or pause_s is not None:
            return
        if self._proposed or request.budget.seconds is not None:
            return
        if not self.begun:
            self._begin()
        with suppress(Exception):
            self._seeker = self._seeker or self._searcher()
            if (room := self._room(time.monotonic(), pause_at)) > 0:
                self._proposed = self._ask(room, self._seeker)
                fresh = self._unknown(self._proposed[0])
                builds.build_ahead([self._build_of(config) for config in fresh])

    def give_up(self) -> None:
        """Leaves the sweep to be resumed, after an error that is on its way to whoever asked for it."""
        with suppress(StoreError):
            self.close(interrupted=True)

    def close(self, interrupted: bool = False, exhausted: bool = False, behind: bool = False) -> SweepResult:
        """Ends the sweep in the store.

        Args:
            interrupted, exhausted: as in `SweepResult`.
            behind: given up because another kernel is far ahead.
        """
        status: Literal["finished", "interrupted"] = "interrupted" if interrupted else "finished"
        self._filing.end(status, {"seconds": self._spent_s, "exhausted": exhausted, "behind": behind})
        self.closed = True
        return self.result(interrupted, exhausted)

    def result(self, interrupted: bool = False, exhausted: bool = False) -> SweepResult:
        """What was found so far."""
        ledger, sweep_id = self._ledger, self._filing.sweep_id
        return SweepResult(sweep_id, tuple(ledger.trials), ledger.best, interrupted, exhausted, self._spent_s)

    def _ask(self, count: int, searcher: Searcher) -> tuple[list[Config], float]:
        """Up to `count` configurations to measure next, and the seconds that asking for each took."""
        began = time.perf_counter()
        configs = self._first(count, searcher) or seeking.ask(searcher, count)
        return configs, (time.perf_counter() - began) / max(1, len(configs))

    def _first(self, count: int, searcher: Searcher) -> list[Config]:
        """Up to `count` configurations to measure before the searcher is asked: see `foreseen.py`."""
        if self._starts is None:
            found = starts_of(
                self._request, self._workshop, self._space, self._store, searcher, self._filing.sweep_id,
                self._next_number, self._build_of,
            )  # fmt: skip
            tried = [t.key.config for t in self._ledger.trials]
            self._starts = [config for config in found.configs if config not in tried]
            if self._starts:
                self._observer.note(f"{self._request.kernel.name}: {found.why}")
        first, self._starts = self._starts[:count], self._starts[count:]
        return first

    def _unknown(self, configs: Sequence[Config]) -> list[Config]:
        """Those that nobody has measured yet, as far as that may be asked."""
        if self._request.remeasure:
            return list(configs)
        keys = [self.key(config) for config in configs]
        known = self._store.find_identities([key.digest for key in keys], self._workshop.protocol)
        return [config for config, key in zip(configs, keys, strict=True) if key.digest not in known]

    def _build_of(self, config: Config) -> BuildRequest:
        request = self._request
        return BuildRequest(request.kernel, request.workload, config, self._companions)

    @cached_property
    def _companions(self) -> tuple[Workload, ...]:
        # A kernel with static shapes is verified on its companions in the final: building five
        # artifacts a trial would cost more than it finds.
        kernel = self._request.kernel
        if not kernel.shape_generic:
            return ()
        return tuple(companions_of(kernel, self._request.workload, self._workshop.target))

    def _room(self, started: float, pause_at: int | None = None) -> int:
        budget = self._request.budget
        batch = self._seeker.batch if self._seeker else 1
        if budget.seconds is not None:
            batch = min(batch, 8)  # a budget of time is overrun by a batch at most
        rooms = [max(2 * self._workshop.jobs, batch)]
        rooms += [bound - self._ledger.tried for bound in (budget.trials, pause_at) if bound is not None]
        if budget.patience is not None:
            rooms.append(budget.patience - self._ledger.since_best)
        if budget.seconds is not None and self._spent_s + time.monotonic() - started >= budget.seconds:
            return 0
        return min(rooms)

    def _fitting(self, room: int, started: float, before: int, pause_s: float) -> int:
        """How many of `room` trials fit in a run of `pause_s` seconds, by what those so far took."""
        done, spent_s = self._ledger.tried - before, time.monotonic() - started
        if not done:
            return min(room, self._workshop.jobs if pause_s >= 1.0 else 1)
        return min(room, int((pause_s - spent_s) * done / max(spent_s, 1e-9)))

    def _batch(self, configs: Sequence[Config], ask_s: float) -> list[Trial]:
        """Measures and stores proposals; their trials in the order of the proposals, however they came."""
        claims = Claims(
            self._store, self._filing.sweep_id, self._workshop.protocol, not self._request.remeasure
        )
        known, keys, elsewhere = claims.split([self.key(config) for config in configs])
        numbers = range(self._next_number, self._next_number + len(keys))
        self._next_number += len(keys)
        fresh = {n: key for n, key in zip(numbers, keys, strict=True) if key.digest not in known}
        reused = {n: known[key.digest] for n, key in zip(numbers, keys, strict=True) if n not in fresh}
        done: dict[int, Trial] = {}
        try:
            jobs = [TrialJob(number, self._build_of(key.config)) for number, key in fresh.items()]
            with closing(outcomes(self._workshop, jobs, self._ledger, self._observer.note)) as stream:
                for job, outcome in stream:
                    self._reuse(reused, job.ticket, done, ask_s)
                    begun = time.perf_counter()
                    done[job.ticket] = trial = self._filing.add(job.ticket, fresh[job.ticket], outcome)
                    claims.done(trial.key)
                    rest = time.perf_counter() - begun
                    self._finish(job.ticket, trial, False, ask_s + outcome.overhead_s + rest)
            self._reuse(reused, self._next_number, done, ask_s)
        finally:
            claims.release()
        trials = [done[number] for number in sorted(done)]
        if elsewhere:
            # Last, so that two sweeps never wait for each other: what is claimed here has its outcome by now.
            claims.wait(elsewhere, self._observer.note)
            trials += self._batch([key.config for key in elsewhere], ask_s)
        return trials

    def _reuse(self, reused: dict[int, Trial], before: int, done: dict[int, Trial], ask_s: float) -> None:
        """Serves the proposals up to a number that have stored outcomes."""
        for number in [n for n in reused if n < before]:
            done[number] = trial = reused.pop(number)
            self._filing.reuse(number, trial)
            self._finish(number, trial, True, ask_s)

    def _finish(self, number: int, trial: Trial, reused: bool, overhead_s: float) -> None:
        self._ledger.add(number, trial)
        if trial.measurement.status is Status.BUILD_ERROR and number == 0:
            why = trial.measurement.error.strip() or "without a word"
            self._observer.note(f"the first build failed: {why.splitlines()[0]}")
        if self._ledger.disturbed == 1 and is_disturbed(trial.measurement.metrics):
            words = disturbance_words(trial.measurement.metrics)
            self._observer.note(f"{self._request.kernel.name}: trial t{trial.id} is {words}")
        self._observer.trial_done(TrialEvent(number, trial, reused, self._ledger.best, overhead_s))
        failed = trial.measurement.status is Status.ENVIRONMENT
        self._faults_in_a_row = self._faults_in_a_row + 1 if failed else 0
        if self._faults_in_a_row == _FAULTS_IN_A_ROW:
            line = trial.measurement.error.splitlines()[0]
            reason = f"the machine failed {_FAULTS_IN_A_ROW} candidates in a row, the last: {line}"
            # It may be this kernel that does it (takes all memory, ends its process): others can be tried.
            raise MachineFault(reason, passing=True)
