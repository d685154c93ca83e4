"""The summary of a sweep's campaign: what each kernel reached, and who won; from the store's record."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tuner.cli.common import config_text, rate, seconds, spread
from tuner.core.kernel import less_accurate
from tuner.report.left_out import skipped_lines
from tuner.report.text import first_line, ratio, safe
from tuner.report.verdict import default_sentences, once_more, verdict

if TYPE_CHECKING:
    from tuner.report.campaign_view import KernelView, PartView


def final_lines(part: "PartView") -> Iterator[Any]:
    """What to print, top to bottom: sweeps, final, verdict, what was left out."""
    from rich.markup import escape

    from tuner import registry

    yield _sweeps(part)
    if any(kernel.named for kernel in part.kernels):
        yield ""
        yield _named(part)
    if part.final is not None or part.entries:
        yield ""
        yield _ranking(part)
        yield ""
        remarks = {entry.kernel: entry.remark for entry in part.entries if entry.remark}
        for name, remark in remarks.items():
            yield escape(f"! {name}: {remark}")
        if part.part.peaks_disturbed and part.peak_flops:
            yield "? the peak was measured while other programs had the cores: it may be too low"
        for remark in part.part.remarks:
            yield escape(remark)
        yield escape(verdict(part))
        if again := once_more(part):
            yield escape(safe(again))
        for sentence in default_sentences(part):
            yield escape(sentence)
        first = [entry.kernel for entry in part.timed if entry.winner or entry.tie]
        for line in less_accurate(map(registry.find_kernel, first)):
            yield escape(safe(line))
    noisy = [f"{k.name} {k.disturbed} of {k.trials}" for k in part.part.kernels if k.disturbed]
    if noisy:
        yield escape(f"trials timed while other programs had the cores, so too long: {', '.join(noisy)}")
    for kernel in part.part.kernels:
        if kernel.given_up:
            yield escape(f"{kernel.name}: given up after {kernel.given_up_at} trials, {kernel.given_up}")
    for entry in part.entries:
        if entry.error:
            yield escape(safe(f"thrown out: {entry.kernel} (t{entry.trial_id}): {first_line(entry.error)}"))
    for line in skipped_lines({kernel.name: kernel.skipped for kernel in part.part.kernels}):
        yield escape(line)  # a reason may name an extra: [torch]
    if part.unfinished:
        again = part.campaign.again or "the same with --resume"
        yield escape(f"interrupted; everything measured is stored; to go on with it: {again}")


def _sweeps(part: "PartView") -> Any:
    from rich.markup import escape
    from rich.table import Table

    device, threads = part.campaign.spec.device.name, part.campaign.spec.protocol.threads
    place = f"{part.workload.key} on {device}, {threads} threads"
    if not part.measured:
        place = f"{part.workload.key} for {device}: predicted by a model, not measured"
    table = Table(
        title=escape(safe(f"Sweeps of {place}")), title_justify="left", box=None, header_style="bold"
    )
    for name, side in (("kernel", "left"), ("sweep", "right"), ("trials", "right"), ("failed", "left"),
                       ("best" if part.measured else "predicted", "right"), ("GFLOP/s", "right"),
                       ("configuration", "left")):  # fmt: skip
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for kernel in part.kernels:
        failed = {s: n for s, n in kernel.statuses.items() if s not in ("ok", "pruned")}
        time_s = kernel.best.measurement.time_s if kernel.best else None
        table.add_row(
            escape(safe(kernel.name)), f"s{kernel.record.sweep_id}", str(kernel.trials),
            escape(safe(" ".join(f"{s}:{n}" for s, n in failed.items()))) or "none",
            seconds(time_s), rate(part.flops, time_s), escape(_reached(kernel)),
        )  # fmt: skip
    return table


def _reached(kernel: "KernelView") -> str:
    if kernel.best is not None:
        return config_text(kernel.best.key.config)
    return "nothing was right" if kernel.trials else "nothing was tried yet"


def _named(part: "PartView") -> Any:
    """What became of each configuration that a user named, in their order."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Configurations that were named", title_justify="left", box=None, header_style="bold")
    for name, side in (("kernel", "left"), ("trial", "right"), ("status", "left"),
                       ("time" if part.measured else "predicted", "right"), ("95%", "right"),
                       ("configuration", "left")):  # fmt: skip
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for kernel in part.kernels:
        twins: dict[str, int | None] = {}
        for trial in kernel.named:
            m = trial.measurement
            said = config_text(trial.key.config)
            twin = twins.setdefault(m.artifact, trial.id) if m.artifact and m.samples else trial.id
            if twin != trial.id:
                said += f" (the same binary as t{twin})"
            if m.error:
                said += f": {first_line(m.error)}"
            table.add_row(
                escape(safe(kernel.name)), f"t{trial.id}", str(m.status), seconds(m.time_s),
                spread(m.interval) if m.interval else "-", escape(safe(said)),
            )  # fmt: skip
    return table


def _ranking(part: "PartView") -> Any:
    from rich.markup import escape
    from rich.table import Table

    reference = part.reference
    against = f"vs {escape(safe(reference.kernel))}" if reference else "speed-up"
    table = Table(
        title="Final: timed again, interleaved", title_justify="left", box=None, header_style="bold"
    )
    for name, side in (("kernel", "left"), ("trial", "right"), ("time", "right"), ("95%", "right"),
                       ("GFLOP/s", "right"), ("of peak", "right"),
                       (f"{against} [95%]", "right")):  # fmt: skip
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    first = part.timed[0] if part.timed and not part.disturbed else None
    for entry in part.entries:
        interval = entry.interval
        mid = interval.mid if interval else None
        doubt = "!" if entry.remark else "?" if part.part.peaks_disturbed else ""
        share = f"{100 * entry.share_of_peak:.0f}%{doubt}" if entry.share_of_peak is not None else "-"
        name = escape(safe(entry.kernel))
        label = f"[bold]{name}[/bold]" if entry is first else name
        label += " (default)" if entry.default else ""
        table.add_row(
            label, f"t{entry.trial_id}", seconds(mid), spread(interval), rate(part.flops, mid), share,
            ratio(entry.speedup) if interval else "thrown out",
        )  # fmt: skip
    return table
