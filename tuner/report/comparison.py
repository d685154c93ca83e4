"""The result of an experiment: from the store's sweeps and final to a table, a JSON file and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuner.core.protocol import Protocol as MeasuringProtocol
from tuner.core.workload import Workload
from tuner.report.bars import comparison_chart
from tuner.report.curves import Curve, convergence_chart
from tuner.report.roofline import roofline_chart
from tuner.report.rows import ComparisonRow, RowContext, Timing, comparison_rows
from tuner.report.text import first_line, seconds
from tuner.store.records import DeviceInfo

if TYPE_CHECKING:
    from tuner.store.store import Store


class SweepLike(Protocol):
    """What is read of a sweep's result."""

    @property
    def sweep_id(self) -> int:
        """In the store."""


class OutcomeLike(Protocol):
    """What is read of a campaign's outcome; `tuner.engine.tuning.campaign.Outcome` is one."""

    @property
    def workload(self) -> Workload:
        """What was tuned."""

    @property
    def device(self) -> DeviceInfo:
        """On what."""

    @property
    def protocol(self) -> MeasuringProtocol:
        """How it was timed."""

    @property
    def sweeps(self) -> Mapping[str, SweepLike]:
        """By kernel."""

    @property
    def skipped(self) -> Mapping[str, str]:
        """Kernels that could not take part, with the reason."""

    @property
    def final_id(self) -> int | None:
        """Of the final in the store."""

    @property
    def ranking(self) -> Any:
        """The final as the engine held it, with the reasons of those thrown out; or `None`."""

    @property
    def limits(self) -> Mapping[str, float]:
        """Measured peaks for the protocol's threads."""


class ExperimentLike(Protocol):
    """What is read of an experiment; `tuner.engine.tuning.experiment.Experiment` is one."""

    @property
    def title(self) -> str:
        """For headings."""

    @property
    def output(self) -> str:
        """Folder of the pictures."""


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


def gather(title: str, outcome: OutcomeLike, store: "Store") -> Comparison:
    """Reads one outcome's final, or its sweeps where no final was held, out of the store."""
    from tuner import registry

    operator = registry.operator(outcome.workload.operator)
    timings, when = _timings(outcome, store)
    disturbed = store.final(outcome.final_id).disturbed if outcome.final_id is not None else ""
    context = RowContext(
        title=title,
        workload=outcome.workload,
        device=outcome.device.name,
        threads=outcome.protocol.threads,
        cache=outcome.protocol.cache,
        when=when or datetime.now(UTC),
        flops=operator.flops(outcome.workload),
        bytes=operator.min_bytes(outcome.workload),
        peak_flops=outcome.limits.get(f"peak_flops_{outcome.workload.dtype}"),
        bandwidth=outcome.limits.get("bandwidth_bytes_per_s"),
        disturbed=disturbed,
    )
    notes = [f"left out: {name}: {reason}" for name, reason in outcome.skipped.items()]
    timed = {t.kernel for t in timings}
    entries = outcome.ranking.entries if outcome.ranking is not None else ()
    errors = {e.finalist.label: first_line(e.error) for e in entries if e.error}
    curves: list[Curve] = []
    references: list[tuple[str, float]] = []
    for name, result in outcome.sweeps.items():
        sweep = store.sweep(result.sweep_id)
        if name not in timed:
            counts = ", ".join(f"{status}: {count}" for status, count in sweep.statuses.items())
            if name not in errors and sweep.best_s is not None:
                notes.append(
                    f"not in the final: {name}: far behind with {seconds(sweep.best_s)} in its sweep"
                )
            else:
                reason = errors.get(name, "it had nothing right to time")
                notes.append(f"left out: {name}: {reason} ({counts or 'no trials'})")
        if sweep.trials > 1:
            curves.append(Curve(name, store.best_so_far(result.sweep_id)))
        elif sweep.best_s is not None:
            references.append((name, sweep.best_s))
    paired = outcome.final_id is not None and not disturbed
    if disturbed:
        notes.append(f"the final was disturbed and declares nothing: {disturbed}")
    elif not paired and timings:
        notes.append("no final was held: times are of the sweeps, taken apart, so there are no speed-ups")
    rows = comparison_rows(timings, context, paired)
    notes += [f"{row.implementation}: {row.remark}" for row in rows if row.remark]
    return Comparison(context, rows, curves, references, notes)


def _fewer(kernel: str, workload: Workload) -> float:
    from tuner import registry

    known = registry.kernels().get(kernel)
    return known.fewer_operations(workload) if known else 1.0


def _timings(outcome: OutcomeLike, store: "Store") -> tuple[list[Timing], datetime | None]:
    """The fastest entry of each kernel, and when."""
    trials = {name: store.sweep(result.sweep_id).trials for name, result in outcome.sweeps.items()}
    found: dict[str, Timing] = {}
    when = None
    if outcome.final_id is not None:
        final = store.final(outcome.final_id)
        when = final.created_at
        for entry in final.entries:  # fastest first
            detail = store.trial(entry.trial_id)
            assert entry.interval is not None
            timing = Timing(
                implementation=detail.kernel.name,
                kernel=detail.kernel.name,
                language=detail.kernel.language,
                config=detail.trial.key.config,
                interval=entry.interval,
                turns=entry.turns,
                is_baseline=entry.role == "baseline",
                naive=_is_naive(detail.kernel.name),
                trials=trials.get(detail.kernel.name, 1),
                trial_id=entry.trial_id,
                fewer=_fewer(detail.kernel.name, outcome.workload),
            )
            found.setdefault(timing.kernel, timing)
        return list(found.values()), when
    from tuner import registry

    kernels = registry.kernels()
    for name, result in outcome.sweeps.items():
        right = [
            t for t in store.sweep_history(result.sweep_id) if t.measurement.ok and t.measurement.samples
        ]
        if not right:
            continue
        best = min(right, key=lambda t: t.measurement.time_s or 0.0)
        interval = best.measurement.interval
        assert interval is not None
        kernel = kernels.get(name)
        when = max(when or best.created_at, best.created_at)
        found[name] = Timing(
            implementation=name,
            kernel=name,
            language=kernel.language if kernel else "",
            config=best.key.config,
            interval=interval,
            is_baseline=bool(kernel and kernel.baseline),
            naive=_is_naive(name),
            evidence=str(best.measurement.evidence),
            trials=trials[name],
            trial_id=best.id,
            fewer=_fewer(name, outcome.workload),
        )
    return list(found.values()), when


def _is_naive(kernel: str) -> bool:
    # The lab's convention: rung 0 of a ladder is named `<language>_naive`.
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
