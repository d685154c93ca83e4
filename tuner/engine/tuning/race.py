"""The sweeps of one campaign: one after the other, or as a race in which kernels far behind give up."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.core.disturbance import is_disturbed
from tuner.core.errors import MachineFault
from tuner.core.measurement import Status
from tuner.core.trial import Trial
from tuner.engine.candidate.evaluator import Evaluator
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.request import SweepRequest, SweepResult, better
from tuner.engine.tuning.sweep import Sweep

if TYPE_CHECKING:
    from tuner.store.store import Store

# A kernel whose best of the first trials is this many times slower than another's is given up.
FAR_BEHIND = 1.5
# Where only the winner is wanted: after so many times the first trials, or such a share of the time left, who
# is further behind than this is given up; the survivors have the rest of the time.
STAGES = ((1, 0.35, FAR_BEHIND), (2, 0.3, 1.3), (4, 0.4, 1.15))


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A kernel that the race gave up.

    Attributes:
        trials: after so many of its trials.
        reason: how far behind it was, or what the machine did to its candidates.
    """

    trials: int
    reason: str


class Race:
    """Runs the sweeps of several kernels for one workload.

    Args:
        requests: one a kernel.
        workshop, store, observer, reference_s: as for `Sweep`.
        reuse: take finished sweeps of the store that had the same budget or more.
        own: sweeps of an earlier run of the same campaign: those that finished are taken in any case.
        give_up_after: all sweeps begin with so many trials; then those go on whose best is at most
            `FAR_BEHIND` times slower than the best of all, libraries included. `None`: each has all its
            budget at once.

    Attributes:
        interrupted: by Ctrl-C.
        given_up: by kernel, in an earlier run of a reused sweep too.
        reused: kernels whose sweep was found finished in the store.
    """

    def __init__(
        self,
        requests: Sequence[SweepRequest],
        workshop: Evaluator,
        store: "Store",
        observer: Observer,
        reference_s: float | None,
        reuse: bool = False,
        give_up_after: int | None = None,
        own: Collection[int] = (),
    ) -> None:
        self._requests, self._workshop, self._store, self._observer = requests, workshop, store, observer
        self._reference_s, self._reuse, self._give_up_after = reference_s, reuse, give_up_after
        self._own = own
        self.interrupted = False
        self.given_up: dict[str, GivenUp] = {}
        self.reused: set[str] = set()
        self._fault: MachineFault | None = None
        self._stages: Sequence[tuple[int, float, float]] = STAGES[:1]
        self._until: float | None = None
        self._clock = time.monotonic

    def for_the_winner(self, until: float | None, clock: Callable[[], float] = time.monotonic) -> "Race":
        """From now on kernels behind give up in `STAGES`, and the race ends in time.

        Args:
            until: when, by `clock`; each sweep has a batch of trials at least. `None` for no bound.
            clock: seconds that go on.
        """
        self._stages, self._until, self._clock = STAGES, until, clock
        return self

    def run(self) -> dict[str, SweepResult]:
        """The results by kernel, in the order of the requests; after Ctrl-C those that began.

        A kernel whose candidates the machine failed one after the other is given up, since it may be the
        kernel's doing; its sweep can be resumed.

        Raises:
            MachineFault: as `Sweep.run`, or all kernels were given up for the machine's sake; every sweep
                that began can be resumed.
        """
        open_sweeps: dict[str, Sweep] = {}
        try:
            return self._run(open_sweeps)
        except BaseException:
            for sweep in open_sweeps.values():
                if not sweep.closed:
                    sweep.give_up()
            raise

    def _run(self, open_sweeps: dict[str, Sweep]) -> dict[str, SweepResult]:
        results: dict[str, SweepResult] = {}
        sweeps: dict[str, Sweep] = {}
        for request in self._requests:
            name = request.kernel.name
            known = self._finished(request) if self._reuse or self._own else None
            if known is not None:
                self._observer.note(f"{name}: sweep s{known.sweep_id} of the store is reused")
                results[name] = known
                self.reused.add(name)
                continue
            sweeps[name] = Sweep(request, self._workshop, self._store, self._observer, self._reference_s)
        first = self._give_up_after
        stages = [(times * first, share, factor) for times, share, factor in self._stages] if first else []
        for pause_at, share, factor in (*stages, (None, 1.0, None)):
            names = list(sweeps)
            for place, (name, pause_s) in enumerate(self._parts(names, share)):
                if pause_s == 0 and name in results:
                    continue  # the time is over, and it has been tried
                # What runs next is built while this one's candidates run.
                if not self._look_ahead(names[place : place + 2], sweeps, open_sweeps, pause_at, pause_s):
                    return self._stop(results, open_sweeps)
                sweep = open_sweeps[name] = sweeps[name]
                results[name] = self._run_on(sweep, name, pause_at, pause_s)
                if sweep.closed:
                    del sweeps[name], open_sweeps[name]
                if results[name].interrupted:
                    return self._stop(results, open_sweeps)
            if self._fault is not None and results.keys() == self.given_up.keys():
                raise self._fault
            for name in self._behind(open_sweeps, results, factor) if factor else ():
                results[name] = sweeps.pop(name).close(behind=True)
                del open_sweeps[name]
        for name in list(open_sweeps):  # their time is over
            results[name] = open_sweeps.pop(name).close()
        return {name: results[name] for name in (r.kernel.name for r in self._requests) if name in results}

    def _look_ahead(
        self, names: Sequence[str], sweeps: Mapping[str, Sweep], open_sweeps: dict[str, Sweep],
        pause_at: int | None, pause_s: float | None,
    ) -> bool:  # fmt: skip
        """Begins to build what these sweeps begin with; false after Ctrl-C."""
        try:
            for name in names:
                sweeps[name].look_ahead(pause_at, pause_s)
        except KeyboardInterrupt:
            self._workshop.stop()
            return False
        finally:
            open_sweeps.update({name: sweeps[name] for name in names if sweeps[name].begun})
        return True

    def _parts(self, names: Sequence[str], share: float) -> Iterator[tuple[str, float | None]]:
        """In turn each with the seconds that are its own of this share of the time left; `None`: no bound."""
        until = None if self._until is None else self._clock() + share * max(0.0, self._until - self._clock())
        for place, name in enumerate(names):
            yield name, None if until is None else max(0.0, until - self._clock()) / (len(names) - place)

    def _behind(
        self, open_sweeps: Mapping[str, Sweep], results: Mapping[str, SweepResult], factor: float
    ) -> Iterator[str]:
        """Gives up the sweeps whose best is more than `factor` times slower than the best of all."""
        best_s = min((t for r in results.values() if (t := _seconds(r)) is not None), default=None)
        for name in list(open_sweeps):
            time_s, best = _seconds(results[name]), results[name].best
            unknown = best is not None and is_disturbed(best.measurement.metrics)
            if best_s is None or unknown or (time_s is not None and time_s <= factor * best_s):
                continue
            behind = f"{time_s / best_s:.1f} times slower than" if time_s else "nothing right, unlike"
            reason, tried = f"{behind} the best", len(results[name].trials)
            self._observer.note(f"{name}: given up after {tried} trials, {reason}")
            self.given_up[name] = GivenUp(tried, reason)
            yield name

    def _run_on(self, sweep: Sweep, name: str, pause_at: int | None, pause_s: float | None) -> SweepResult:
        """What a sweep finds; of one that ends by what the machine did to its candidates, what it has."""
        try:
            return sweep.run(pause_at, pause_s)
        except MachineFault as fault:
            if not fault.passing:
                raise
            self._fault = self._fault or fault
            found = sweep.result()
            self.given_up[name] = GivenUp(len(found.trials), str(fault))
            self._observer.note(f"given up after {len(found.trials)} trials: {fault}")
            return found

    def _stop(self, results: dict[str, SweepResult], open_sweeps: dict[str, Sweep]) -> dict[str, SweepResult]:
        self.interrupted = True
        for name, sweep in open_sweeps.items():
            results[name] = sweep.close(interrupted=True)
        return results

    def _finished(self, request: SweepRequest) -> SweepResult | None:
        """The latest finished sweep of the store that had this request's budget in trials or more, or that an
        earlier run of the same campaign finished.

        It must be of the same workload, kernel source, device, protocol and searcher.
        """
        wanted = request.budget.trials
        for sweep in reversed(self._store.sweeps(request.workload.operator, request.workload.key)):
            spec = sweep.spec
            same = (
                sweep.status == "finished"
                and (spec.kernel.name, spec.kernel.digest) == (request.kernel.name, request.kernel.digest)
                and spec.device.fingerprint == self._workshop.device.fingerprint
                and spec.protocol.digest == self._workshop.protocol.digest
                and spec.searcher == request.searcher
            )
            # A trial that the machine failed says nothing of its configuration: it is run again.
            tried = sweep.trials - sweep.statuses.get(Status.ENVIRONMENT, 0)
            exhausted = bool(sweep.summary.get("exhausted")) and tried == sweep.trials
            # A sweep that was given up after fewer trials than this race allows goes on from there.
            wait = self._give_up_after
            behind = wait is not None and tried >= wait and bool(sweep.summary.get("behind"))
            large = exhausted or behind or (wanted is not None and tried >= wanted)
            enough = sweep.id in self._own or (self._reuse and large)
            if not (same and enough):
                continue
            trials = tuple(self._store.sweep_history(sweep.id))
            best: Trial | None = None
            for trial in trials:
                best = trial if better(trial, best) else best
            if best is not None and is_disturbed(best.measurement.metrics):
                continue  # its time is that of a busy machine
            if sweep.summary.get("behind"):
                reason = "far behind another kernel when it was swept"
                self.given_up[request.kernel.name] = GivenUp(len(trials), reason)
            seconds = float(sweep.summary.get("seconds", 0.0))
            return SweepResult(sweep.id, trials, best, False, exhausted, seconds)
        return None


def _seconds(result: SweepResult) -> float | None:
    return result.best.measurement.time_s if result.best else None
