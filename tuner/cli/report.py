"""`tuner report`: a page of a campaign, an experiment, a workload or a sweep; nothing is built or run."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.common import Db

_EXAMPLES = """
Examples:

  tuner report --html report.html      (the latest campaign)

  tuner report gemm_demo --html results/gemm_demo/report.html --figures results/gemm_demo

  tuner report c2 --html c2.html

  tuner report gemm/f32/m1024-n1024-k1024 --html gemm.html
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("report", epilog=_EXAMPLES)(report)


def report(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A campaign (c2), an experiment by its name or file, a workload's key or a sweep (s3); "
            "default the latest campaign.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The page: one file that opens offline.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for PNG and SVG of each of its charts.", show_default=False)
    ] = None,
    db: Db = None,
) -> None:
    """Write what was found as one self-contained page: comparison, searches, parameters, failures, trials."""
    from tuner.core.errors import TunerError
    from tuner.report.html.report import report as write
    from tuner.report.text import safe
    from tuner.store.store import open_store

    if html is None and figures is None:
        raise TunerError(
            "name a file for the page (--html report.html), a folder for its charts (--figures), or both"
        )
    with open_store(db, read_only=True) as store:
        # A URL may hold a password, and its name does not; a default needs no name.
        database = "" if db is None else store.name if "://" in db else db
        written = write(what, store, html, figures, database)
    if figures is not None:
        drawn = sum(path.suffix == ".png" for path in written)
        print(safe(f"figures: {drawn} in {figures} (PNG and SVG)"))
    if html is not None:
        print(safe(f"page: {html}"))
