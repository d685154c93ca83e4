"""Tunes one workload with several kernels and decides between them and the libraries."""

import contextlib
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.device import Device
from tuner.core.disturbance import is_disturbed
from tuner.core.errors import TunerError, Unavailable, UnknownName
from tuner.core.kernel import Kernel
from tuner.core.measurement import Evidence
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import default_device as default_device
from tuner.engine.candidate.domain import companions_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.choice import searcher_for
from tuner.engine.tuning.finals import Finalist, Ranking, run_final
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.peaks import calibration_reference, known_limits, measure_limits, too_fast
from tuner.engine.tuning.plan import Plan
from tuner.engine.tuning.race import Race
from tuner.engine.tuning.request import SweepRequest, SweepResult
from tuner.store.records import DeviceInfo, Final, FinalEntry

if TYPE_CHECKING:
    from tuner.store.store import Store

__all__ = [
    "Outcome", "Plan", "check_memory", "choose_kernels", "default_device", "default_protocol", "fresh_seed",
    "run_campaign",
]  # fmt: skip

# A float64 reference, inputs in two copies and the kernel's own packing buffers.
_WORKING_SET_FACTOR = 5
# Libraries up to so many times slower than the fastest library, in sweeps, are all in the final.
_CLOSE = 1.5


@dataclass(frozen=True)
class Outcome:
    """What a campaign found.

    Attributes:
        workload, device, protocol: what it was about.
        sweeps: by kernel, in the order they ran.
        skipped: kernels that could not take part, with the reason.
        ranking: the final; `None` where none was held.
        final_id: of the final in the store.
        limits: the device's measured peaks; none where no final was held and the store knows none.
        interrupted: by Ctrl-C.
    """

    workload: Workload
    device: DeviceInfo
    protocol: Protocol
    sweeps: Mapping[str, SweepResult]
    skipped: Mapping[str, str]
    ranking: Ranking | None = None
    final_id: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def on_paper(self) -> bool:
        """Whether nothing was measured: candidates were compiled, emulated and ranked by a model."""
        evidence = {t.measurement.evidence for sweep in self.sweeps.values() for t in sweep.trials}
        return bool(evidence) and evidence <= {Evidence.COMPILED, Evidence.EMULATED, Evidence.PREDICTED}


def default_protocol(device: Device, **changes: Any) -> Protocol:
    """The device's own protocol (`Device.default_protocol`) with what is told otherwise.

    Raises:
        TunerError: more threads than cores.
    """
    cores = int(device.target.limits.get("cores", 1))
    usual = device.default_protocol()
    usual = replace(usual, threads=min(cores, usual.threads))
    protocol = replace(usual, **{k: v for k, v in changes.items() if v is not None})
    if protocol.threads > cores:
        raise TunerError(f"{protocol.threads} threads asked for, this process may use {cores} cores")
    return protocol


def check_memory(workload: Workload, device: Device | None = None) -> None:
    """Before anything is allocated; a device with memory of its own holds the tensors once.

    Raises:
        TunerError: the workload's tensors, their reference and working copies do not fit in memory.
    """
    import psutil

    needed = registry.operator(workload.operator).memory_bytes(workload) * _WORKING_SET_FACTOR
    free = psutil.virtual_memory().available
    if needed > free:
        raise TunerError(
            f"{workload.key} does not fit in memory: tensors, reference and working copies take "
            f"{needed / 2**30:,.1f} GiB, {free / 2**30:,.1f} GiB are free; choose a smaller shape"
        )
    there = device.own_memory_bytes if device is not None else None
    tensors = needed / _WORKING_SET_FACTOR
    if device is not None and there is not None and tensors > there:
        raise TunerError(
            f"{workload.key} does not fit in the {device.noun or device.name}'s memory: its tensors take "
            f"{tensors / 2**30:,.1f} GiB of {there / 2**30:,.1f} GiB; choose a smaller shape"
        )


def choose_kernels(
    workload: Workload,
    device: Device,
    protocol: Protocol,
    names: Sequence[str] = (),
    baselines: bool = True,
    strict: bool = True,
) -> tuple[list[Kernel], dict[str, str]]:
    """The kernels that take part, tuned ones first, and those that cannot, with the reason.

    Args:
        workload, device, protocol: what for.
        names: the kernels asked for; none means all but those with an open space. Those named must be
            able to serve.
        baselines: whether libraries take part too.
        strict: whether a kernel that was named and cannot serve is an error, not only skipped.

    Raises:
        UnknownName: a name is not registered for this operator.
        Unavailable: a kernel that was named cannot serve, or a file of the lab cannot be loaded.
    """
    registry.require_whole(workload.operator)
    target = device.target_for(protocol.threads)
    known = {k.name: k for k in registry.kernels_of(workload.operator, target.kind)}
    for name in names:
        if name not in known:
            raise UnknownName(f"kernel of {workload.operator} on {target.kind}", name, list(known))
    chosen, skipped = [], {}
    for kernel in known.values():
        named = kernel.name in names
        if names and not named and not (kernel.baseline and baselines):
            continue
        if kernel.baseline and not baselines and not named:
            continue
        if kernel.searcher and not named:
            continue
        reason = kernel.unavailable() or kernel.unsupported(workload, target)
        reason = reason or registry.no_builder(kernel, target.kind)
        if reason is None:
            chosen.append(kernel)
        elif named and strict:
            raise Unavailable(f"kernel {kernel.name} cannot serve {workload.key} on {target.name}: {reason}")
        else:
            skipped[kernel.name] = reason
    return chosen, skipped


