"""The layers of models in one table: the best tuned kernel of each against the fastest library for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.core.stats import Interval, geometric_mean
from tuner.report.comparison import gather
from tuner.report.rows import ComparisonRow, RowContext
from tuner.report.text import ratio, safe, seconds, spread
from tuner.store.campaign_records import StoredCampaign

if TYPE_CHECKING:
    from rich.table import Table

    from tuner.store.store import Store


@dataclass(frozen=True)
class LayerRow:
    """One layer of one model.

    Attributes:
        model, count: of which, how often a pass computes it.
        context: workload, device and when.
        rows: all implementations that were timed, fastest first.
        notes: what was left out of the comparison, and why.
    """

    model: str
    count: int
    context: RowContext
    rows: Sequence[ComparisonRow]
    notes: Sequence[str] = ()

    @property
    def tuned(self) -> ComparisonRow | None:
        """The fastest of the lab's own."""
        return next((r for r in self.rows if not r.is_baseline), None)

    @property
    def library(self) -> ComparisonRow | None:
        """The fastest library for this very layer: the hardest one to beat."""
        return next((r for r in self.rows if r.is_baseline), None)

    @property
    def speedup(self) -> Interval | None:
        """Time of that library over the tuned kernel's, from the interleaved final, with a 95% interval."""
        return self.tuned.speedup_library if self.tuned and self.library else None


@dataclass(frozen=True)
class Summary:
    """The layers of one model and operator together.

    Attributes:
        model, operator: which.
        layers: distinct ones, and how many of them have a speed-up.
        mean: geometric mean of the layers' speed-ups, each distinct layer once.
        tuned_s, library_s: seconds of a pass: the sum over layers of count times median, of the tuned
            kernels and of each layer's fastest library.
    """

    model: str
    operator: str
    layers: int
    compared: int
    mean: Interval | None
    tuned_s: float
    library_s: float


def layer_rows(campaign: StoredCampaign, store: "Store") -> list[LayerRow]:
    """One row a layer, in the order of the models; a layer that was not reached has none."""
    gathered = {part.workload.key: (part, gather(campaign, part, store)) for part in campaign.reached}
    found = []
    for layer in campaign.spec.layers:
        if layer.workload in gathered:
            part, comparison = gathered[layer.workload]
            notes = [] if part.final_id is not None else ["no final was held"]
            notes += [n for n in comparison.notes if "nothing right" in n or "declares nothing" in n]
            remarks: dict[str, list[str]] = {}
            for row in comparison.rows:
                if row.remark:
                    remarks.setdefault(row.remark, []).append(row.implementation)
            notes += [f"{', '.join(names)}: {remark}" for remark, names in remarks.items()]
            if comparison.context.peak_doubt:
                notes.append(comparison.context.peak_doubt)
            found.append(LayerRow(layer.model, layer.count, comparison.context, comparison.rows, notes))
    return found


def noted(rows: Sequence[LayerRow]) -> list[str]:
    """What is to be said of the layers, a line each; what is said of several of them, once."""
    of: dict[str, dict[str, None]] = {}
    for row in rows:
        for note in row.notes:
            of.setdefault(note, {})[row.context.workload.key] = None
    return [
        f"{next(iter(keys)) if len(keys) == 1 else f'{len(keys)} layers'}: {note}"
        for note, keys in of.items()
    ]


def geometric_mean_interval(speedups: Sequence[Interval]) -> Interval:
    """The geometric mean of independent ratios with its 95% interval.

    The intervals' half-widths in the logarithm add up in squares (error propagation: JCGM 100:2008,
    5.1.2, for a sum of independent quantities).

    Raises:
        ValueError: there are none.
    """
    mid = geometric_mean([s.mid for s in speedups])
    below = math.sqrt(sum(math.log(s.mid / s.low) ** 2 for s in speedups)) / len(speedups)
    above = math.sqrt(sum(math.log(s.high / s.mid) ** 2 for s in speedups)) / len(speedups)
    return Interval(mid * math.exp(-below), mid, mid * math.exp(above))


