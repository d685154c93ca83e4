"""`tuner verify-export`: does what was exported still hold on this machine?"""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.common import Json

_EXAMPLES = """
Examples:

  tuner verify-export best.json

  tuner verify-export build/operators --within 5%
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("verify-export", epilog=_EXAMPLES)(verify_export)


def verify_export(
    file: Annotated[
        Path, typer.Argument(help="A file of 'tuner export --best --format json', or a library's folder.")
    ],
    within: Annotated[str, typer.Option(help="How far from what was said a time may be: 10%, 0.1.")] = "10%",
    default: Annotated[
        list[str] | None,
        typer.Option(
            help="What is a kernel's default: 'KERNEL:P=V,Q=W'; repeatable. Default: the first of its lists."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Time each exported entry beside its kernel's default: does it hold? Exit code 1 where one does not."""
    from tuner.cli.check import parse_defaults
    from tuner.cli.common import aligned, print_json, say, seconds
    from tuner.cli.dispatch import fraction
    from tuner.cli.progress import SweepProgress
    from tuner.export.verify import GOOD, Holding, described, verify
    from tuner.interchange.exported import read_entries

    share, named = fraction(within), parse_defaults(default or ())
    entries = read_entries(file)
    with SweepProgress(quiet=json) as progress:
        verdicts = verify(entries, share, progress, named)
    if json:
        print_json([described(verdict) for verdict in verdicts])
    else:
        whys = list(dict.fromkeys(v.why for v in verdicts if v.why))
        rows = [
            [v.entry.workload, v.entry.kernel, seconds(v.entry.said.mid), seconds(v.time_s),
             seconds(v.default_s), f"{v.mark}{f' [{whys.index(v.why) + 1}]' if v.why else ''}"]
            for v in verdicts
        ]  # fmt: skip
        head = ["workload", "kernel", "said", "here", "default here", "verdict"]
        for line in aligned(head, rows, "llrrrl", {0: str(file)}):
            say(line)
        for number, why in enumerate(whys, 1):
            say(f"[{number}] {why}")
        for verdict in verdicts:
            for text in verdict.stale:
                say(f"{verdict.entry.workload}: {text}")
        counts = Counter(verdict.mark for verdict in verdicts)
        told = ", ".join(f"{counts[mark]} {mark}" for mark in Holding if counts[mark])
        entries_said = f"{len(verdicts):,} entr{'y' if len(verdicts) == 1 else 'ies'}"
        say(f"{file}: {entries_said}: {told}.")
    if any(verdict.mark not in GOOD for verdict in verdicts):
        raise typer.Exit(1)
