"""Prints and writes what a stored campaign found: tables, JSON, pictures; by its number alone."""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.output_file import put
from tuner.core.workload import Workload
from tuner.report import records_json
from tuner.report.bars import caption
from tuner.report.campaign_view import view
from tuner.report.comparison import Comparison, gather, write_pictures
from tuner.report.left_out import once
from tuner.report.network import (
    layer_rows,
    network_markdown,
    network_table,
    noted,
    summaries,
    summary_line,
)
from tuner.report.network_chart import network_chart
from tuner.report.network_paper import paper_layers, paper_markdown, paper_network_json, paper_table, words
from tuner.report.paper import PaperRow, paper_rows, paper_words
from tuner.report.result_json import result_json
from tuner.report.series_table import NOTE, series_table
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
    if campaign.spec.kind == "network" and not campaign.measured:
        _present_network_on_paper(campaign, store, folder, json)
    elif campaign.spec.kind == "network":
        _present_network(campaign, store, folder, json)
    else:
        _present_comparison(campaign, store, folder, json)
    if folder is not None and campaign.state == "finished":
        write_result([campaign], store, folder)
        if not json:
            _say_result(_console(), [campaign], folder)


def write_result(campaigns: Sequence[StoredCampaign], store: "Store", folder: Path) -> None:
    """Writes `result.json`, what `tuner verify` takes; see docs/result-file.md.

    Raises:
        TunerError: it cannot be written.
    """
    import json

    # Without line breaks: samples are most of it, and a line each would be three times the size.
    text = json.dumps(result_json(campaigns, store), separators=(",", ":"), allow_nan=False, default=str)
    put(folder / "result.json", text + "\n")


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


def present_all(
    campaigns: Sequence[StoredCampaign], store: "Store", folder: Path | None = None, json: bool = False
) -> None:
    """As `present`, of the campaigns that one experiment was run as: several numbers of threads, one on
    paper.

    Those on paper are shown beside what was measured of the same workload, in columns of their own.
    """
    if len(campaigns) == 1:
        present(campaigns[0], store, folder, json)
        return
    paper = next((c for c in campaigns if not c.measured), None)
    measured = [c for c in campaigns if c.measured]
    told: list[tuple[Comparison, dict[str, Any]]] = []
    said: set[str] = set()
    for number, campaign in enumerate(measured or campaigns):
        own = folder
        if folder is not None and len(measured) > 1:
            own = folder / f"threads{campaign.spec.protocol.threads}"
        beside = paper if number == 0 and campaign is not paper else None
        told += _comparisons(campaign, store, own, json, beside, said)
    documents = records_json.document([document for _, document in told])
    if folder is not None:
        put(folder / "comparison.json", documents + "\n")
        write_result(measured or campaigns, store, folder)
    if json:
        print(documents)
        return
    out = _console()
    if len(told) > 1:
        _print_series(out, [comparison for comparison, _ in told])
    for campaign in campaigns:
        if line := state_line(campaign):
            out.print(safe(line), markup=False, soft_wrap=True)
    if folder is not None:
        _say_result(out, campaigns, folder)


def _print_series(out: "Console", comparisons: Sequence[Comparison]) -> None:
    out.print(series_table(comparisons))
    out.print(NOTE, markup=False, soft_wrap=True)
    out.print("")


def _say_result(out: "Console", campaigns: Sequence[StoredCampaign], folder: Path) -> None:
    if not any(part.final_id is not None for campaign in campaigns for part in campaign.parts):
        return  # nothing in it could be verified
    words = f"with all samples, to be measured again by anyone: tuner verify {folder / 'result.json'}"
    out.print(safe(words), markup=False, soft_wrap=True)


def _present_comparison(campaign: StoredCampaign, store: "Store", folder: Path | None, json: bool) -> None:
    told = _comparisons(campaign, store, folder, json)
    documents = [document for _, document in told]
    if folder is not None:
        put(folder / "comparison.json", records_json.document(documents) + "\n")
    if json:
        print(records_json.document(documents))
        return
    if len(told) > 1:
        _print_series(_console(), [comparison for comparison, _ in told])
    if line := state_line(campaign):
        _console().print(safe(line), markup=False, soft_wrap=True)


