"""The end of a campaign: the fastest of each kernel are built again, meet in a final, and are stored."""

import contextlib
import math
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tuner import registry
from tuner.core.disturbance import is_disturbed
from tuner.core.kernel import Kernel
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildRequest, Built
from tuner.engine.candidate.domain import companions_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.finals import SITTINGS, Finalist, Ranking, run_final
from tuner.engine.tuning.lineup import Pick, default_trial, line_up, place, usable_previous
from tuner.engine.tuning.others import watching
from tuner.engine.tuning.peaks import (
    CALIBRATION,
    Peaks,
    known_limits,
    limits_once,
    measure_limits,
    too_fast,
)
from tuner.engine.tuning.plan import MOST_NAMED
from tuner.engine.tuning.request import SweepResult
from tuner.engine.tuning.setting import Setting
from tuner.engine.tuning.shortlist import Shortlist, may_end, shortlist
from tuner.engine.tuning.verdicts import chosen, kept_remarks, loud_remark
from tuner.store.campaign_records import Exclusion
from tuner.store.records import Final, FinalEntry

# Libraries up to so many times slower than the fastest library, in sweeps, are all in the final.
_CLOSE = 1.5


@dataclass(frozen=True)
class Start:
    """What was known when the sweeps began.

    Attributes:
        previous: the best trial of each kernel that the store had, by its name.
        reference_s: seconds of the calibration kernel.
        remarks: what is to be said of the final whatever comes of it.
        peaks: the device's, where they were measured a short while ago.
        until: when the final should be over, by `time.monotonic`; `None` for no such bound.
    """

    previous: Mapping[str, int] = field(default_factory=dict)
    reference_s: float | None = None
    remarks: Sequence[str] = ()
    peaks: Peaks | None = None
    until: float | None = None


@dataclass(frozen=True)
class Held:
    """A final as it was held.

    Attributes:
        peaks: the device's, of these minutes.
        ranking: `None` where there were fewer than two finalists.
        final_id: in the store; `None` where nobody survived it.
        exclusions: who was left or thrown out, and why.
        defaults: the trial of each kernel's default configuration.
        interrupted: by Ctrl-C after it, while the peaks were measured again.
    """

    peaks: Peaks
    ranking: Ranking | None = None
    final_id: int | None = None
    exclusions: tuple[Exclusion, ...] = ()
    defaults: Mapping[str, int] = field(default_factory=dict)
    interrupted: bool = False


def hold_final(
    workload: Workload,
    kernels: Sequence[Kernel],
    sweeps: Mapping[str, SweepResult],
    workshop: Workshop,
    setting: Setting,
    start: Start | None = None,
) -> Held:
    """Measures the device's peaks where they are asked for or not known, and holds the final.

    Args:
        workload, kernels, sweeps: what was tuned, and how that ended.
        workshop, setting: as for `run_campaign`.
        start: what was known before the sweeps.
    """
    store, observer, again = setting.store, setting.observer, setting.plan.refresh_limits
    start = start or Start()
    peaks = start.peaks or Peaks(known_limits(workshop, store))
    # Beside the final, not before the search: a shared machine changes its speed within minutes.
    if again:
        peaks = measure_limits(workshop, store, None, observer.note)
    elif not peaks.known:
        peaks = limits_once(workshop, store, observer.note)
    lineup = _Lineup(workload, sweeps, workshop, setting, start)
    held = _final(kernels, lineup, peaks)
    if setting.plan.calibrated and held.ranking is not None and not held.ranking.disturbed:
        seconds, quiet = workshop.calibrate(workshop.calibration_kind(workload))
        known = replace(held.peaks, limits={**held.peaks.limits, CALIBRATION: seconds})
        held = replace(held, peaks=known if quiet else held.peaks)
    if not again:
        return held
    try:
        return replace(held, peaks=measure_limits(workshop, store, held.peaks, observer.note))
    except KeyboardInterrupt:
        return replace(held, interrupted=True)


