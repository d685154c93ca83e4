"""Prints and writes the result of an experiment: tables, one JSON file, pictures."""

import json as jsonlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.errors import TunerError
from tuner.core.workload import Workload
from tuner.report.bars import caption
from tuner.report.comparison import Comparison, ExperimentLike, OutcomeLike, gather, write_pictures
from tuner.report.network import (
    LayerLike,
    LayerRow,
    layer_rows,
    network_markdown,
    network_table,
    summaries,
    summary_line,
)
from tuner.report.network_chart import network_chart
from tuner.report.table import comparison_json, comparison_table
from tuner.report.text import safe

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.store.store import Store


def present(
    experiment: ExperimentLike,
    results: Sequence[OutcomeLike],
    store: "Store",
    output: Path | None = None,
    json: bool = False,
) -> None:
    """Prints the table of each workload (or one JSON document) and writes pictures and `comparison.json`.

    Args:
        experiment: title and default folder.
        results: one outcome a workload.
        store: holds their sweeps and finals.
        output: the folder; default the experiment's.
        json: print JSON in place of tables.

    Raises:
        TunerError: a file cannot be written.
    """
    folder = output or Path(experiment.output)
    documents: list[dict[str, Any]] = []
    for outcome in results:
        comparison = gather(experiment.title, outcome, store)
        prefix = ""
        if len(results) > 1:
            prefix = re.sub(r"[^A-Za-z0-9.=_-]+", "_", outcome.workload.key) + "_"
        pictures = write_pictures(comparison, folder, prefix)
        document = comparison_json(comparison.rows, comparison.context)
        document |= {"notes": list(comparison.notes), "pictures": [str(p) for p in pictures]}
        documents.append(document)
        if not json:
            _print(comparison, pictures)
    _write_json(folder / "comparison.json", documents)
    if json:
        print(jsonlib.dumps(documents, indent=2))


def _print(comparison: Comparison, pictures: Sequence[Path]) -> None:
    out = _console()
    if comparison.rows:
        out.print(comparison_table(comparison.rows, comparison.context))
        out.print("")
        out.print(caption(comparison.rows), markup=False)
    else:
        out.print(f"{comparison.context.workload.key}: nothing was timed", markup=False)
    for note in comparison.notes:
        out.print(safe(note), markup=False, soft_wrap=True)
    for path in pictures:
        if path.suffix == ".png":
            out.print(f"picture: {path} (and .svg)", markup=False, soft_wrap=True)
    out.print("")


def _write_json(path: Path, document: Any) -> None:
    _write(path, jsonlib.dumps(document, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise TunerError(f"{path} cannot be written: {error.strerror or error}") from None


def present_network(
    title: str,
    command: str,
    layers: Sequence[LayerLike],
    outcomes: Mapping[Workload, OutcomeLike],
    store: "Store",
    folder: Path | None,
    json: bool = False,
) -> None:
    """Prints one table of all layers and their means; writes `network.json`, `network.md` and a picture.

    Args:
        title: for headings.
        command: what makes it again, for the document.
        layers: of the models.
        outcomes: by workload; those of layers that were not reached are missing.
        store: holds their sweeps and finals.
        folder: where files go; `None` writes none.
        json: print JSON in place of tables.

    Raises:
        TunerError: a file cannot be written.
    """
    rows = layer_rows(title, layers, outcomes, store)
    document = network_json(title, rows)
    written: list[Path] = []
    if folder is not None and rows:
        if any(row.speedup for row in rows):
            written = network_chart(title, rows, folder / "network")
        _write_json(folder / "network.json", document)
        _write(folder / "network.md", network_markdown(title, command, rows))
    if json:
        print(jsonlib.dumps(document, indent=2))
        return
    out = _console()
    out.print(network_table(title, rows))
    out.print("")
    for summary in summaries(rows):
        out.print(summary_line(summary), markup=False, soft_wrap=True)
    for row in rows:
        for note in row.notes:
            out.print(safe(f"{row.context.workload.key}: {note}"), markup=False, soft_wrap=True)
    for path in written:
        if path.suffix == ".png":
            out.print(f"picture: {path} (and .svg)", markup=False, soft_wrap=True)


def network_json(title: str, rows: Sequence[LayerRow]) -> dict[str, Any]:
    """The layers and their summaries as plain values."""
    return {
        "title": title,
        "device": rows[0].context.device if rows else None,
        "threads": rows[0].context.threads if rows else None,
        "summaries": [
            {
                "model": s.model,
                "operator": s.operator,
                "layers": s.layers,
                "compared": s.compared,
                "speedup": {"low": s.mean.low, "mean": s.mean.mid, "high": s.mean.high} if s.mean else None,
                "tuned_s": s.tuned_s,
                "library_s": s.library_s,
            }
            for s in summaries(rows)
        ],
        "layers": [row.as_dict() for row in rows],
    }


def _console() -> "Console":
    import shutil

    from rich.console import Console

    width = None if shutil.get_terminal_size((0, 0)).columns else 160
    return Console(width=width, highlight=False)
