"""What a page says of one workload on one device: the comparison, and the trials behind it.

A section is made of a part of a campaign, or of sweeps that belong to none; nothing is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.core.trial import Trial
from tuner.report.campaign_view import KernelView, PartView, fewer_operations, view
from tuner.report.comparison import Comparison, gather
from tuner.report.curves import Curve
from tuner.report.paper import PaperRow, paper_rows
from tuner.report.rows import RowContext, Timing, comparison_rows
from tuner.store.campaign_records import CampaignPart, StoredCampaign
from tuner.store.lines import TrialLine
from tuner.store.records import StoredSweep

if TYPE_CHECKING:
    from tuner.store.store import Store

MOST_LINES = 20_000
"""Trials that a page holds at most: 10,000 are 2 MB of it."""


@dataclass(frozen=True)
class Swept:
    """A kernel with the trials of its sweep.

    Attributes:
        name: of the kernel, unique in its section.
        kernel: its registered name.
        sweep_id, baseline, searcher: of its sweep; whether it is a library people use.
        trials: proposals; `lines` are fewer where there are too many for a page.
        statuses: how many ended in each status.
        best: the fastest right trial.
    """

    name: str
    kernel: str
    sweep_id: int
    baseline: bool
    searcher: str
    trials: int
    statuses: Mapping[str, int]
    best: Trial | None
    lines: Sequence[TrialLine]


@dataclass(frozen=True)
class Section:
    """One workload on one device.

    Attributes:
        comparison: rows, curves and notes.
        kernels: in the order they ran.
        part: the campaign's record; `None` where it is of sweeps alone.
        measured: whether anything was to be measured; else times are a model's word.
        paper: its kernels, where they were compiled for a device that is not here: no times, but ranks.
        beside: kernels on paper of another section with the same workload.
        variant: what sets it apart from other sections of its workload; empty where nothing does.
    """

    comparison: Comparison
    kernels: Sequence[Swept]
    part: PartView | None = None
    measured: bool = True
    paper: Sequence[PaperRow] = ()
    beside: Sequence[PaperRow] = ()
    variant: str = ""

    @property
    def heading(self) -> str:
        """The workload, and what sets the section apart from others of it."""
        return f"{self.context.workload.key}{f' · {self.variant}' if self.variant else ''}"

    @property
    def context(self) -> RowContext:
        """Workload, device, peaks."""
        return self.comparison.context

    @property
    def evidence(self) -> str:
        """What its times are worth, or its trials where there are none: `measured` if any of them is."""
        kinds = [row.evidence for row in self.comparison.rows]
        kinds = kinds or [line.evidence for kernel in self.kernels for line in kernel.lines]
        return "measured" if "measured" in kinds or not kinds else kinds[0]

    @property
    def loads_on(self) -> str:
        """The device as `tuner.load` is told it; empty for this machine's CPU, which it takes by itself."""
        from tuner import registry

        if self.part is None:
            return ""
        spec = self.part.campaign.spec
        kind = registry.device_classes().get(spec.device.kind)
        named = str(spec.asked.get("device") or "")
        return named or ("" if kind is None or kind.shares_cpu else f"{spec.device.kind}:0")

    @property
    def trials(self) -> int:
        """Proposals of all its sweeps."""
        return sum(kernel.trials for kernel in self.kernels)

    @property
    def failed(self) -> int:
        """How many of them have no right result; one that was dropped early is right."""
        return sum(
            n for k in self.kernels for status, n in k.statuses.items() if status not in ("ok", "pruned")
        )


def of_part(campaign: StoredCampaign, part: CampaignPart, store: "Store", most: int) -> Section:
    """The section of a campaign's workload, with at most so many trials in it.

    Raises:
        UnknownName: its operator is not registered here.
        StoreError: the database fails, or holds what the lab does not write.
    """
    shown = view(campaign, part, store)
    counts = [kernel.trials for kernel in shown.kernels]
    kernels = [
        _of_kernel(kernel, store, share)
        for kernel, share in zip(shown.kernels, shares(counts, most), strict=True)
    ]
    found = Section(gather(campaign, part, store), kernels, shown, shown.measured)
    if shown.measured:
        return found
    # Bars and curves of predicted times would be taken for those of times.
    told = replace(found.comparison, rows=(), curves=(), references=())
    return replace(found, comparison=told, paper=paper_rows(shown))


