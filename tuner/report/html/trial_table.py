"""Every trial of a page in one table that sorts and filters."""

from collections.abc import Sequence
from typing import Any

from tuner.report.html.failures import status_words
from tuner.report.html.section import Section
from tuner.report.html.table_data import Column, table
from tuner.report.text import config_text, first_line
from tuner.store.lines import TrialLine

_COLUMNS = (
    Column("trial", "Trial"),
    Column("workload", "Workload", facet=True),
    Column("variant", "Of", facet=True, words="What sets the campaign apart from others of the experiment"),
    Column("kernel", "Kernel", facet=True),
    Column("outcome", "Outcome", facet=True),
    Column("time", "Time", "time", words="Seconds of one call, drift divided out; of failures there is none"),
    Column(
        "spread", "95%", "share", words="Half of the 95% interval of the raw samples, as a share of the time"
    ),
    Column(
        "rank",
        "Predicted rank",
        "count",
        words="Place by a model among the kernel's trials that were only compiled: nothing was measured",
    ),
    Column("configuration", "Configuration", wide=True),
    Column("reason", "Reason of failure", wide=True),
    Column("build", "Build", "time", words="Seconds spent building"),
    Column("evidence", "Evidence", facet=True),
    Column("number", "Number", "count", words="Place among the proposals of its sweep"),
    Column("when", "When, UTC", "date"),
)


def trial_table(sections: Sequence[Section]) -> tuple[dict[str, Any], int, int]:
    """The table, how many trials are in it, and how many there are."""
    rows = []
    for section in sections:
        for kernel in section.kernels:
            ranks = _ranks(kernel.lines) if section.paper else {}
            for line in kernel.lines:
                spread, rank = None, ranks.get(line.number)
                if line.time_s and line.low_s and line.high_s and line.evidence != "predicted":
                    spread = (line.high_s - line.low_s) / (line.high_s + line.low_s)
                outcome = "compiled" if rank is not None else status_words(line.status)
                outcome += ", reused" if line.reused else ""
                rows.append([
                    f"t{line.trial_id}", section.context.workload.key, section.variant or None, kernel.name,
                    outcome, line.time_s if rank is None else None, spread, rank, config_text(line.config),
                    first_line(line.error) or None, line.build_s or None, line.evidence,
                    line.number + 1, line.created_at[:16],
                ])  # fmt: skip
    total = sum(section.trials for section in sections)
    columns, kept = _with_content(rows)
    timed = any(section.measured for section in sections) or not any(section.paper for section in sections)
    return table(columns, kept, "trials", sort="time" if timed else "rank"), len(rows), total


def _ranks(lines: Sequence[TrialLine]) -> dict[int, int]:
    """The places of trials by their predicted times, by their numbers."""
    timed = [line for line in lines if line.time_s and line.evidence == "predicted"]
    return {line.number: i for i, line in enumerate(sorted(timed, key=lambda line: line.time_s or 0.0), 1)}


def _with_content(rows: Sequence[Sequence[Any]]) -> tuple[list[Column], list[list[Any]]]:
    """Without columns in which every trial says the same or nothing; times that nobody measured say so."""
    always = {"trial", "kernel", "outcome", "time", "configuration"}

    def tells(i: int, column: Column) -> bool:
        values = {row[i] for row in rows}
        # A single rank is kept: the table may be sorted by it.
        said = {"evidence": values - {"measured"}, "rank": values - {None}}.get(column.name)
        return len(values) > 1 or bool(said)

    kept = [i for i, column in enumerate(_COLUMNS) if column.name in always or tells(i, column)]
    return [_COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in rows]
