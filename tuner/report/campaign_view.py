"""One workload of a stored campaign with all that tables, pictures and JSON say of it, read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tuner.core.peak import peak_remark, share_of_peak
from tuner.core.space import Config
from tuner.core.stats import Interval
from tuner.core.trial import Trial
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.store.campaign_records import CampaignKernel, CampaignPart, StoredCampaign
from tuner.store.records import Final

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class KernelView:
    """A kernel of a part, with what its sweep reached.

    Attributes:
        record: as the campaign stored it.
        best: its fastest right trial; `None` where nothing was right.
        trials: proposals of its sweep.
        statuses: how many of them ended in each status.
        named: the trials of its configurations, in order, where a user named them; else none.
    """

    record: CampaignKernel
    best: Trial | None
    trials: int
    statuses: Mapping[str, int]
    named: Sequence[Trial] = ()

    @property
    def name(self) -> str:
        """Of the kernel."""
        return self.record.name


@dataclass(frozen=True)
class EntryView:
    """An entry of a part's final, or who was thrown out of it.

    Attributes:
        kernel, language, config, trial_id: what was timed.
        baseline: a library people use.
        interval: median seconds of one call with a 95% interval; `None` for one that was thrown out.
        turns: its samples by process.
        speedup: over the final's reference; `None` where the final declares nothing.
        winner, tie: its place.
        default: what its kernel would be used with had nobody tuned it.
        beaten: another configuration stands for its kernel.
        share_of_peak: at the operations that the definition counts; `None` where no peak is known.
        error: why it was thrown out; empty for all others.
        remark: on a share of the peak above 105%; empty otherwise.
    """

    kernel: str
    language: str
    config: Config
    trial_id: int
    baseline: bool
    interval: Interval | None
    turns: Turns
    speedup: Interval | None = None
    winner: bool = False
    tie: bool = False
    default: bool = False
    beaten: bool = False
    share_of_peak: float | None = None
    error: str = ""
    remark: str = ""


@dataclass(frozen=True)
class PartView:
    """One workload of a campaign.

    Attributes:
        campaign, part: the records.
        kernels: that took part and were reached, in the order they ran.
        final: `None` where none was held.
        entries: of the final, the fastest first, then those thrown out.
        flops, bytes: operations of one call, bytes that any implementation must move.
    """

    campaign: StoredCampaign
    part: CampaignPart
    kernels: Sequence[KernelView]
    final: Final | None
    entries: Sequence[EntryView]
    flops: int
    bytes: int

    @property
    def workload(self) -> Workload:
        """What is computed."""
        return self.part.workload

    @property
    def peak_flops(self) -> float | None:
        """Operations a second that the device reached for this element type, as measured then."""
        return self.part.limits.get(f"peak_flops_{self.workload.dtype}")

    @property
    def disturbed(self) -> str:
        """Why the final declared nothing; empty where it did, and where none was held."""
        return self.final.disturbed if self.final is not None else ""

    @property
    def unfinished(self) -> bool:
        """Whether it was interrupted, or its process killed, before the end."""
        return self.part.status != "finished"

    @property
    def measured(self) -> bool:
        """Whether anything was to be measured; a sweep for a device that is not there only predicts."""
        return self.campaign.measured

    @cached_property
    def timed(self) -> Sequence[EntryView]:
        """The entries that have a time, the fastest first."""
        return [entry for entry in self.entries if entry.interval is not None]

    @property
    def reference(self) -> EntryView | None:
        """What the final's speed-ups are over: the fastest library, else the fastest entry."""
        if self.final is None or self.disturbed or not self.timed:
            return None
        baseline = self.final.baseline
        return next((e for e in self.timed if e.trial_id == baseline), self.timed[0])


def view(campaign: StoredCampaign, part: CampaignPart, store: "Store") -> PartView:
    """Reads one workload of a campaign.

    Raises:
        UnknownName: its operator is not registered here.
        StoreError: the database fails, or holds what the lab does not write.
    """
    from tuner import registry
    from tuner.core.errors import StoreError

    operator = registry.operator(part.workload.operator)
    try:
        flops, least = operator.flops(part.workload), operator.min_bytes(part.workload)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise StoreError(
            f"{store.name}: {part.workload.key} is no workload of {operator.name}: something else wrote it"
        ) from None
    final = store.final(part.final_id) if part.final_id is not None else None
    peak = part.limits.get(f"peak_flops_{part.workload.dtype}")
    entries = [
        *_entries(part, final, flops, peak, store),
        *_thrown_out(part, store),
    ]
    asked = campaign.spec.asked.get("configs")
    named = asked if isinstance(asked, Mapping) else {}
    kernels = [_kernel(k, k.name in named, store) for k in part.kernels if k.sweep_id is not None]
    return PartView(campaign, part, kernels, final, entries, flops, least)


def fewer_operations(kernel: str, workload: Workload) -> float:
    """Times fewer operations than the definition counts that a kernel may do; 1 for one not known here."""
    from tuner import registry

    known = registry.kernels().get(kernel)
    return known.fewer_operations(workload) if known else 1.0


def _entries(
    part: CampaignPart, final: Final | None, flops: int, peak: float | None, store: "Store"
) -> list[EntryView]:
    found = []
    defaults = {kernel.summary.get("default") for kernel in part.kernels}
    for entry in final.entries if final is not None else ():
        detail = store.trial(entry.trial_id)
        assert entry.interval is not None, "the store fills it in"
        share = share_of_peak(flops, entry.interval.mid, peak)
        found.append(
            EntryView(
                kernel=detail.kernel.name,
                language=detail.kernel.language,
                config=detail.trial.key.config,
                trial_id=entry.trial_id,
                baseline=entry.role == "baseline",
                interval=entry.interval,
                turns=entry.turns,
                speedup=entry.speedup,
                winner=entry.winner,
                tie=entry.tie,
                default=entry.trial_id in defaults,
                beaten=bool(entry.beaten),
                share_of_peak=share,
                remark=peak_remark(share, fewer_operations(detail.kernel.name, part.workload)),
            )
        )
    return found


def _thrown_out(part: CampaignPart, store: "Store") -> list[EntryView]:
    found = []
    baselines = {kernel.name for kernel in part.kernels if kernel.baseline}
    for each in part.exclusions:
        detail = store.trial(each.trial_id)
        found.append(
            EntryView(
                kernel=each.kernel,
                language=detail.kernel.language,
                config=detail.trial.key.config,
                trial_id=each.trial_id,
                baseline=each.kernel in baselines,
                interval=None,
                turns=Turns(),
                error=f"it does not build again: {each.reason}" if each.stage == "build" else each.reason,
            )
        )
    return found


def _kernel(record: CampaignKernel, is_named: bool, store: "Store") -> KernelView:
    assert record.sweep_id is not None
    named = store.sweep_history(record.sweep_id) if is_named else ()
    if "statuses" in record.summary:
        best = store.trial(record.best_id).trial if record.best_id is not None else None
        return KernelView(record, best, record.trials, record.summary["statuses"], named)
    # The process was killed before it could say how the sweep ended: what the sweep itself has.
    sweep = store.sweep(record.sweep_id)
    fastest = store.fastest(record.sweep_id, 1)
    return KernelView(record, fastest[0] if fastest else None, sweep.trials, sweep.statuses, named)
