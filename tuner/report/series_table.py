"""Many comparisons in one table, a line each: shapes, element types and numbers of threads side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    for comparison in comparisons:
        context, row = comparison.context, _tuned(comparison)
        library = next((r for r in comparison.rows if r.is_baseline), None)
        doubt = " (undeclared)" if context.disturbed or context.unfinished else ""
        cells = ["-"] * 5
        if row is not None:
            share = percent(row.share_of_peak)
            cells = [row.implementation + doubt, seconds(row.interval.mid), spread(row.interval),
                     significant(row.gflops), share]  # fmt: skip
        cells += [library.implementation if library else "-", ratio(row.speedup_library if row else None)]
        table.add_row(*(escape(safe(c)) for c in (context.workload.key, str(context.threads), *cells)))
    return table
