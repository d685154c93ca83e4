"""A sweep with no device present: a searcher on a recorded space in the store, on a simulated clock."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tuner import registry
from tuner.core.bounds import check_seed
from tuner.core.digest import digest
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence
from tuner.core.recorded import RecordedSpace
from tuner.core.searcher import History, Observation, Problem, Searcher
from tuner.core.trial import Trial
from tuner.devices.replay import Replay
from tuner.engine.recorded.bench_searchers import problem_numbers, recorded_device_numbers
from tuner.engine.recorded.exchange import recorded_of
from tuner.engine.tuning import seeking
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.request import better
from tuner.store.records import StoredSweep, SweepSpec

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class StoredSpace:
    """A recorded space in the store: what `tuner import` put there.

    Attributes:
        recorded: the space.
        spec: of the sweep it was imported as.
        trials: the stored trials by the digest of their configuration.
    """

    recorded: RecordedSpace
    spec: SweepSpec
    trials: dict[str, Trial]


@dataclass(frozen=True)
class ReplayResult:
    """How a replayed sweep went; all times are recorded ones, none was measured here.

    Attributes:
        sweep_id: in the store.
        space: that was searched.
        trials: stored ones with evidence `replayed`, in the order they were proposed.
        clock_s: after each trial, simulated seconds: what compiling and running took when recorded.
        best: the fastest right one, or `None`.
        optimum_s: the fastest recorded time; `None` where all failed.
        why: what the searcher decided at the start.
        seconds: wall clock of this run, nearly all of it the searcher's.
        exhausted, interrupted: as in `SweepResult`.
    """

    sweep_id: int
    space: RecordedSpace
    trials: tuple[Trial, ...]
    clock_s: tuple[float, ...]
    best: Trial | None
    optimum_s: float | None
    why: str
    seconds: float
    exhausted: bool
    interrupted: bool

    def fraction(self, trial: int) -> float:
        """The optimum's time over the best of the first `trial` trials; 0 before a success."""
        times = [t.measurement.time_s for t in self.trials[:trial] if t.measurement.ok]
        best = min((s for s in times if s is not None), default=None)
        return 0.0 if best is None or self.optimum_s is None else self.optimum_s / best


def stored_space(store: "Store", what: str, device: str | None = None) -> StoredSpace:
    """One imported space.

    Args:
        store: to read.
        what: its workload key, or its kernel's name.
        device: a part of the device's name or fingerprint; needed where several were recorded.

    Raises:
        TunerError: none fits, or several do; says which there are.
    """
    groups = _imported(store)
    wanted = what.lower()
    fitting = {
        key: sweeps
        for key, sweeps in groups.items()
        if wanted in (key[0].lower(), sweeps[0].spec.kernel.name.lower())
        and (device is None or device.lower() in sweeps[0].spec.device.name.lower() or device in key[1])
    }
    if len(fitting) == 1:
        (sweeps,) = fitting.values()
        return _load(store, sweeps)
    known = fitting or groups
    listed = "; ".join(f"{key} on {s[0].spec.device.name}" for (key, _), s in list(known.items())[:12])
    if not fitting:
        named = what if device is None else f"{what} on a device {device!r}"
        raise TunerError(
            f"no recording of {named} is stored; there are: {listed or 'none, see tuner import'}"
        )
    raise TunerError(f"several recordings of {what} are stored: choose with --device: {listed}")


def _imported(store: "Store") -> dict[tuple[str, str], list[StoredSweep]]:
    """Imports by workload key and fingerprint."""
    groups: dict[tuple[str, str], list[StoredSweep]] = {}
    for sweep in store.sweeps():
        if sweep.spec.imported:
            key = sweep.spec.workload.key, sweep.spec.device.fingerprint
            groups.setdefault(key, []).append(sweep)
    return groups


def _load(store: "Store", sweeps: Sequence[StoredSweep]) -> StoredSpace:
    recorded, trials = recorded_of(store, sweeps)
    return StoredSpace(recorded, sweeps[0].spec, {digest(dict(t.key.config)): t for t in trials})


def _histories(store: "Store", own: SweepSpec) -> list[History]:
    """Recordings of the same kernel elsewhere: another device or another problem."""
    found = []
    for (key, fingerprint), sweeps in _imported(store).items():
        spec = sweeps[0].spec
        if (key, fingerprint) == (own.workload.key, own.device.fingerprint):
            continue
        if (spec.kernel.name, spec.kernel.operator) != (own.kernel.name, own.kernel.operator):
            continue
        other = _load(store, sweeps).recorded
        told = [Observation(t.config, t.measurement) for t in other.trials]
        found.append(
            History(told, other.space, recorded_device_numbers(other), problem_numbers(other), other.label)
        )  # fmt: skip
    return found