class _Lineup:
    """Finds and builds the finalists of one workload.

    Args:
        workload, sweeps, workshop, setting, start: see `hold_final`.

    Attributes:
        exclusions: those that do not build.
        defaults: the trial of each kernel's default.
        remarks: which defaults cannot be timed or do not fit, a line each.
    """

    def __init__(
        self, workload: Workload, sweeps: Mapping[str, SweepResult], workshop: Workshop, setting: Setting,
        start: Start,
    ) -> None:  # fmt: skip
        self.workload, self.sweeps, self.workshop = workload, sweeps, workshop
        self.setting, self._start = setting, start
        self.exclusions: list[Exclusion] = []
        self.defaults: dict[str, int] = {}
        self.remarks = [*start.remarks]

    def finalists(self, kernels: Sequence[Kernel], builds: contextlib.ExitStack) -> list[Finalist]:
        """Those of the final, built; what was built goes when `builds` is left."""
        slowest_s = _slowest_finalist_s(self.sweeps, kernels, self.setting.plan.final_within)
        # First all that is still to be measured: nothing is timed beside a build.
        listed = self._shortlist(kernels) if self.setting.plan.winner_only else None
        present = self._present(kernels)
        picks = [(kernel, pick) for kernel in present for pick in self._picks(kernel, slowest_s, listed)]
        finalists = (self._finalist(*each) for each in self._build(picks, builds))
        return [finalist for finalist in finalists if finalist is not None]

    def _present(self, kernels: Sequence[Kernel]) -> list[Kernel]:
        """Libraries, and as many of the fastest tuned kernels as the plan has contenders."""
        best = {name: result.best.measurement.time_s for name, result in self.sweeps.items() if result.best}
        tuned = sorted(
            (kernel.name for kernel in kernels if not kernel.baseline),
            key=lambda name: best.get(name) or math.inf,
        )
        chosen = tuned[: self.setting.plan.contenders]
        return [kernel for kernel in kernels if kernel.baseline or kernel.name in chosen]

    def _shortlist(self, kernels: Sequence[Kernel]) -> Shortlist:
        names = [kernel.name for kernel in kernels if not kernel.baseline]
        leaders = {name: _leaders(self.sweeps[name], self.setting.plan.finalists) for name in names}
        trials = {n: usable_previous(self._start.previous.get(n), self.setting.store) for n in names}
        previous = {name: trial for name, trial in trials.items() if trial is not None}
        return shortlist(leaders, previous, self.left_s)

    @property
    def left_s(self) -> float | None:
        """Seconds until the final should be over."""
        return None if self._start.until is None else self._start.until - time.monotonic()

    def _picks(self, kernel: Kernel, slowest_s: float, listed: Shortlist | None) -> list[Pick]:
        if listed is not None and not kernel.baseline:
            name = kernel.name
            default = self._default(kernel) if name in listed.compared and not kernel.searcher else None
            previous = self._previous(kernel) if name in listed.previous else None
            return line_up(list(listed.leaders.get(name, ())), default, previous)
        if kernel.name in self.setting.plan.configs:
            return self._named(kernel)
        leaders = [
            trial
            for trial in _leaders(self.sweeps[kernel.name], self.setting.plan.finalists)
            # What a busy machine made slow may be the fastest.
            if (trial.measurement.time_s or 0.0) <= slowest_s or is_disturbed(trial.measurement.metrics)
        ]
        if self.setting.plan.contenders is not None:
            return line_up(leaders[:1], None, None)
        # Who is left out needs nothing to be compared with; an open space has no lists with a first entry.
        if not leaders or kernel.baseline or kernel.searcher:
            return line_up(leaders, None, None)
        return line_up(leaders, self._default(kernel), self._previous(kernel))

    def _named(self, kernel: Kernel) -> list[Pick]:
        """Of a kernel whose configurations somebody named: these, and the default only where one is named."""
        plan, name = self.setting.plan, kernel.name
        right = _leaders(self.sweeps[name], len(plan.configs[name]))
        if len(right) > MOST_NAMED:
            self.remarks.append(
                f"{name}: of {len(right)} named configurations that are right the {MOST_NAMED} fastest meet"
            )
        compared = name in plan.defaults and not kernel.searcher
        return line_up(right[:MOST_NAMED], self._default(kernel) if compared else None, None)

    def _previous(self, kernel: Kernel) -> Trial | None:
        return usable_previous(self._start.previous.get(kernel.name), self.setting.store)

    def _default(self, kernel: Kernel) -> Trial | None:
        found = default_trial(
            kernel, self.workload, self.sweeps[kernel.name], self.workshop, self.setting,
            self._start.reference_s,
        )  # fmt: skip
        if isinstance(found, str):
            self.remarks.append(f"{kernel.name}: its default configuration cannot be timed: {found}")
        return found if isinstance(found, Trial) else None

    def stop(self, ranking: Ranking, sittings: int) -> bool:
        """Whether the final may end here, where only the winner is wanted."""
        return may_end(ranking, sittings, late=self.left_s is not None and self.left_s <= 0)

    def _build(
        self, picks: Sequence[tuple[Kernel, Pick]], builds: contextlib.ExitStack
    ) -> Iterator[tuple[Kernel, Pick, Built]]:
        """Builds the picks side by side; what was built goes when `builds` is left."""
        workload, target = self.workload, self.workshop.target
        requests = [
            # A configuration of an open space is of this shape alone.
            BuildRequest(
                kernel, workload, pick.trial.key.config,
                () if kernel.searcher else tuple(companions_of(kernel, workload, target)),
            )
            for kernel, pick in picks
        ]  # fmt: skip
        made = self.workshop.build_all(requests)
        for built in made:
            builds.callback(built.discard)
        return ((kernel, pick, built) for (kernel, pick), built in zip(picks, made, strict=True))

    def _finalist(self, kernel: Kernel, pick: Pick, built: Built) -> Finalist | None:
        trial, workload = pick.trial, self.workload
        assert trial.id is not None
        what = "default" if pick.default else "best"
        built.require_machine(f"{kernel.name}: its {what} cannot be built for the final")
        if built.artifact is None:
            why = built.error.splitlines()[0]
            self.setting.observer.note(f"{kernel.name}: its {what} does not build again: {why}")
            self.exclusions.append(Exclusion(trial.id, kernel.name, "build", built.error))
            return None
        if pick.default:
            self.defaults[kernel.name] = trial.id
        space = None if kernel.searcher else kernel.space(workload, self.workshop.target)
        where = place(space, trial.key.config) if space is not None else ()
        swept = trial.measurement.interval
        return Finalist(
            kernel.name, trial.id, built, kernel.baseline, pick.default, pick.previous, where,
            swept.mid if swept is not None and not is_disturbed(trial.measurement.metrics) else None,
        )  # fmt: skip