def _of_kernel(kernel: KernelView, store: "Store", most: int) -> Swept:
    record = kernel.record
    assert record.sweep_id is not None
    return Swept(
        kernel.name, kernel.name, record.sweep_id, record.baseline, record.searcher, kernel.trials,
        kernel.statuses, kernel.best, store.trial_lines(record.sweep_id, most),
    )  # fmt: skip


def of_sweeps(sweeps: Sequence[StoredSweep], title: str, store: "Store", most: int) -> Section:
    """The section of sweeps of one workload, device, thread count and cache state that are of no campaign.

    Of a recording, or a kernel of somebody's program, nobody knows how many operations it computes: 0.

    Raises:
        StoreError: as for `of_part`.
    """
    from tuner import registry

    spec = sweeps[0].spec
    operator = registry.operators().get(spec.workload.operator)
    limits = spec.device.limits
    context = RowContext(
        title=title,
        workload=spec.workload,
        device=spec.device.name,
        threads=spec.protocol.threads,
        cache=spec.protocol.cache,
        when=max(sweep.finished_at or sweep.started_at for sweep in sweeps),
        flops=operator.flops(spec.workload) if operator else 0,
        bytes=operator.min_bytes(spec.workload) if operator else 0,
        peak_flops=limits.get(f"peak_flops_{spec.workload.dtype}"),
        bandwidth=limits.get("bandwidth_bytes_per_s"),
        sustained_s=spec.protocol.sustained_s,
        clock_mhz=spec.protocol.clock_mhz,
        between_bytes=spec.protocol.between_bytes,
    )
    names = _names(sweeps)
    share = shares([sweep.trials for sweep in sweeps], most)
    kernels = [
        _of_sweep(sweep, name, store, room) for sweep, name, room in zip(sweeps, names, share, strict=True)
    ]
    timings = [timing for kernel in kernels if (timing := _timing(kernel, context)) is not None]
    curves = [Curve(k.name, store.best_so_far(k.sweep_id)) for k in kernels if k.trials > 1]
    notes = ["no final was held: times are of the sweeps, taken apart, so there are no speed-ups"]
    notes = notes if len(timings) > 1 else []
    timers = dict.fromkeys(sweep.spec.protocol.timer for sweep in sweeps if sweep.spec.protocol.timer)
    notes += [f"times were taken by the program the kernel is of, with {t}, not by the judge" for t in timers]
    rows = comparison_rows(timings, context, paired=False)
    measured = not rows or any(row.evidence != "predicted" for row in rows)
    return Section(Comparison(context, rows, curves, (), notes), kernels, None, measured)


def _names(sweeps: Sequence[StoredSweep]) -> list[str]:
    """The kernels' names; with the sweep's number where a kernel was swept more than once."""
    kernels = [sweep.spec.kernel.name for sweep in sweeps]
    return [
        name if kernels.count(name) == 1 else f"{name} (s{sweep.id})"
        for name, sweep in zip(kernels, sweeps, strict=True)
    ]


def _of_sweep(sweep: StoredSweep, name: str, store: "Store", most: int) -> Swept:
    fastest = store.fastest(sweep.id, 1)
    return Swept(
        name, sweep.spec.kernel.name, sweep.id, False, sweep.spec.searcher, sweep.trials, sweep.statuses,
        fastest[0] if fastest else None, store.trial_lines(sweep.id, most),
    )  # fmt: skip


def _timing(kernel: Swept, context: RowContext) -> Timing | None:
    best = kernel.best
    if best is None or (interval := best.measurement.interval) is None:
        return None
    return Timing(
        implementation=kernel.name,
        kernel=kernel.kernel,
        language="",
        config=best.key.config,
        interval=interval,
        evidence=str(best.measurement.evidence),
        trials=kernel.trials,
        trial_id=best.id,
        fewer=fewer_operations(kernel.kernel, context.workload),
    )


def shares(counts: Sequence[int], most: int) -> list[int]:
    """How many of each count there is room for: small ones whole, large ones alike."""
    rooms = [0] * len(counts)
    left = most
    for place, i in enumerate(sorted(range(len(counts)), key=lambda i: counts[i])):
        rooms[i] = min(counts[i], left // (len(counts) - place))
        left -= rooms[i]
    return rooms
