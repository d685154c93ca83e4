"""The comparison as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuner.report.paper import PaperRow
from tuner.report.rows import ComparisonRow, RowContext
from tuner.report.text import percent, ratio, safe, seconds, significant, spread

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = (
    ("implementation", "left"), ("time", "right"), ("95%", "right"), ("GFLOP/s", "right"),
    ("of peak", "right"), ("vs naive [95%]", "right"), ("vs best library [95%]", "right"),
    ("trials", "right"), ("evidence", "left"),
)  # fmt: skip


def comparison_table(
    rows: Sequence[ComparisonRow], context: RowContext, paper: Sequence[PaperRow] = ()
) -> "Table":
    """A `rich` table, fastest first; the winner, or those who tie, in bold.

    What was only compiled stands below, with nothing where a time would be: its resources, the emulator's
    verdict and its predicted rank have columns of their own.
    """
    from rich.markup import escape
    from rich.table import Table

    remarks = [f"! {row.implementation}: {row.remark}" for row in rows if row.remark]
    # Where no peak is known for the element type there is no share to doubt.
    doubt = context.peak_doubt if any(row.share_of_peak for row in rows) else ""
    if doubt:
        remarks.append(f"? {doubt}")
    caption = escape(safe("\n".join(remarks), lines=True)) or None
    table = Table(
        title=f"{escape(safe(context.title))}\n{escape(safe(context.subtitle))}",
        caption=caption, caption_justify="left", caption_style="",
        title_justify="left", title_style="",
        box=None, header_style="bold",
    )  # fmt: skip
    for name, side in _COLUMNS:
        # The name is what a narrow terminal may not cut.
        table.add_column(name, justify=side, no_wrap=name == "implementation")  # type: ignore[arg-type]
    if paper:
        table.add_column(f"on paper for {escape(safe(paper[0].target))}, not measured", justify="left")
    beside = [""] if paper else []
    for row in sorted(rows, key=lambda r: r.interval.mid):
        name = escape(safe(row.implementation)) + (" (library)" if row.is_baseline else "")
        table.add_row(
            name + (" (tie)" if row.is_tie else ""),
            seconds(row.interval.mid),
            spread(row.interval),
            significant(row.gflops),
            percent(row.share_of_peak) + ("!" if row.remark else "?" if doubt and row.share_of_peak else ""),
            ratio(row.speedup_naive),
            ratio(row.speedup_library),
            str(row.trials),
            safe(row.evidence),
            *beside,
            style="bold" if row.is_winner or row.is_tie else None,
        )
    for each in paper:
        told = f"{each.place}; {each.resources}; {each.emulated}" if each.rank is not None else each.why
        dashes = ["-"] * (len(_COLUMNS) - 3)
        table.add_row(escape(safe(each.kernel)), *dashes, str(each.trials), "on paper", escape(safe(told)))
    return table
