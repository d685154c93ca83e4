"""What a campaign found for one workload: what ran, who was left out, and the final."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.core.protocol import Protocol
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.tuning.finals import Ranking
from tuner.engine.tuning.race import GivenUp
from tuner.engine.tuning.request import SweepResult, better
from tuner.store.campaign_records import CampaignKernel, CampaignPart, Exclusion
from tuner.store.records import DeviceInfo

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class CampaignOutcome:
    """What a campaign found.

    Attributes:
        workload, device, protocol: what it was about.
        sweeps: by kernel, in the order they ran.
        skipped: kernels that could not take part, with the reason.
        ranking: the final; `None` where none was held, or an earlier run of this campaign held it.
        final_id: of the final in the store.
        limits: the device's measured peaks; none where no final was held and the store knows none.
        interrupted: by Ctrl-C.
        given_up: kernels that were given up as far behind.
        reused: kernels whose sweep was found finished in the store.
        exclusions: who was left or thrown out of the final.
        peaks_disturbed: the peaks were measured while other programs had the cores.
        campaign_id: of the campaign in the store.
        defaults: the trial of each kernel's default configuration that was in the final.
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
    given_up: Mapping[str, GivenUp] = field(default_factory=dict)
    reused: frozenset[str] = frozenset()
    exclusions: tuple[Exclusion, ...] = ()
    peaks_disturbed: bool = False
    campaign_id: int | None = None
    defaults: Mapping[str, int] = field(default_factory=dict)

    def kernel_record(self, asked: CampaignKernel) -> CampaignKernel:
        """What became of a kernel that was to take part, for the store."""
        result = self.sweeps.get(asked.name)
        if result is None:
            return asked
        behind = self.given_up.get(asked.name)
        summary = {
            "statuses": result.statuses,
            "seconds": result.seconds,
            "exhausted": result.exhausted,
            "interrupted": result.interrupted,
        }
        if asked.name in self.defaults:
            summary["default"] = self.defaults[asked.name]
        return CampaignKernel(
            asked.name, asked.digest, asked.language, asked.baseline, asked.searcher,
            sweep_id=result.sweep_id,
            reused=asked.name in self.reused,
            best_id=result.best.id if result.best else None,
            trials=len(result.trials),
            disturbed=result.disturbed,
            given_up=behind.reason if behind else "",
            given_up_at=behind.trials if behind else None,
            summary=summary,
        )  # fmt: skip


def outcome_of(part: CampaignPart, device: DeviceInfo, protocol: Protocol, store: "Store") -> CampaignOutcome:
    """The outcome of a workload that an earlier run of its campaign finished, out of the store.

    The ranking is not made again: the final's entries are in the store under `final_id`.
    """
    sweeps, given_up, reused = {}, {}, set()
    for kernel in part.kernels:
        if kernel.sweep_id is None:
            continue
        trials = tuple(store.sweep_history(kernel.sweep_id))
        best: Trial | None = None
        for trial in trials:
            best = trial if better(trial, best) else best
        told = kernel.summary
        sweeps[kernel.name] = SweepResult(
            kernel.sweep_id, trials, best, False, bool(told.get("exhausted")), float(told.get("seconds", 0.0))
        )
        if kernel.given_up_at is not None:
            given_up[kernel.name] = GivenUp(kernel.given_up_at, kernel.given_up)
        if kernel.reused:
            reused.add(kernel.name)
    skipped = {kernel.name: kernel.skipped for kernel in part.kernels if kernel.skipped}
    return CampaignOutcome(
        part.workload, device, protocol, sweeps, skipped, None, part.final_id, part.limits, False,
        given_up, frozenset(reused), tuple(part.exclusions), part.peaks_disturbed,
    )  # fmt: skip