def _comparisons(
    campaign: StoredCampaign, store: "Store", folder: Path | None, json: bool,
    paper: StoredCampaign | None = None, said: set[str] | None = None,
) -> list[tuple[Comparison, dict[str, Any]]]:  # fmt: skip
    """Prints the workloads of a campaign, draws their pictures, and gives what JSON says of them.

    Args:
        campaign, store, folder, json: as for `present`.
        paper: what was only compiled of the same workloads, if anything was.
        said: notes that were printed before; a reason to be left out is not printed a second time.
    """
    said = set() if said is None else said
    found = []
    for part in campaign.reached:
        comparison = gather(campaign, part, store)
        on_paper = _on_paper(campaign, part.workload, paper, store)
        prefix = ""
        if len(campaign.parts) > 1:
            prefix = re.sub(r"[^A-Za-z0-9.=_-]+", "_", part.workload.key) + "_"
        # A picture of predicted times would be taken for one of times.
        drawn = folder if folder is not None and campaign.measured else None
        pictures = write_pictures(comparison, drawn, prefix) if drawn is not None else []
        document = records_json.comparison_json(comparison.rows, comparison.context)
        document |= {"notes": list(comparison.notes), "pictures": [str(p) for p in pictures]}
        if on_paper:
            document["on_paper"] = [asdict(row) for row in on_paper]
        found.append((comparison, document))
        if not json:
            _print(replace(comparison, notes=once(comparison.notes, said)), pictures, on_paper)
    return found


def _on_paper(
    campaign: StoredCampaign, workload: Workload, paper: StoredCampaign | None, store: "Store"
) -> list[PaperRow]:
    """The kernels of a workload that were not measured, in the campaign itself or in one beside it."""
    source = paper if paper is not None else None if campaign.measured else campaign
    for part in source.reached if source is not None else ():
        if source is not None and part.workload == workload:
            return paper_rows(view(source, part, store))
    return []


def _print(comparison: Comparison, pictures: Sequence[Path], on_paper: Sequence[PaperRow] = ()) -> None:
    out = _console()
    timed = [row for row in comparison.rows if row.evidence != "predicted"]
    if timed or on_paper:
        out.print(comparison_table(timed, comparison.context, on_paper))
        out.print("")
        if timed:
            out.print(safe(caption(timed)), markup=False)
        if on_paper:
            out.print(safe(paper_words(on_paper)), markup=False, soft_wrap=True)
    else:
        out.print(safe(f"{comparison.context.workload.key}: nothing was timed"), markup=False)
    below = {f"{row.implementation}: {row.remark}" for row in timed if row.remark}  # as the table says
    for note in comparison.notes:
        if note in below:
            continue
        out.print(safe(note), markup=False, soft_wrap=True)
    _print_pictures(out, pictures)
    out.print("")


def _print_pictures(out: "Console", pictures: Sequence[Path]) -> None:
    for path in pictures:
        if path.suffix == ".png":
            out.print(f"picture: {path} (and .svg)", markup=False, soft_wrap=True)


def _present_network(campaign: StoredCampaign, store: "Store", folder: Path | None, json: bool) -> None:
    title = campaign.spec.title
    rows = layer_rows(campaign, store)
    document = records_json.document(records_json.network_json(title, rows, summaries(rows)))
    written: list[Path] = []
    if folder is not None and rows:
        if any(row.speedup for row in rows):
            written = network_chart(title, rows, folder / "network")
        put(folder / "network.json", document + "\n")
        put(folder / "network.md", network_markdown(title, campaign.spec.command, rows))
    if json:
        print(document)
        return
    out = _console()
    out.print(network_table(title, rows))
    out.print("")
    for summary in summaries(rows):
        out.print(safe(summary_line(summary)), markup=False, soft_wrap=True)
    for note in noted(rows):
        out.print(safe(note), markup=False, soft_wrap=True)
    _print_pictures(out, written)
    if line := state_line(campaign):
        out.print(safe(line), markup=False, soft_wrap=True)


def _present_network_on_paper(
    campaign: StoredCampaign, store: "Store", folder: Path | None, json: bool
) -> None:
    """As `_present_network` where kernels were only compiled: ranks in place of times."""
    layers = paper_layers(campaign, store)
    document = records_json.document(paper_network_json(campaign, layers))
    if folder is not None and layers:
        put(folder / "network.json", document + "\n")
        put(folder / "network.md", paper_markdown(campaign, layers))
    if json:
        print(document)
        return
    out = _console()
    out.print(paper_table(campaign.spec.title, layers))
    out.print("")
    for line in (words(campaign), state_line(campaign)):
        if line:
            out.print(safe(line), markup=False, soft_wrap=True)


def _console() -> "Console":
    import shutil

    from rich.console import Console

    width = None if shutil.get_terminal_size((0, 0)).columns else 160
    return Console(width=width, highlight=False)
