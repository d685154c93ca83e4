"""The layers of models whose kernels were only compiled: who ranks first by the model; no times."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tuner.report.campaign_view import view
from tuner.report.paper import PaperRow, paper_rows
from tuner.report.text import safe
from tuner.store.campaign_records import StoredCampaign

if TYPE_CHECKING:
    from rich.table import Table

    from tuner.store.store import Store

_HEAD = (
    ("model", "left"), ("layer", "left"), ("times", "right"), ("ranks first", "left"),
    ("of", "right"), ("resources", "left"), ("on the emulator", "left"),
)  # fmt: skip


@dataclass(frozen=True)
class PaperLayer:
    """A layer, and what was compiled for it.

    Attributes:
        model, count: the model it is of, and how often one pass of it computes the layer.
        workload: its key.
        rows: its kernels, by predicted rank.
    """

    model: str
    count: int
    workload: str
    rows: Sequence[PaperRow]


def paper_layers(campaign: StoredCampaign, store: "Store") -> list[PaperLayer]:
    """One entry a layer, in the order of the models; a layer that was not reached has none."""
    reached = {part.workload.key: paper_rows(view(campaign, part, store)) for part in campaign.reached}
    return [
        PaperLayer(layer.model, layer.count, layer.workload, reached[layer.workload])
        for layer in campaign.spec.layers
        if layer.workload in reached
    ]


def words(campaign: StoredCampaign) -> str:
    """What the table is, in one sentence."""
    return (
        f"Compiled for {campaign.spec.target}, which is not here, and ranked by a model: nothing was "
        "measured, and no time is said."
    )


def _cells(layer: PaperLayer) -> tuple[str, ...]:
    shape, first = layer.workload.split("/", 1)[1], layer.rows[0] if layer.rows else None
    if first is None or first.rank is None:
        why = first.why if first is not None else "nothing was compiled"
        return layer.model, shape, str(layer.count), "-", "0", why, "-"
    return (
        layer.model, shape, str(layer.count), first.kernel, str(first.of), first.resources, first.emulated,
    )  # fmt: skip


def paper_table(title: str, layers: Sequence[PaperLayer]) -> "Table":
    """A `rich` table, a line a layer."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(safe(title)), title_justify="left", title_style="", box=None, header_style="bold"
    )
    for name, side in _HEAD:
        whole = name in ("layer", "ranks first")  # names: a narrow terminal may not cut them
        table.add_column(name, justify=side, no_wrap=whole)  # type: ignore[arg-type]
    for layer in layers:
        table.add_row(*(escape(safe(cell)) for cell in _cells(layer)))
    return table


def paper_markdown(campaign: StoredCampaign, layers: Sequence[PaperLayer]) -> str:
    """The same as a Markdown document."""
    lines = [
        f"# {campaign.spec.title}", "", f"Made by `{campaign.spec.command}`. {words(campaign)}", "",
        "| " + " | ".join(name for name, _ in _HEAD) + " |",
        "|" + "|".join(" ---: " if side == "right" else " --- " for _, side in _HEAD) + "|",
        *("| " + " | ".join(_cells(layer)) + " |" for layer in layers),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def paper_network_json(campaign: StoredCampaign, layers: Sequence[PaperLayer]) -> dict[str, Any]:
    """The same for `network.json`: every kernel with its resources, verdict and rank."""
    return {
        "title": campaign.spec.title,
        "campaign": campaign.id,
        "target": campaign.spec.target,
        "measured": False,
        "layers": [
            {"model": layer.model, "count": layer.count, "workload": layer.workload,
             "on_paper": [asdict(row) for row in layer.rows]}
            for layer in layers
        ],
    }  # fmt: skip