def _final(kernels: Sequence[Kernel], lineup: _Lineup, peaks: Peaks) -> Held:
    """The final; the peaks are measured again where something was faster than they are."""
    workload, workshop, setting = lineup.workload, lineup.workshop, lineup.setting
    store, observer, exclusions = setting.store, setting.observer, lineup.exclusions
    workshop.prepare(registry.operator(workload.operator), workload)
    with contextlib.ExitStack() as builds:
        finalists = lineup.finalists(kernels, builds)
        if len(finalists) < 2:
            return Held(peaks, exclusions=tuple(exclusions))

        def hold() -> tuple[Ranking, str]:
            observer.final_began([finalist.label for finalist in finalists])
            others_took = watching(workshop.protocol.threads)
            found = run_final(
                workshop, workload, finalists, setting.plan.rounds, report=observer.final_progress,
                stop=lineup.stop if setting.plan.winner_only else None,
                sittings=setting.plan.sittings or SITTINGS,
            )  # fmt: skip
            return found, others_took()

        ranking, taken = hold()
        if too_fast(ranking, workload, kernels, peaks.limits):
            observer.note("faster than the measured peak: the peak is measured again")
            peaks = measure_limits(workshop, store, peaks, observer.note)
            if beyond := too_fast(ranking, workload, kernels, peaks.limits):
                observer.note(f"{', '.join(beyond)}: still faster than the peak: the final is held again")
                ranking, taken = hold()
    loud = loud_remark(ranking)
    busy = workshop.device.shares_cpu and taken and not ranking.disturbed
    said = (*lineup.remarks, *kept_remarks(ranking), *([loud] if loud else []), *([taken] if busy else []))
    ranking = replace(ranking, remarks=(*ranking.remarks, *said))
    for remark in (*ranking.remarks, *([f"disturbed: {ranking.disturbed}"] if ranking.disturbed else [])):
        observer.note(remark)
    for entry in ranking.entries:
        if entry.error:
            observer.note(f"{entry.finalist.label} was thrown out of the final: {entry.error}")
            exclusions.append(Exclusion(entry.finalist.trial_id, entry.finalist.label, "final", entry.error))
    record = _record(workload, workshop, ranking, setting.plan.configs)
    final_id = store.record_final(record) if record.entries else None
    return Held(peaks, ranking, final_id, tuple(exclusions), lineup.defaults)


