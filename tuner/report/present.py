"""Prints and writes what a stored campaign found: tables, JSON, pictures; by its number alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.errors import TunerError
from tuner.report import records_json
from tuner.report.bars import caption
from tuner.report.comparison import Comparison, gather, write_pictures
from tuner.report.network import layer_rows, network_markdown, network_table, summaries, summary_line
from tuner.report.network_chart import network_chart
from tuner.report.result_json import result_json
from tuner.report.table import comparison_table
from tuner.report.text import safe
from tuner.store.campaign_records import StoredCampaign

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.store.store import Store


def present(campaign: StoredCampaign, store: "Store", folder: Path | None = None, json: bool = False) -> None:
    """Prints the tables of a campaign (or one JSON document) and writes its files.

    Args:
        campaign: as the store has it now; of a `network` the layers in one table, else a table a workload.
        store: holds its sweeps and finals.
        folder: where pictures, `comparison.json` or `network.json` and `network.md` go; `None` writes none.
        json: print JSON in place of tables.

    Raises:
        TunerError: a file cannot be written.
        UnknownName: an operator is not registered here.
    """
    if campaign.spec.kind == "network":
        _present_network(campaign, store, folder, json)
    else:
        _present_comparison(campaign, store, folder, json)
    if folder is not None and campaign.state == "finished":
        write_result([campaign], store, folder)
        if not json:
            words = f"with all samples: {folder / 'result.json'}; to measure it again: tuner verify"
            _console().print(safe(words), markup=False, soft_wrap=True)


def write_result(campaigns: Sequence[StoredCampaign], store: "Store", folder: Path) -> None:
    """Writes `result.json`, what `tuner verify` takes; see docs/result-file.md.

    Raises:
        TunerError: it cannot be written.
    """
    import json

    # Without line breaks: samples are most of it, and a line each would be three times the size.
    text = json.dumps(result_json(campaigns, store), separators=(",", ":"), allow_nan=False, default=str)
    _write(folder / "result.json", text + "\n")


def state_line(campaign: StoredCampaign) -> str:
    """What is to be said of a campaign that did not finish; empty for one that did."""
    if campaign.state == "finished":
        return ""
    reached = sum(part.status == "finished" for part in campaign.parts)
    how = {
        "running": "is still running",
        "interrupted": "was interrupted",
        "unfinished": "is unfinished: its process was killed",
    }[campaign.state]
    again = campaign.again
    advice = f"; to go on with it: {again}" if again and campaign.state != "running" else ""
    return f"campaign {campaign.id} {how} ({reached} of {len(campaign.parts)} workloads finished){advice}"


def _present_comparison(campaign: StoredCampaign, store: "Store", folder: Path | None, json: bool) -> None:
    documents: list[dict[str, Any]] = []
    for part in campaign.reached:
        comparison = gather(campaign, part, store)
        prefix = ""
        if len(campaign.parts) > 1:
            prefix = re.sub(r"[^A-Za-z0-9.=_-]+", "_", part.workload.key) + "_"
        pictures = write_pictures(comparison, folder, prefix) if folder is not None else []
        document = records_json.comparison_json(comparison.rows, comparison.context)
        document |= {"notes": list(comparison.notes), "pictures": [str(p) for p in pictures]}
        documents.append(document)
        if not json:
            _print(comparison, pictures)
    if folder is not None:
        _write(folder / "comparison.json", records_json.document(documents) + "\n")
    if json:
        print(records_json.document(documents))
    elif line := state_line(campaign):
        _console().print(safe(line), markup=False, soft_wrap=True)


def _print(comparison: Comparison, pictures: Sequence[Path]) -> None:
    out = _console()
    if comparison.rows:
        out.print(comparison_table(comparison.rows, comparison.context))
        out.print("")
        out.print(safe(caption(comparison.rows)), markup=False)
    else:
        out.print(safe(f"{comparison.context.workload.key}: nothing was timed"), markup=False)
    for note in comparison.notes:
        out.print(safe(note), markup=False, soft_wrap=True)
    _print_pictures(out, pictures)
    out.print("")


def _print_pictures(out: "Console", pictures: Sequence[Path]) -> None:
    for path in pictures:
        if path.suffix == ".png":
            out.print(f"picture: {path} (and .svg)", markup=False, soft_wrap=True)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise TunerError(f"{path} cannot be written: {error.strerror or error}") from None


def _present_network(campaign: StoredCampaign, store: "Store", folder: Path | None, json: bool) -> None:
    title = campaign.spec.title
    rows = layer_rows(campaign, store)
    document = records_json.document(records_json.network_json(title, rows, summaries(rows)))
    written: list[Path] = []
    if folder is not None and rows:
        if any(row.speedup for row in rows):
            written = network_chart(title, rows, folder / "network")
        _write(folder / "network.json", document + "\n")
        _write(folder / "network.md", network_markdown(title, campaign.spec.command, rows))
    if json:
        print(document)
        return
    out = _console()
    out.print(network_table(title, rows))
    out.print("")
    for summary in summaries(rows):
        out.print(safe(summary_line(summary)), markup=False, soft_wrap=True)
    for row in rows:
        for note in row.notes:
            out.print(safe(f"{row.context.workload.key}: {note}"), markup=False, soft_wrap=True)
    _print_pictures(out, written)
    if line := state_line(campaign):
        out.print(safe(line), markup=False, soft_wrap=True)


def _console() -> "Console":
    import shutil

    from rich.console import Console

    width = None if shutil.get_terminal_size((0, 0)).columns else 160
    return Console(width=width, highlight=False)
