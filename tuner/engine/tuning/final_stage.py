"""The end of a campaign: the fastest of each kernel are built again, meet in a final, and are stored."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tuner import registry
from tuner.core.disturbance import is_disturbed
from tuner.core.kernel import Kernel
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.candidate.domain import companions_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.finals import Finalist, Ranking, run_final
from tuner.engine.tuning.peaks import Peaks, known_limits, measure_limits, too_fast
from tuner.engine.tuning.request import SweepResult
from tuner.engine.tuning.setting import Setting
from tuner.store.campaign_records import Exclusion
from tuner.store.records import Final, FinalEntry

# Libraries up to so many times slower than the fastest library, in sweeps, are all in the final.
_CLOSE = 1.5


@dataclass(frozen=True)
class Held:
    """A final as it was held.

    Attributes:
        peaks: the device's, of these minutes.
        ranking: `None` where there were fewer than two finalists.
        final_id: in the store; `None` where nobody survived it.
        exclusions: who was left or thrown out, and why.
        interrupted: by Ctrl-C after it, while the peaks were measured again.
    """

    peaks: Peaks
    ranking: Ranking | None = None
    final_id: int | None = None
    exclusions: tuple[Exclusion, ...] = ()
    interrupted: bool = False


def hold_final(
    workload: Workload,
    kernels: Sequence[Kernel],
    sweeps: Mapping[str, SweepResult],
    workshop: Workshop,
    setting: Setting,
) -> Held:
    """Measures the device's peaks where they are asked for or not known, and holds the final.

    Args:
        workload, kernels, sweeps: what was tuned, and how that ended.
        workshop, setting: as for `run_campaign`.
    """
    store, observer, again = setting.store, setting.observer, setting.plan.refresh_limits
    peaks = Peaks(known_limits(workshop, store))
    # Beside the final, not before the search: a shared machine changes its speed within minutes.
    if again or not peaks.known:
        peaks = measure_limits(workshop, store, None, observer.note)
    held = _final(workload, kernels, sweeps, workshop, setting, peaks)
    if not again:
        return held
    try:
        return replace(held, peaks=measure_limits(workshop, store, held.peaks, observer.note))
    except KeyboardInterrupt:
        return replace(held, interrupted=True)


def _final(
    workload: Workload,
    kernels: Sequence[Kernel],
    sweeps: Mapping[str, SweepResult],
    workshop: Workshop,
    setting: Setting,
    peaks: Peaks,
) -> Held:
    """The final; the peaks are measured again where something was faster than they are."""
    store, observer = setting.store, setting.observer
    workshop.prepare(registry.operator(workload.operator), workload)
    with contextlib.ExitStack() as builds:
        finalists, exclusions = _finalists(workload, kernels, sweeps, workshop, setting, builds)
        if len(finalists) < 2:
            return Held(peaks, exclusions=tuple(exclusions))

        def hold() -> Ranking:
            observer.final_began([finalist.label for finalist in finalists])
            return run_final(
                workshop, workload, finalists, setting.plan.rounds, report=observer.final_progress
            )

        ranking = hold()
        if too_fast(ranking, workload, kernels, peaks.limits):
            observer.note("faster than the measured peak: the peak is measured again")
            peaks = measure_limits(workshop, store, peaks, observer.note)
            if beyond := too_fast(ranking, workload, kernels, peaks.limits):
                observer.note(f"{', '.join(beyond)}: still faster than the peak: the final is held again")
                ranking = hold()
    for remark in (*ranking.remarks, *([f"disturbed: {ranking.disturbed}"] if ranking.disturbed else [])):
        observer.note(remark)
    for entry in ranking.entries:
        if entry.error:
            observer.note(f"{entry.finalist.label} was thrown out of the final: {entry.error}")
            exclusions.append(Exclusion(entry.finalist.trial_id, entry.finalist.label, "final", entry.error))
    record = _record(workload, workshop, ranking)
    final_id = store.record_final(record) if record.entries else None
    return Held(peaks, ranking, final_id, tuple(exclusions))


def _finalists(
    workload: Workload,
    kernels: Sequence[Kernel],
    sweeps: Mapping[str, SweepResult],
    workshop: Workshop,
    setting: Setting,
    builds: contextlib.ExitStack,
) -> tuple[list[Finalist], list[Exclusion]]:
    """Those of the final, built, and those that do not build; what was built goes when `builds` is left."""
    finalists, exclusions = [], []
    plan = setting.plan
    slowest_s = _slowest_finalist_s(sweeps, kernels, plan.final_within)
    for kernel in kernels:
        for trial in _leaders(sweeps[kernel.name], plan.finalists):
            # What a busy machine made slow may be the fastest.
            if (trial.measurement.time_s or 0.0) > slowest_s and not is_disturbed(trial.measurement.metrics):
                continue
            assert trial.id is not None
            # A configuration of an open space is of this shape alone.
            companions = () if kernel.searcher else companions_of(kernel, workload, workshop.target)
            built = workshop.build(kernel, workload, trial.key.config, companions)
            builds.callback(built.discard)
            built.require_machine(f"{kernel.name}: its best cannot be built for the final")
            if built.artifact is None:
                why = built.error.splitlines()[0]
                setting.observer.note(f"{kernel.name}: its best does not build again: {why}")
                exclusions.append(Exclusion(trial.id, kernel.name, "build", built.error))
                continue
            finalists.append(Finalist(kernel.name, trial.id, built, kernel.baseline))
    return finalists, exclusions


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


def _record(workload: Workload, workshop: Workshop, ranking: Ranking) -> Final:
    entries = []
    for i, entry in enumerate(ranking.entries):
        if not entry.turns.samples:
            continue
        shared = bool(ranking.tied) and (i == ranking.winner or i in ranking.tied)
        entries.append(
            FinalEntry(
                entry.finalist.trial_id,
                "baseline" if entry.finalist.baseline else "candidate",
                entry.turns,
                entry.speedup,
                winner=i == ranking.winner and not shared,
                tie=shared,
            )
        )
    reference = ranking.entries[ranking.reference] if ranking.reference is not None else None
    baseline = reference.finalist.trial_id if reference and reference.finalist.baseline else None
    return Final(
        workload, workshop.device.fingerprint, workshop.protocol, tuple(entries), baseline,
        disturbed=ranking.disturbed,
    )  # fmt: skip
