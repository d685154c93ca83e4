"""Tunes one workload with several kernels and decides between them and the libraries."""

import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import InvalidSetting, TunerError, Unavailable, UnknownName
from tuner.core.kernel import Kernel
from tuner.core.lab_state import lab_state
from tuner.core.protocol import Protocol
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import default_device
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.allotment import final_s
from tuner.engine.tuning.campaign_log import CampaignLog, PartLog
from tuner.engine.tuning.campaign_outcome import CampaignOutcome
from tuner.engine.tuning.choice import requests_of
from tuner.engine.tuning.defaults import check_defaults, fitting_defaults
from tuner.engine.tuning.final_stage import Held, Start, hold_final
from tuner.engine.tuning.lineup import previous_best
from tuner.engine.tuning.peaks import Peaks, calibration_reference, known_limits
from tuner.engine.tuning.plan import Plan
from tuner.engine.tuning.race import Race
from tuner.engine.tuning.setting import Setting
from tuner.store.campaign_records import CampaignSpec
from tuner.store.records import DeviceInfo

__all__ = [
    "CampaignOutcome", "Plan", "Setting", "campaign_spec", "check_memory", "choose_kernels", "default_device",
    "default_protocol", "fresh_seed", "run_campaign",
]  # fmt: skip

# A float64 reference, inputs in two copies and the kernel's own packing buffers.
_WORKING_SET_FACTOR = 5


def default_protocol(device: Device, **changes: Any) -> Protocol:
    """The device's own protocol (`Device.default_protocol`) with what is told otherwise.

    Raises:
        InvalidSetting: more threads than cores, or another number that is none of its kind.
    """
    cores = int(device.target.limits.get("cores", 1))
    usual = device.default_protocol()
    usual = replace(usual, threads=min(cores, usual.threads))
    protocol = replace(usual, **{k: v for k, v in changes.items() if v is not None})
    if protocol.threads > cores:
        raise InvalidSetting("threads", f"is at most {cores}, the cores of this process", protocol.threads)
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
    setting: Setting,
    skipped: Mapping[str, str] | None = None,
    shared: Workshop | None = None,
    log: PartLog | None = None,
    peaks: Peaks | None = None,
) -> CampaignOutcome:
    """Tunes each kernel in turn, then holds a final between their best and the baselines.

    Args:
        workload, kernels: what is tuned.
        setting: on what, and how.
        skipped: kernels that could not take part, for the outcome.
        shared: a workshop of the same device and protocol, warmed before or serving several campaigns; by
            default one is made for this campaign.
        log: where the store's record of the campaign is written; by default the campaign is one of its own,
            with `kernels` as what was asked.
        peaks: the device's, measured a short while ago; not measured again.

    Raises:
        TunerError: the workload does not fit in memory, a kernel has no valid configuration.
    """
    check_memory(workload, setting.device)
    if log is not None:  # whoever opened it has checked the defaults of all its workloads before
        return _run(workload, kernels, setting, skipped or {}, shared, log, peaks)
    target = setting.device.target_for(setting.protocol.threads)
    check_defaults(setting.plan.defaults, {workload: kernels}, target)
    spec = campaign_spec([workload], setting, [kernel.name for kernel in kernels])
    with CampaignLog(setting.store, spec, setting.plan.resume) as own:
        return _run(workload, kernels, setting, skipped or {}, shared, own.part(0), peaks)


def _run(
    workload: Workload,
    kernels: Sequence[Kernel],
    setting: Setting,
    skipped: Mapping[str, str],
    shared: Workshop | None,
    log: PartLog,
    peaks: Peaks | None,
) -> CampaignOutcome:
    device, protocol, plan, store = setting.device, setting.protocol, setting.plan, setting.store
    until = None if plan.seconds is None else time.monotonic() + plan.seconds
    target = device.target_for(protocol.threads)
    requests = requests_of(workload, kernels, plan, target)
    searchers = {request.kernel.name: request.searcher for request in requests}
    defaults, unfit = fitting_defaults(plan.defaults, kernels, workload, target)
    with log.begin(kernels, searchers, skipped), contextlib.ExitStack() as stack:
        observer = log.watched(setting.observer)
        setting = replace(setting, observer=observer, plan=replace(plan, defaults=defaults))
        stack.enter_context(store.patience.noted_by(observer.note))
        workshop = shared or stack.enter_context(Workshop(device, protocol, fresh_seed()))
        workshop.warm(kernels)
        for remark in device.remarks(protocol.threads):
            observer.note(remark)
        for name in dict.fromkeys(searchers.values()):
            registry.searcher(name).warm_up()
        reference_s = calibration_reference(workshop, store, observer.note, workload)
        previous = previous_best(workload, kernels, workshop, store) if plan.rounds else {}
        start = Start(previous, reference_s, unfit, peaks, until)
        race = Race(
            requests, workshop, store, observer, reference_s, plan.reuse, plan.give_up_after, log.swept
        )
        if plan.winner_only:
            race.for_the_winner(until and until - final_s(plan.seconds or 0.0))
        sweeps = race.run()
        held, interrupted = Held(peaks or Peaks(known_limits(workshop, store))), race.interrupted
        if plan.rounds and not interrupted:
            try:
                held = hold_final(workload, kernels, sweeps, workshop, setting, start)
            except KeyboardInterrupt:
                interrupted = True
        outcome = CampaignOutcome(
            workload, DeviceInfo.of(device), protocol, sweeps, skipped, held.ranking, held.final_id,
            held.peaks.limits, interrupted or held.interrupted, race.given_up, frozenset(race.reused),
            held.exclusions, held.peaks.disturbed, log.campaign_id, held.defaults,
        )  # fmt: skip
        log.finish(outcome)
    return outcome


def campaign_spec(
    workloads: Sequence[Workload],
    setting: Setting,
    kernels: Sequence[str] = (),
    baselines: bool = True,
    **more: Any,
) -> CampaignSpec:
    """What a campaign is about to do, for its record; a `sweep` unless told otherwise.

    Args:
        workloads, setting: what is tuned, on what and how.
        kernels: names that were asked for; none means all that can serve.
        baselines: whether libraries take part.
        **more: further fields of `CampaignSpec`; `asked` is added to what the plan asks.
    """
    asked = {
        **setting.plan.as_dict(),
        "kernels": list(kernels),
        "baselines": baselines,
        **more.pop("asked", {}),
    }
    more.setdefault("kind", "sweep")
    more.setdefault("title", ", ".join(workload.key for workload in workloads[:3]))
    more.setdefault("facts", lab_state())
    device, protocol = setting.device, setting.protocol
    target = device.target_for(protocol.threads).name
    return CampaignSpec(
        device=DeviceInfo.of(device), target=target, protocol=protocol, workloads=workloads, asked=asked,
        **more,
    )  # fmt: skip