def summaries(rows: Sequence[LayerRow]) -> list[Summary]:
    """One summary a model and operator, then one an operator over the distinct layers of all models."""
    groups: dict[tuple[str, str], list[LayerRow]] = {}
    for row in rows:
        groups.setdefault((row.model, row.context.workload.operator), []).append(row)
    found = [_summary(model, operator, members) for (model, operator), members in groups.items()]
    for operator in dict.fromkeys(operator for _, operator in groups):
        if sum(1 for _, other in groups if other == operator) > 1:
            distinct = {r.context.workload: r for r in rows if r.context.workload.operator == operator}
            found.append(_summary("all", operator, list(distinct.values())))
    return found


def _summary(model: str, operator: str, rows: Sequence[LayerRow]) -> Summary:
    compared = [row for row in rows if row.speedup is not None]
    mean = geometric_mean_interval([r.speedup for r in compared if r.speedup]) if compared else None
    tuned = sum(r.count * r.tuned.interval.mid for r in compared if r.tuned)
    library = sum(r.count * r.library.interval.mid for r in compared if r.library)
    return Summary(model, operator, len(rows), len(compared), mean, tuned, library)


_HEAD = (
    ("model", "left"), ("layer", "left"), ("times", "right"), ("tuned kernel", "left"), ("time", "right"),
    ("95%", "right"), ("fastest library", "left"), ("time", "right"), ("speed-up [95%]", "right"),
)  # fmt: skip


def _cells(row: LayerRow) -> tuple[str, ...]:
    workload, tuned, library = row.context.workload, row.tuned, row.library
    shape = workload.key.split("/", 1)[1]
    nothing = "interrupted" if row.context.unfinished else "none was right"
    doubt = row.context.disturbed or row.context.unfinished
    return (
        row.model, shape, str(row.count),
        tuned.implementation + (" (undeclared)" if doubt else "") if tuned else nothing,
        seconds(tuned.interval.mid) if tuned else "-", spread(tuned.interval) if tuned else "-",
        library.implementation if library else "none", seconds(library.interval.mid) if library else "-",
        ratio(row.speedup),
    )  # fmt: skip


def summary_line(summary: Summary) -> str:
    """`resnet50 conv2d: 1.10x [1.08, 1.12] ...` in words."""
    name = f"{summary.model} {summary.operator}".strip()
    if summary.mean is None:
        return f"{name}: nothing to compare ({summary.layers} layer{'s' if summary.layers != 1 else ''})"
    left = summary.layers - summary.compared
    text = f"{name}: {ratio(summary.mean)} the speed of each layer's fastest library, "
    text += f"geometric mean of {summary.compared} distinct layers" if summary.compared > 1 else "one layer"
    text += f" ({left} could not be compared)" if left else ""
    if summary.model not in ("", "all"):
        text += f"; a pass takes {seconds(summary.tuned_s)}, with the libraries {seconds(summary.library_s)}"
    return text


def network_table(title: str, rows: Sequence[LayerRow]) -> "Table":
    """A `rich` table, a line a layer."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(safe(title)), title_justify="left", title_style="", box=None, header_style="bold"
    )
    for name, side in _HEAD:
        table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(escape(safe(cell)) for cell in _cells(row)))
    return table


def network_markdown(title: str, command: str, rows: Sequence[LayerRow]) -> str:
    """The same as a Markdown document: summaries first, then every layer."""
    first = rows[0].context
    threads = f"{first.threads} thread{'s' if first.threads != 1 else ''}"
    days = sorted({f"{row.context.when:%Y-%m-%d}" for row in rows})
    lines = [
        f"# {title}", "",
        f"Made by `{command}` on {first.device}, {threads}, {first.cache} caches, {' to '.join(days)}. "
        "Each layer's finalists and the libraries were timed interleaved in one run, in several processes "
        "each; brackets are 95% intervals. A speed-up is over the fastest library *for that layer*; the mean "
        "takes each distinct layer once.", "",
    ]  # fmt: skip
    lines += [f"* {summary_line(summary)}" for summary in summaries(rows)]
    lines += ["", "| " + " | ".join(name for name, _ in _HEAD) + " |"]
    lines.append("|" + "|".join(" ---: " if side == "right" else " --- " for _, side in _HEAD) + "|")
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    notes = [f"* {note}" for note in noted(rows)]
    return "\n".join([*lines, *(["", "Notes", "", *notes] if notes else [])]) + "\n"
