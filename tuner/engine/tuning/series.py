"""Campaigns of many workloads in a row: the layers of models, the shapes of an experiment."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.workload import Workload
from tuner.core.workload_sets import workload_set
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.campaign_log import CampaignLog
from tuner.engine.tuning.campaign_outcome import outcome_of
from tuner.engine.tuning.setting import Setting
from tuner.store.campaign_records import CampaignLayer


@dataclass(frozen=True, slots=True)
class SeriesLayer:
    """A workload of a series.

    Attributes:
        workload: what is computed.
        model: the workload set it comes from; empty for a shape given by itself.
        count: how often one pass of the model computes it.
    """

    workload: Workload
    model: str = ""
    count: int = 1


def layers_of(names: Sequence[str], operator: str | None, dtype: str) -> list[SeriesLayer]:
    """The layers of workload sets.

    Args:
        names: of the sets.
        operator: only its layers; `None` for those of all operators.
        dtype: element type of all of them.

    Raises:
        UnknownName: there is no set or operator of this name.
        TunerError: no set has a layer of the operator; the operator has no such dtype.
    """
    if operator is not None:
        registry.operator(operator)
    found = [
        SeriesLayer(registry.operator(layer.operator).parse(layer.shape, dtype), name, layer.count)
        for name in dict.fromkeys(names)
        for layer in workload_set(name).layers
        if operator in (None, layer.operator)
    ]
    if not found:
        raise TunerError(f"no {operator} in {', '.join(names)}: the sets hold other operators")
    return found


def run_series(
    layers: Sequence[SeriesLayer],
    setting: Setting,
    kernels: Sequence[str] = (),
    baselines: bool = True,
    **named: Any,
) -> dict[Workload, campaign.Outcome]:
    """Runs the campaign of each distinct workload, all in one workshop: processes warm up once.

    Later layers begin from what earlier ones taught, as far as the searcher uses history.

    Args:
        layers: in this order; a workload that occurs twice is run once.
        setting: on what and how they are tuned.
        kernels: names; each layer takes those of its operator. None means all that can serve.
        baselines: whether libraries take part.
        **named: further fields of `CampaignSpec`, for the record: `title`, `kind`, `experiment`, `command`.

    With `setting.plan.resume` an unfinished campaign that asked the same is gone on with: workloads that it
    finished, with the same kernels at the same state of their sources, are not run a second time.

    Returns:
        The outcomes so far: after Ctrl-C the last one is marked `interrupted` and the rest is missing.

    Raises:
        TunerError: a workload does not fit in memory (checked for all of them first), a name is unknown.
    """
    workloads = list(dict.fromkeys(layer.workload for layer in layers))
    for workload in workloads:
        campaign.check_memory(workload)
    device, protocol = setting.device, setting.protocol
    chosen = {
        w: campaign.choose_kernels(w, device, protocol, _named(w, kernels), baselines, strict=False)
        for w in workloads
    }
    asked = [CampaignLayer(layer.workload.key, layer.model, layer.count) for layer in layers]
    spec = campaign.campaign_spec(workloads, setting, kernels, baselines, **{"layers": asked, **named})
    outcomes: dict[Workload, campaign.Outcome] = {}
    with (
        CampaignLog(setting.store, spec, setting.plan.resume) as log,
        Workshop(device, protocol, campaign.fresh_seed()) as workshop,
    ):
        for number, workload in enumerate(workloads):
            if len(workloads) > 1:
                setting.observer.note(f"{number + 1} of {len(workloads)}: {workload.key}")
            taking_part, skipped = chosen[workload]
            if (kept := log.kept(number, taking_part, skipped)) is not None:
                setting.observer.note(f"{workload.key}: finished in an earlier run of campaign {log.id}")
                stored = outcome_of(kept, spec.device, protocol, setting.store)
                outcomes[workload] = replace(stored, campaign_id=log.id)
                continue
            outcomes[workload] = campaign.run_campaign(
                workload, taking_part, setting, skipped, workshop, log.part(number)
            )
            # The peaks of this hour are known.
            setting = replace(setting, plan=replace(setting.plan, refresh_limits=False))
            workshop.forget(registry.operator(workload.operator), workload)
            if outcomes[workload].interrupted:
                break
    return outcomes


def _named(workload: Workload, kernels: Sequence[str]) -> Sequence[str]:
    """The kernels of this workload's operator among those asked for.

    Raises:
        TunerError: none is.
    """
    mine = [name for name in kernels if registry.kernel(name).operator == workload.operator]
    if kernels and not mine:
        raise TunerError(f"none of the kernels {', '.join(kernels)} computes {workload.operator}")
    return mine