def _slowest_finalist_s(
    sweeps: Mapping[str, SweepResult], kernels: Sequence[Kernel], within: float | None
) -> float:
    """The time up to which a trial goes into the final, seconds."""
    if within is None:
        return math.inf
    best = {name: r.best.measurement.time_s or math.inf for name, r in sweeps.items() if r.best is not None}
    libraries = [best[k.name] for k in kernels if k.baseline and k.name in best]
    tuned = [best[k.name] for k in kernels if not k.baseline and k.name in best]
    # Which library is the fastest is for the final to say: sweeps are taken apart and are not that exact. And
    # the best tuned kernel is there however far behind: its speed-up is what the final is held for.
    return max(
        within * min(best.values(), default=math.inf),
        _CLOSE * min(libraries, default=0.0),
        min(tuned, default=0.0),
    )


def _leaders(result: SweepResult, count: int) -> list[Trial]:
    """The fastest distinct configurations that are right."""
    right = [t for t in result.trials if t.measurement.ok]
    right.sort(key=lambda t: t.measurement.time_s or 0.0)
    leaders: dict[str, Trial] = {}
    for trial in right:
        # Equal binaries would only tie with each other.
        leaders.setdefault(trial.measurement.artifact or trial.key.digest, trial)
    return list(leaders.values())[:count]


def _record(workload: Workload, workshop: Workshop, ranking: Ranking, named: Container[str]) -> Final:
    kept = chosen(ranking)
    beaten = [bool(kept) and kept.get(e.finalist.label, i) != i for i, e in enumerate(ranking.entries)]
    # Configurations of one kernel that cannot be told apart share no place: one of them stands for all. But
    # where somebody named them: who asks which of five is the fastest is told that three tie.
    first = [
        i for i in (*([ranking.winner] if ranking.winner is not None else []), *ranking.tied)
        if not beaten[i] or ranking.entries[i].finalist.label in named
    ]  # fmt: skip
    entries = []
    for i, entry in enumerate(ranking.entries):
        if not entry.turns.samples:
            continue
        entries.append(
            FinalEntry(
                entry.finalist.trial_id,
                "baseline" if entry.finalist.baseline else "candidate",
                entry.turns,
                entry.speedup,
                winner=first == [i],
                tie=len(first) > 1 and i in first,
                beaten=beaten[i] if kept else None,
            )
        )
    reference = ranking.entries[ranking.reference] if ranking.reference is not None else None
    baseline = reference.finalist.trial_id if reference and reference.finalist.baseline else None
    return Final(
        workload, workshop.device.fingerprint, workshop.protocol, tuple(entries), baseline,
        disturbed=ranking.disturbed,
    )  # fmt: skip
