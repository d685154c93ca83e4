"""The summary after a sweep: what each kernel reached, and who won."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tuner.cli.common import config_text, rate, seconds, spread
from tuner.core.peak import peak_remark, share_of_peak
from tuner.report.text import ratio, safe

if TYPE_CHECKING:
    from tuner.engine.tuning.campaign import Outcome


def final_lines(outcome: "Outcome") -> Iterator[Any]:
    """What to print, top to bottom: sweeps, final, verdict, what was left out."""
    from rich.markup import escape
    from rich.table import Table

    from tuner import registry

    flops = registry.operator(outcome.workload.operator).flops(outcome.workload)
    on_paper = outcome.on_paper
    place = f"{outcome.workload.key} on {outcome.device.name}, {outcome.protocol.threads} threads"
    if on_paper:
        place = f"{outcome.workload.key} for {outcome.device.name}: predicted by a model, not measured"
    table = Table(
        title=escape(safe(f"Sweeps of {place}")), title_justify="left", box=None, header_style="bold"
    )
    for name, side in (("kernel", "left"), ("sweep", "right"), ("trials", "right"), ("failed", "left"),
                       ("predicted" if on_paper else "best", "right"), ("GFLOP/s", "right"),
                       ("configuration", "left")):  # fmt: skip
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for name, result in outcome.sweeps.items():
        failed = {s: n for s, n in result.statuses.items() if s not in ("ok", "pruned")}
        best = result.best
        time_s = best.measurement.time_s if best else None
        table.add_row(
            name, f"s{result.sweep_id}", str(len(result.trials)),
            " ".join(f"{s}:{n}" for s, n in failed.items()) or "none",
            seconds(time_s), rate(flops, time_s),
            escape(config_text(best.key.config)) if best else "nothing was right",
        )  # fmt: skip
    yield table
    if outcome.ranking is not None:
        yield ""
        remarks = peak_remarks(outcome)
        yield _ranking(outcome, flops, remarks)
        yield ""
        for label, remark in dict.fromkeys(remarks.values()):
            yield escape(f"! {label}: {remark}")
        for remark in outcome.ranking.remarks:
            yield escape(remark)
        yield verdict(outcome)
    for name, result in outcome.sweeps.items():
        if result.disturbed:
            of = f"{result.disturbed} of {len(result.trials)} trials were"
            yield escape(f"{name}: {of} timed while other programs had the cores: their times are too long")
    for name, reason in outcome.skipped.items():
        yield escape(f"left out: {name}: {reason}")  # a reason may name an extra: [torch]
    if outcome.interrupted:
        yield "interrupted; everything measured is stored: continue with --resume"


def peak_remarks(outcome: "Outcome") -> dict[int, tuple[str, str]]:
    """By index of the final's entries above 105% of the peak: label and what is to be said of it."""
    from tuner import registry

    assert outcome.ranking is not None
    flops = registry.operator(outcome.workload.operator).flops(outcome.workload)
    peak = outcome.limits.get(f"peak_flops_{outcome.workload.dtype}")
    found = {}
    for i, entry in enumerate(outcome.ranking.entries):
        if (interval := entry.interval) is None:
            continue
        kernel = registry.kernels().get(entry.finalist.label)
        fewer = kernel.fewer_operations(outcome.workload) if kernel else 1.0
        if remark := peak_remark(share_of_peak(flops, interval.mid, peak), fewer):
            found[i] = (entry.finalist.label, remark)
    return found


def _ranking(outcome: "Outcome", flops: int, remarks: dict[int, tuple[str, str]]) -> Any:
    from rich.table import Table

    ranking = outcome.ranking
    assert ranking is not None
    reference = ranking.entries[ranking.reference].finalist if ranking.reference is not None else None
    against = f"vs {reference.label}" if reference else "speed-up"
    table = Table(
        title="Final: timed again, interleaved", title_justify="left", box=None, header_style="bold"
    )
    for name, side in (("kernel", "left"), ("trial", "right"), ("time", "right"), ("95%", "right"),
                       ("GFLOP/s", "right"), ("of peak", "right"),
                       (f"{against} [95%]", "right")):  # fmt: skip
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    peak = outcome.limits.get("peak_flops_f32") if outcome.workload.dtype == "f32" else None
    order = sorted(
        range(len(ranking.entries)),
        key=lambda i: ranking.entries[i].interval.mid if ranking.entries[i].interval else float("inf"),  # type: ignore[union-attr]
    )
    for i in order:
        entry = ranking.entries[i]
        interval = entry.interval
        mid = interval.mid if interval else None
        share = f"{100 * flops / mid / peak:.0f}%{'!' if i in remarks else ''}" if mid and peak else "-"
        label = f"[bold]{entry.finalist.label}[/bold]" if i == ranking.winner else entry.finalist.label
        table.add_row(
            label, f"t{entry.finalist.trial_id}", seconds(mid), spread(interval), rate(flops, mid), share,
            ratio(entry.speedup) if interval else "thrown out",
        )  # fmt: skip
    return table


def verdict(outcome: "Outcome") -> str:
    """One sentence: who won, by how much, or who tied."""
    ranking = outcome.ranking
    if ranking is not None and ranking.disturbed:
        return f"Nothing is declared: {ranking.disturbed}. Run it again when the machine is quiet."
    if ranking is None or ranking.winner is None:
        return "No finalist survived the final."
    winner = ranking.entries[ranking.winner]
    label = f"{winner.finalist.label} (t{winner.finalist.trial_id})"
    ties = [ranking.entries[i].finalist for i in ranking.tied]
    if ties:
        others = ", ".join(f"{f.label} (t{f.trial_id})" for f in ties)
        return f"Tie: {label} cannot be told from {others} at 95%."
    if ranking.reference is not None and ranking.reference != ranking.winner and winner.speedup:
        reference = ranking.entries[ranking.reference].finalist.label
        return f"Winner: {label}, {ratio(winner.speedup)} the speed of {reference}."
    return f"Winner: {label}."
