"""The comparison of one workload: from a campaign in the store to rows, curves, notes and pictures."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.core.disturbance import is_disturbed
from tuner.report.bars import comparison_chart
from tuner.report.campaign_view import PartView, fewer_operations, view
from tuner.report.curves import Curve, convergence_chart
from tuner.report.left_out import skipped_lines
from tuner.report.roofline import roofline_chart
from tuner.report.rows import ComparisonRow, RowContext, Timing, comparison_rows
from tuner.report.text import first_line, seconds
from tuner.report.verdict import default_sentences, once_more
from tuner.store.campaign_records import CampaignPart, StoredCampaign

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class Comparison:
    """The rows of one workload.

    Attributes:
        curves: of the sweeps of several trials.
        references: kernels of a single trial with their seconds, from sweeps as the curves are: times
            of the final were taken at another hour and do not compare with them.
        notes: what was left out, and why.
    """

    context: RowContext
    rows: Sequence[ComparisonRow]
    curves: Sequence[Curve]
    references: Sequence[tuple[str, float]] = ()
    notes: Sequence[str] = ()


def gather(campaign: StoredCampaign, part: CampaignPart, store: "Store") -> Comparison:
    """The comparison of one workload of a stored campaign: its final, or its sweeps where none was held.

    Raises:
        UnknownName: the workload's operator is not registered here.
        StoreError: the database fails, or holds what the lab does not write.
    """
    shown = view(campaign, part, store)
    timings, when = _timings(shown)
    context = RowContext(
        title=campaign.spec.title,
        workload=part.workload,
        device=campaign.spec.device.name,
        threads=campaign.spec.protocol.threads,
        cache=campaign.spec.protocol.cache,
        when=when or part.finished_at or part.started_at or campaign.started_at,
        flops=shown.flops,
        bytes=shown.bytes,
        peak_flops=shown.peak_flops,
        bandwidth=part.limits.get("bandwidth_bytes_per_s"),
        disturbed=shown.disturbed,
        unfinished=shown.unfinished,
        peaks_disturbed=part.peaks_disturbed,
        campaign=campaign.id,
        sustained_s=campaign.spec.protocol.sustained_s,
        clock_mhz=campaign.spec.protocol.clock_mhz,
        between_bytes=campaign.spec.protocol.between_bytes,
    )
    paired = shown.final is not None and not shown.disturbed
    rows = comparison_rows(timings, context, paired)
    curves, references = [], []
    for kernel in shown.kernels:
        assert kernel.record.sweep_id is not None
        if kernel.trials > 1:
            curves.append(Curve(kernel.name, store.best_so_far(kernel.record.sweep_id)))
        elif kernel.best is not None and kernel.best.measurement.time_s is not None:
            references.append((kernel.name, kernel.best.measurement.time_s))
    notes = [*_left_out(shown, {t.kernel for t in timings}), *_doubts(shown, bool(timings))]
    notes += [f"{row.implementation}: {row.remark}" for row in rows if row.remark]
    return Comparison(context, rows, curves, references, notes)


def _left_out(shown: PartView, timed: Collection[str]) -> list[str]:
    """Who is not in the table, and why."""
    notes = skipped_lines({k.name: k.skipped for k in shown.part.kernels})
    errors = {entry.kernel: first_line(entry.error) for entry in shown.entries if entry.error}
    for kernel in shown.kernels:
        if kernel.name in timed:
            continue
        counts = ", ".join(f"{status}: {count}" for status, count in kernel.statuses.items()) or "no trials"
        best_s = kernel.best.measurement.time_s if kernel.best else None
        if kernel.name in errors:
            notes.append(f"left out: {kernel.name}: {errors[kernel.name]} ({counts})")
        elif best_s is not None:
            notes.append(f"not in the final: {kernel.name}: far behind with {seconds(best_s)} in its sweep")
        else:
            reason = "it had nothing right to time" if kernel.trials else "it was not reached"
            notes.append(f"left out: {kernel.name}: {reason} ({counts})")
    reached = {kernel.name for kernel in shown.kernels}
    missing = [k.name for k in shown.part.kernels if not (k.skipped or k.name in reached)]
    notes += skipped_lines(dict.fromkeys(missing, "it was not reached"))
    notes += [
        f"given up: {k.name}: after {k.given_up_at} trials, {k.given_up}"
        for k in shown.part.kernels if k.given_up
    ]  # fmt: skip
    return notes


def _doubts(shown: PartView, timed: bool) -> list[str]:
    """What is to be said of the times as a whole."""
    notes = []
    if shown.disturbed:
        notes.append(f"the final was disturbed and declares nothing: {shown.disturbed}")
        notes += [told for told in [once_more(shown)] if told]
    elif shown.unfinished:
        notes.append("interrupted: times are of the sweeps, taken apart, so there are no speed-ups"
                     if shown.final is None else "interrupted after the final")  # fmt: skip
    elif shown.final is None and timed and shown.measured:
        notes.append("no final was held: times are of the sweeps, taken apart, so there are no speed-ups")
    return [*notes, *shown.part.remarks, *default_sentences(shown)]


def _timings(shown: PartView) -> tuple[list[Timing], datetime | None]:
    """The fastest entry of each kernel, and when it was taken."""
    trials = {kernel.name: kernel.trials for kernel in shown.kernels}
    found: dict[str, Timing] = {}
    # The configuration that stands for its kernel, which another one may seem faster than by a hair.
    for entry in sorted(shown.timed, key=lambda e: bool(e.beaten)):  # else fastest first
        assert entry.interval is not None
        timing = Timing(
            implementation=entry.kernel,
            kernel=entry.kernel,
            language=entry.language,
            config=entry.config,
            interval=entry.interval,
            turns=entry.turns,
            is_baseline=entry.baseline,
            naive=is_naive(entry.kernel),
            trials=trials.get(entry.kernel, 1),
            trial_id=entry.trial_id,
            fewer=fewer_operations(entry.kernel, shown.workload),
        )
        found.setdefault(timing.kernel, timing)
    if shown.final is not None:
        return list(found.values()), shown.final.created_at
    when = None
    for kernel in shown.kernels:
        best = kernel.best
        if best is None or (interval := best.measurement.interval) is None:
            continue
        when = max(when or best.created_at, best.created_at)
        disturbed = is_disturbed(best.measurement.metrics)
        found[kernel.name] = Timing(
            implementation=kernel.name,
            kernel=kernel.name,
            language=kernel.record.language,
            config=best.key.config,
            interval=interval,
            is_baseline=kernel.record.baseline,
            naive=is_naive(kernel.name),
            evidence=str(best.measurement.evidence),
            trials=kernel.trials,
            trial_id=best.id,
            fewer=fewer_operations(kernel.name, shown.workload),
            doubt="disturbed: timed while other programs had the cores" if disturbed else "",
        )
    return list(found.values()), when


def is_naive(kernel: str) -> bool:
    """Whether a kernel is a plain program: rung 0 of a ladder is named `<language>_naive`."""
    return kernel == "naive" or kernel.endswith("_naive")


def write_pictures(comparison: Comparison, folder: Path, prefix: str = "") -> list[Path]:
    """Draws all that the comparison has data for; the files written.

    Raises:
        TunerError: a file cannot be written.
    """
    context, rows = comparison.context, comparison.rows
    written: list[Path] = []
    if rows:
        written += comparison_chart(rows, context, folder / f"{prefix}comparison")
    if any(point.best_s is not None for curve in comparison.curves for point in curve.points):
        written += convergence_chart(
            comparison.curves, context, folder / f"{prefix}convergence", comparison.references
        )
    if rows and context.peak_flops and context.bandwidth and context.bytes:
        written += roofline_chart(rows, context, folder / f"{prefix}roofline")
    return written
