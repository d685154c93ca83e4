"""Campaigns of many workloads in a row: the layers of models, the shapes of an experiment."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.measurement import Evidence
from tuner.core.workload import Workload
from tuner.core.workload_sets import workload_set
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.allotment import Allotment
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.campaign_log import CampaignLog, PartLog
from tuner.engine.tuning.campaign_outcome import outcome_of
from tuner.engine.tuning.compile_only import CompileShop, kernels_to_compile, rank
from tuner.engine.tuning.defaults import check_defaults
from tuner.engine.tuning.observer import LayerEvent
from tuner.engine.tuning.peaks import Peaks, larger_peaks
from tuner.engine.tuning.setting import Setting
from tuner.store.campaign_records import CampaignLayer

# Times that the peaks of a series are measured while other programs have the cores.
_PEAKS_TRIES = 2


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
    budgets: Mapping[Workload, Budget] | None = None,
    allotment: Allotment | None = None,
    **named: Any,
) -> dict[Workload, campaign.CampaignOutcome]:
    """Runs the campaign of each distinct workload, all in one workshop: processes warm up once.

    Where the device is only described, its candidates are compiled and ranked: no library takes part, and
    there is no final. Later layers begin from what earlier ones taught, as far as the searcher uses history.

    Args:
        layers: in this order; a workload that occurs twice is run once.
        setting: on what and how they are tuned.
        kernels: names; each layer takes those of its operator. None means all that can serve.
        baselines: whether libraries take part.
        budgets: of each kernel, by workload; the plan's where there is none.
        allotment: the time of all of them, finals included; `None` for no bound.
        **named: further fields of `CampaignSpec`, for the record: `title`, `kind`, `experiment`, `command`.

    With `setting.plan.resume` an unfinished campaign that asked the same is gone on with: workloads that it
    finished, with the same kernels at the same state of their sources, are not run a second time.

    Returns:
        The outcomes so far: after Ctrl-C the last one is marked `interrupted` and the rest is missing.

    Raises:
        TunerError: a workload does not fit in memory (checked for all of them first), a name is unknown.
    """
    workloads = list(dict.fromkeys(layer.workload for layer in layers))
    way: _Way = _Measured(setting) if setting.device.evidence is Evidence.MEASURED else _OnPaper(setting)
    chosen = {w: way.choose(w, _named(w, kernels), baselines) for w in workloads}
    way.check({workload: taking_part for workload, (taking_part, _) in chosen.items()})
    asked = [CampaignLayer(layer.workload.key, layer.model, layer.count) for layer in layers]
    named = {"layers": asked, **named, "asked": {**named.get("asked", {}), "measured": way.measured}}
    spec = campaign.campaign_spec(workloads, setting, kernels, baselines and way.measured, **named)
    outcomes: dict[Workload, campaign.CampaignOutcome] = {}
    with CampaignLog(setting.store, spec, setting.plan.resume) as log, way.shop() as shop:
        for number, workload in enumerate(workloads):
            setting.observer.layer_began(number + 1, len(workloads), workload)
            taking_part, skipped = chosen[workload]
            if (kept := log.kept(number, taking_part, skipped)) is not None:
                setting.observer.note(f"{workload.key}: finished in an earlier run of campaign {log.id}")
                stored = outcome_of(kept, spec.device, setting.protocol, setting.store)
                outcomes[workload] = replace(stored, campaign_id=log.id)
                setting.observer.layer_ended(_event(outcomes[workload], "finished in an earlier run"))
                if allotment is not None:
                    allotment.skip(workload)
                continue
            seconds = allotment.take(workload) if allotment is not None else None
            way.spend((budgets or {}).get(workload, setting.plan.budget), seconds)
            outcomes[workload] = way.run(workload, taking_part, skipped, shop, log.part(number))
            setting.observer.layer_ended(_event(outcomes[workload]))
            shop.forget(registry.operator(workload.operator), workload)
            if outcomes[workload].interrupted:
                break
    return outcomes


class _Way(ABC):
    """How a series treats its workloads.

    Args:
        setting: on what and how they are tuned.
    """

    measured: ClassVar[bool]

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def spend(self, budget: Budget, seconds: float | None) -> None:
        """What the kernels of the next workload may take each, and all of them with the final."""
        plan = replace(self._setting.plan, budget=budget, seconds=seconds)
        self._setting = replace(self._setting, plan=plan)

    @abstractmethod
    def choose(
        self, workload: Workload, names: Sequence[str], baselines: bool
    ) -> tuple[list[Kernel], dict[str, str]]:
        """Who takes part and who is skipped; `TunerError` where the workload cannot be tuned at all."""

    def check(self, chosen: Mapping[Workload, Sequence[Kernel]]) -> None:
        """Of all workloads, before any is tuned: `TunerError` for a default that fits none of them."""

    @abstractmethod
    def shop(self) -> Any:
        """What evaluates candidates: a context manager."""

    @abstractmethod
    def run(
        self, workload: Workload, kernels: Sequence[Kernel], skipped: Mapping[str, str], shop: Any,
        log: PartLog,
    ) -> campaign.CampaignOutcome:  # fmt: skip
        """The campaign of one workload."""


class _Measured(_Way):
    measured = True
    _peaks: Peaks | None = None
    _peaks_tries = 0

    def choose(
        self, workload: Workload, names: Sequence[str], baselines: bool
    ) -> tuple[list[Kernel], dict[str, str]]:
        device = self._setting.device
        campaign.check_memory(workload, device)
        chosen, skipped = campaign.choose_kernels(
            workload, device, self._setting.protocol, names, baselines, strict=False
        )
        if self._setting.plan.winner_only and not names:
            return self._without_untunable(workload, chosen, skipped)
        return chosen, skipped

    def _without_untunable(
        self, workload: Workload, chosen: list[Kernel], skipped: dict[str, str]
    ) -> tuple[list[Kernel], dict[str, str]]:
        """Without kernels of one configuration (naive ones, 100 times slower) where others can be tuned."""
        target = self._setting.device.target_for(self._setting.protocol.threads)
        fixed = {
            kernel.name for kernel in chosen
            if not (kernel.baseline or kernel.searcher) and kernel.space(workload, target).size == 1
        }  # fmt: skip
        tuned = [kernel for kernel in chosen if not kernel.baseline and kernel.name not in fixed]
        if not tuned:
            return chosen, skipped
        why = dict.fromkeys(sorted(fixed), "it has one configuration: nothing to tune")
        return [kernel for kernel in chosen if kernel.name not in fixed], {**skipped, **why}

    def check(self, chosen: Mapping[Workload, Sequence[Kernel]]) -> None:
        target = self._setting.device.target_for(self._setting.protocol.threads)
        check_defaults(self._setting.plan.defaults, chosen, target)

    def shop(self) -> Workshop:
        return Workshop(self._setting.device, self._setting.protocol, campaign.fresh_seed())

    def run(
        self, workload: Workload, kernels: Sequence[Kernel], skipped: Mapping[str, str], shop: Workshop,
        log: PartLog,
    ) -> campaign.CampaignOutcome:  # fmt: skip
        peaks = self._peaks if self._peaks_tries >= _PEAKS_TRIES else None
        outcome = campaign.run_campaign(workload, kernels, self._setting, skipped, shop, log, peaks)
        # The peaks of this hour are known: on a busy machine the larger ones of two attempts.
        if outcome.limits and self._peaks_tries < _PEAKS_TRIES:
            self._peaks_tries = self._peaks_tries + 1 if outcome.peaks_disturbed else _PEAKS_TRIES
            self._peaks = larger_peaks(self._peaks, Peaks(outcome.limits, outcome.peaks_disturbed))
        plan = replace(self._setting.plan, refresh_limits=False)
        self._setting = replace(self._setting, plan=plan)
        return outcome


class _OnPaper(_Way):
    measured = False

    def choose(
        self, workload: Workload, names: Sequence[str], baselines: bool
    ) -> tuple[list[Kernel], dict[str, str]]:
        return kernels_to_compile(workload, self._setting.device, names, strict=False)

    def shop(self) -> CompileShop:
        return CompileShop(self._setting.device, self._setting.protocol)

    def run(
        self, workload: Workload, kernels: Sequence[Kernel], skipped: Mapping[str, str], shop: CompileShop,
        log: PartLog,
    ) -> campaign.CampaignOutcome:  # fmt: skip
        return rank(workload, kernels, self._setting, skipped, shop, log)


def _event(outcome: campaign.CampaignOutcome, why: str = "") -> LayerEvent:
    """What an observer is told of an outcome; `why` it has no ranking, though a final may have been held."""
    ranking, kernel, time_s = outcome.ranking, "", None
    if ranking is not None and ranking.winner is not None:
        entry = ranking.entries[ranking.winner]
        kernel, time_s = entry.finalist.label, entry.interval.mid if entry.interval else None
    if ranking is not None and ranking.disturbed:
        why = f"nothing declared: {ranking.disturbed}"
    trials = sum(len(sweep.trials) for sweep in outcome.sweeps.values())
    return LayerEvent(outcome.workload, kernel, time_s, trials, why)


def _named(workload: Workload, kernels: Sequence[str]) -> Sequence[str]:
    """The kernels of this workload's operator among those asked for.

    Raises:
        TunerError: none is.
    """
    mine = [name for name in kernels if registry.kernel(name).operator == workload.operator]
    if kernels and not mine:
        raise TunerError(f"none of the kernels {', '.join(kernels)} computes {workload.operator}")
    return mine
