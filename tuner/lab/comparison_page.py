"""Pages of comparisons: a section a device model, in it geometric means, and a table for what is of one kind.

What is special about CPUs or GPUs says a `PageLayout`; `vendor_page.py` and `gpu_page.py` have one each.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.core.output_file import put
from tuner.core.stats import Interval, geometric_mean
from tuner.lab.comparison_data import Row, Run, measured
from tuner.lab.least_times import ON_CPUS, Rest, Roofs, holds
from tuner.report.text import significant

Kind = tuple[Any, ...]
"""What rows of one table have in common."""


@dataclass(frozen=True)
class PageLayout:
    """How the rows of a kind of device are shown.

    Attributes:
        head: of a page that is made.
        kind: what shares a table with a row.
        columns: what the parts of a kind are called, each with whether it is a number.
        title: of a kind's table.
        place: where a row stands among all: the order of the page.
        about: sentences on the device and on how it was measured.
        levels: of the memories, as `Roofs` has them, from the nearest.
        beside: columns beside the time, each its name and what a measured row has there.
        rest: what takes the time that no roof explains.
    """

    head: str
    kind: Callable[[Row], Kind]
    columns: tuple[tuple[str, bool], ...]
    title: Callable[[Kind], str]
    place: Callable[[Row], tuple[Any, ...]]
    about: Callable[[Mapping[str, Any], Sequence[Row]], list[str]]
    levels: tuple[str, ...]
    beside: tuple[tuple[str, Callable[[Row], str]], ...] = ()
    rest: Rest = ON_CPUS


def write_page(path: Path, name: str, body: str, head: str) -> None:
    """Puts a section into the page, in the place of the one of the same name; others stay as they are.

    Args:
        path: of the page; made where there is none.
        name: of the section.
        body: its text.
        head: of a page that is made; of one that is there it stays as it is.

    Raises:
        TunerError: the page cannot be read or written.
    """
    try:
        whole = path.read_text() if path.exists() else head
    except (OSError, UnicodeDecodeError) as error:
        raise TunerError(f"{path} cannot be read: {error}") from None
    first, *sections = re.split(r"(?m)^(?=## )", whole)
    parts = {part.splitlines()[0]: part for part in sections}
    parts[f"## {name}"] = f"## {name}\n\n{body.strip()}\n"
    put(path, "\n".join(part.strip() + "\n" for part in (first, *parts.values())))


def body(run: Run, layout: PageLayout) -> str:
    """A section's text.

    Args:
        run: of a device: `about`, and rows by their keys.
        layout: of its kind.
    """
    rows = sorted(run["cases"].values(), key=layout.place)
    tables: dict[Kind, list[Row]] = {}
    for row in rows:
        tables.setdefault(layout.kind(row), []).append(row)
    parts = [*layout.about(run["about"], rows), _means(tables, layout)]
    parts += [f"### {layout.title(kind)}\n\n{_table(of, layout)}" for kind, of in tables.items()]
    return "\n\n".join(parts)


def counted(rows: Sequence[Row], date: str) -> str:
    """How many comparisons there are, and of which days."""
    days = Counter(str(row.get("date", date)) for row in rows if measured(row))
    said = f"{sum(days.values())} comparisons, the last of {date}"
    if len(days) > 1:
        said += f" ({', '.join(f'{count} of {day}' for day, count in sorted(days.items()))})"
    return said


def trials_said(rows: Sequence[Row]) -> str:
    """How many trials a kernel had at most."""
    trials = sorted({int(row["trials"]) for row in rows if measured(row) and row.get("trials")})
    return f"at most {' or '.join(map(str, trials)) or 'no'} trials a kernel"


def _means(tables: Mapping[Kind, Sequence[Row]], layout: PageLayout) -> str:
    heads = [*layout.columns, ("comparisons", True), ("geometric mean", True), ("least", True)]
    lines = [
        _cells([name for name, _ in heads]),
        _cells(["---:" if number else "---" for _, number in heads]),
    ]
    for kind, rows in tables.items():
        ratios = [row["ratio"][1] for row in rows if row.get("ratio")]
        both = [f"{value:.2f}" for value in (geometric_mean(ratios), min(ratios))] if ratios else ["–", "–"]
        lines.append(_cells([*map(str, kind), str(len(ratios)), *both]))
    return "\n".join(lines)


def _table(rows: Sequence[Row], layout: PageLayout) -> str:
    beside = [name for name, _ in layout.beside]
    columns = ["shape", "ours", "time", *beside, "best library", "speed over best", "compute"]
    columns += [*layout.levels, "held by"]
    texts = ("shape", "ours", "best library", "held by")
    lines = [_cells(columns), _cells(["---" if name in texts else "---:" for name in columns])]
    for row in rows:
        if measured(row):
            lines.append(_cells(_measured_cells(row, layout)))
        else:
            why = str(row.get("error") or "not measured")
            lines.append(_cells([row["shape"], why, *[""] * (len(columns) - 2)]))
    return "\n".join(lines)


def _measured_cells(row: Row, layout: PageLayout) -> list[str]:
    roofs = Roofs(row.get("compute_s"), row["levels_s"])
    return [
        row["shape"], row["ours"], _seconds(row["ours_s"]), *(cell(row) for _, cell in layout.beside),
        row.get("best") or "–", _ratio(row["ratio"]) if row.get("ratio") else "–", _seconds(roofs.compute),
        *(_seconds(roofs.levels.get(level)) for level in layout.levels),
        holds(roofs, row["ours_s"], layout.rest),
    ]  # fmt: skip


def _cells(cells: Sequence[str]) -> str:
    """A line of a table; what is said in words may hold what would be another cell."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', '/') for cell in cells)} |"


def _ratio(told: Sequence[float]) -> str:
    interval = Interval(*told)
    tie = " (tie)" if interval.contains(1.0) else ""
    return f"{interval.mid:.2f} [{interval.low:.2f}, {interval.high:.2f}]{tie}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value == 0:
        return "0"
    unit, scale = next(
        (u, s) for u, s in (("ms", 1e3), ("µs", 1e6), ("ns", 1e9)) if value * s >= 1 or u == "ns"
    )
    return f"{significant(value * scale)} {unit}"