def replay_sweep(
    store: "Store",
    space: StoredSpace,
    searcher: str = "auto",
    seed: int = 0,
    budget: Budget | None = None,
    resume: bool = False,
) -> ReplayResult:
    """Searches a recorded space: every proposal is served from the store at its recorded cost.

    The sweep is stored like any other; its trials are the imported ones, evidence `replayed`, so nothing
    is written twice and nothing of it answers `best` unless replayed times are asked for.

    Args:
        store: where the space is, and the sweep goes.
        space: from `stored_space`.
        searcher: a registered name; `auto` and `transfer` learn from the other recordings of the kernel.
        seed: of the searcher.
        budget: `seconds` are simulated ones; 100 trials by default.
        resume: continue the latest unfinished replay of the same kind.

    Raises:
        TunerError: the searcher is unknown or cannot be used here.
    """
    check_seed(seed)
    budget = budget or Budget(trials=100)
    kind = registry.searcher(searcher)
    if reason := kind.unavailable():
        raise TunerError(f"searcher {searcher} cannot be used here: {reason}")
    own = space.spec
    histories = _histories(store, own) if kind.wants_history else []
    problem = Problem(
        space.recorded.space, seed, budget.trials, history=histories,
        device=recorded_device_numbers(space.recorded), workload=problem_numbers(space.recorded),
    )  # fmt: skip
    spec = SweepSpec(
        own.workload, own.device, own.kernel, own.target, searcher, seed, own.protocol, budget.as_dict(),
        f"replayed: {space.recorded.label}",
    )  # fmt: skip
    found = store.resumable(spec) if resume else None
    if found is not None:
        store.reopen_sweep(found, budget.as_dict())
    seeker = seeking.begin(searcher, problem, ())
    run = _Run(store, space, seeker, found if found is not None else store.begin_sweep(spec))
    return run.until(budget, store.sweep_history(found) if found is not None else [])


class _Run:
    """The loop of one replayed sweep."""

    def __init__(self, store: "Store", space: StoredSpace, searcher: Searcher, sweep_id: int) -> None:
        self._store, self._space, self._searcher, self._id = store, space, searcher, sweep_id
        self._replay = Replay(space.recorded)
        self._trials: list[Trial] = []
        self._clock: list[float] = []
        self._best: Trial | None = None
        self._since_best = 0

    def until(self, budget: Budget, before: Sequence[Trial]) -> ReplayResult:
        """Goes on until a bound is met, after the trials of an earlier run."""
        began = time.monotonic()
        for trial in before:
            self._take(trial)
        exhausted = interrupted = False
        try:
            seeking.tell(self._searcher, before)
            while self._open(budget):
                configs = seeking.ask(self._searcher, 1)
                if not configs:
                    exhausted = True
                    break
                trial = self._space.trials[digest(dict(configs[0]))]
                assert trial.id is not None and trial.measurement.evidence is Evidence.REPLAYED
                self._store.record_reuse(self._id, len(self._trials), trial.id)
                self._take(trial)
                seeking.tell(self._searcher, [trial])
        except KeyboardInterrupt:
            interrupted = True
        except BaseException as error:
            why = {"error": " ".join(str(error).split())[:500], "seconds": time.monotonic() - began}
            with contextlib.suppress(Exception):  # the store may be what failed
                self._store.finish_sweep(self._id, "interrupted", why)
            raise
        spent = time.monotonic() - began
        status: Literal["finished", "interrupted"] = "interrupted" if interrupted else "finished"
        summary = {"seconds": spent, "simulated_seconds": self._replay.clock_s, "exhausted": exhausted}
        self._store.finish_sweep(self._id, status, summary)
        times = [t.measurement.time_s for t in self._space.trials.values() if t.measurement.ok]
        return ReplayResult(
            self._id, self._space.recorded, tuple(self._trials), tuple(self._clock), self._best,
            min((s for s in times if s is not None), default=None), self._searcher.why, spent,
            exhausted, interrupted,
        )  # fmt: skip

    def _take(self, trial: Trial) -> None:
        self._replay.measure(trial.key.config)
        self._trials.append(trial)
        self._clock.append(self._replay.clock_s)
        self._since_best += 1
        if better(trial, self._best):
            self._best, self._since_best = trial, 0

    def _open(self, budget: Budget) -> bool:
        bounds = (
            (len(self._trials), budget.trials),
            (self._replay.clock_s, budget.seconds),
            (self._since_best, budget.patience),
        )
        return all(bound is None or spent < bound for spent, bound in bounds)
