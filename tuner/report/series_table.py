"""Many comparisons in one table, a line each: shapes, element types and numbers of threads side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuner.core.workload import Workload
from tuner.report.comparison import Comparison
from tuner.report.rows import ComparisonRow
from tuner.report.text import percent, ratio, safe, seconds, significant, spread

if TYPE_CHECKING:
    from rich.table import Table

NOTE = (
    "Each line was taken at another minute: within a line speed-ups have intervals, between lines nothing is "
    "claimed."
)
_COLUMNS = (
    ("workload", "left"), ("threads", "right"), ("fastest tuned", "left"), ("time", "right"),
    ("95%", "right"), ("GFLOP/s", "right"), ("of peak", "right"), ("best library", "left"),
    ("vs best library [95%]", "right"),
)  # fmt: skip


def base_of(workloads: Sequence[Workload]) -> Workload | None:
    """What element types are held against: the workload in f32, else the first; `None` where they do not
    differ in their element type."""
    if len({workload.dtype for workload in workloads}) < 2:
        return None
    return next((workload for workload in workloads if workload.dtype == "f32"), workloads[0])


def _like(one: Workload, other: Workload) -> bool:
    """Whether they differ in nothing but their element type."""
    return (one.operator, one.dims, one.options) == (other.operator, other.dims, other.options)


def over_base(comparison: Comparison, comparisons: Sequence[Comparison], base: str) -> float | None:
    """The rate of the fastest tuned kernel over that in the base's element type, at the same shape and
    number of threads. Both were taken at another minute: there is no interval. `None` where one of them
    declares nothing."""
    row, work, threads = _tuned(comparison), comparison.context.workload, comparison.context.threads
    if row is None or work.dtype == base or _undeclared(comparison):
        return None
    for other in comparisons:
        there = other.context
        if there.workload.dtype == base and there.threads == threads and _like(there.workload, work):
            known = None if _undeclared(other) else _tuned(other)
            return row.gflops / known.gflops if known is not None and known.gflops else None
    return None


def _undeclared(comparison: Comparison) -> bool:
    """Whether its times were taken on a busy machine, or of sweeps alone."""
    return bool(comparison.context.disturbed) or comparison.context.unfinished


def _tuned(comparison: Comparison) -> ComparisonRow | None:
    rows = [row for row in comparison.rows if not row.is_baseline and row.evidence != "predicted"]
    return min(rows, key=lambda row: row.interval.mid, default=None)


def series_table(comparisons: Sequence[Comparison]) -> "Table":
    """A `rich` table; a comparison without a tuned kernel's time has dashes."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="All of them, a line each", title_justify="left", box=None, header_style="bold")
    for name, side in _COLUMNS:
        table.add_column(name, justify=side, no_wrap=name == "workload")  # type: ignore[arg-type]
    base = base_of([comparison.context.workload for comparison in comparisons])
    if base is not None:
        table.add_column(f"vs {base.dtype}", justify="right")
    for comparison in comparisons:
        context, row = comparison.context, _tuned(comparison)
        library = next((r for r in comparison.rows if r.is_baseline), None)
        doubt = " (undeclared)" if _undeclared(comparison) else ""
        cells = ["-"] * 5
        if row is not None:
            mark = "!" if row.remark else "?" if context.peaks_disturbed and row.share_of_peak else ""
            share = percent(row.share_of_peak) + mark  # as in the tables of each workload
            cells = [row.implementation + doubt, seconds(row.interval.mid), spread(row.interval),
                     significant(row.gflops), share]  # fmt: skip
        cells += [library.implementation if library else "-", ratio(row.speedup_library if row else None)]
        if base is not None:
            over = over_base(comparison, comparisons, base.dtype)
            cells.append(f"{significant(over)}x" if over is not None else "-")
        table.add_row(*(escape(safe(c)) for c in (context.workload.key, str(context.threads), *cells)))
    return table