def fresh_seed() -> int:
    """A seed of random inputs that nobody can have tuned for."""
    return secrets.randbits(31)


def run_campaign(
    workload: Workload,
    kernels: Sequence[Kernel],
    device: Device,
    protocol: Protocol,
    plan: Plan,
    store: "Store",
    observer: Observer | None = None,
    skipped: Mapping[str, str] | None = None,
    shared: Workshop | None = None,
) -> Outcome:
    """Tunes each kernel in turn, then holds a final between their best and the baselines.

    Args:
        workload, kernels, device, protocol: what is tuned, on what, timed how.
        plan: budgets and the final.
        store: keeps every trial.
        observer: is told.
        skipped: kernels that could not take part, for the outcome.
        shared: a workshop of the same device and protocol, warmed before or serving several campaigns; by
            default one is made for this campaign.

    Raises:
        TunerError: the workload does not fit in memory, a kernel has no valid configuration.
    """
    observer = observer or Observer()
    check_memory(workload, device)
    info = DeviceInfo.of(device)
    searchers = {k.name: "random" if k.baseline else searcher_for(k, plan.searcher) for k in kernels}
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.patience.noted_by(observer.note))
        workshop = shared or stack.enter_context(Workshop(device, protocol, fresh_seed()))
        workshop.warm(kernels)
        for remark in device.remarks(protocol.threads):
            observer.note(remark)
        for name in dict.fromkeys(searchers.values()):
            registry.searcher(name).warm_up()
        reference_s = calibration_reference(workshop, store, observer.note)
        requests = [
            SweepRequest(
                kernel, workload, searchers[kernel.name], plan.seed,
                Budget(trials=1) if kernel.baseline else plan.budget, plan.resume, plan.remeasure,
                options={} if kernel.baseline else dict(plan.options),
            )
            for kernel in kernels
        ]  # fmt: skip
        race = Race(requests, workshop, store, observer, reference_s, plan.reuse, plan.give_up_after)
        sweeps = race.run()
        ranking, final_id = None, None
        interrupted = race.interrupted
        limits = known_limits(workshop, store)
        if plan.rounds and not interrupted:
            try:
                # Beside the final, not before the search: a shared machine changes its speed within minutes.
                if plan.refresh_limits or "peak_flops_f32" not in limits:
                    limits = measure_limits(workshop, store, {}, observer.note)
                ranking, final_id, limits = _final(
                    workload, kernels, sweeps, workshop, plan, store, observer, limits
                )
                if plan.refresh_limits:
                    limits = measure_limits(workshop, store, limits, observer.note)
            except KeyboardInterrupt:
                interrupted = True
    return Outcome(workload, info, protocol, sweeps, skipped or {}, ranking, final_id, limits, interrupted)


def _final(
    workload: Workload,
    kernels: Sequence[Kernel],
    sweeps: Mapping[str, SweepResult],
    workshop: Workshop,
    plan: Plan,
    store: "Store",
    observer: Observer,
    limits: dict[str, float],
) -> tuple[Ranking | None, int | None, dict[str, float]]:
    """The final, its id in the store, and the peaks, measured again where something was faster than them."""
    workshop.prepare(registry.operator(workload.operator), workload)
    with contextlib.ExitStack() as builds:
        finalists = _finalists(workload, kernels, sweeps, workshop, plan, observer, builds)
        if len(finalists) < 2:
            return None, None, limits

        def hold() -> Ranking:
            return run_final(workshop, workload, finalists, plan.rounds, report=observer.final_progress)

        ranking = hold()
        if too_fast(ranking, workload, kernels, limits):
            observer.note("faster than the measured peak: the peak is measured again")
            limits = measure_limits(workshop, store, limits, observer.note)
            if beyond := too_fast(ranking, workload, kernels, limits):
                observer.note(f"{', '.join(beyond)}: still faster than the peak: the final is held again")
                ranking = hold()
    for remark in (*ranking.remarks, *([f"disturbed: {ranking.disturbed}"] if ranking.disturbed else [])):
        observer.note(remark)
    for entry in ranking.entries:
        if entry.error:
            observer.note(f"{entry.finalist.label} was thrown out of the final: {entry.error}")
    return ranking, store.record_final(_record(workload, workshop, ranking)), limits


def _finalists(
    workload: Workload,
    kernels: Sequence[Kernel],
    sweeps: Mapping[str, SweepResult],
    workshop: Workshop,
    plan: Plan,
    observer: Observer,
    builds: contextlib.ExitStack,
) -> list[Finalist]:
    """Those of the final, built; what was built goes when `builds` is left, however that comes."""
    finalists = []
    slowest_s = _slowest_finalist_s(sweeps, kernels, plan.final_within)
    for kernel in kernels:
        for trial in _leaders(sweeps[kernel.name], plan.finalists):
            # What a busy machine made slow may be the fastest.
            if (trial.measurement.time_s or 0.0) > slowest_s and not is_disturbed(trial.measurement.metrics):
                continue
            # A configuration of an open space is of this shape alone.
            companions = () if kernel.searcher else companions_of(kernel, workload, workshop.target)
            built = workshop.build(kernel, workload, trial.key.config, companions)
            builds.callback(built.discard)
            built.require_machine(f"{kernel.name}: its best cannot be built for the final")
            if built.artifact is None:
                observer.note(f"{kernel.name}: its best does not build again: {built.error.splitlines()[0]}")
                continue
            assert trial.id is not None
            finalists.append(Finalist(kernel.name, trial.id, built, kernel.baseline))
    return finalists


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
