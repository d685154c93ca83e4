"""`tuner verify`: are the numbers of a result.json true on this machine?"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.common import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.engine.tuning.verification import Number, Verified

_EXAMPLES = """
Examples:

  tuner verify results/gemm_demo/result.json

  tuner verify result.json --within 3% --json

Exit code 0: all that could be run reproduces; 1: something differs, is undecided, or nothing could be
run; 2: the file cannot be read.
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("verify", epilog=_EXAMPLES)(verify)


def verify(
    file: Annotated[Path, typer.Argument(help="A result.json of 'tuner compare'.")],
    within: Annotated[
        str, typer.Option(help="The share that two hours of one machine may differ by: 5%, 0.05.")
    ] = "5%",
    device: Annotated[
        str | None, typer.Option(help="What to measure on: cpu, cuda or cuda:1. Default: as in the file.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure the configurations of a result again, interleaved: which of its numbers reproduce?"""
    from tuner.cli.common import print_json
    from tuner.cli.dispatch import fraction
    from tuner.cli.progress import SweepProgress
    from tuner.engine.tuning.verification import verify_result
    from tuner.interchange.result import read_result

    share = fraction(within)
    result = read_result(file)
    with SweepProgress(quiet=json) as progress:
        found = verify_result(result, share, progress, device)
    if json:
        print_json(described(found))
    else:
        _print(found, file)
    if not found.reproduces:
        raise typer.Exit(1)


def described(found: "Verified") -> dict[str, Any]:
    """Plain values, for JSON."""
    from tuner.core.reproduction import Mark
    from tuner.report.records_json import interval_list

    return {
        "reproduces": found.reproduces,
        "within": found.within,
        "counts": {str(mark): found.count(mark) for mark in Mark},
        "remarks": list(found.remarks),
        "numbers": [
            {
                "workload": n.workload, "threads": n.threads, "kernel": n.kernel, "config": dict(n.config),
                "trial": n.trial, "number": "speed-up" if n.over else "time", "over": n.over or None,
                "then": interval_list(n.then), "now": interval_list(n.now),
                "now_over_then": interval_list(n.finding.ratio), "verdict": str(n.finding.mark),
                "why": n.finding.why or None, "default": n.default,
            }
            for n in found.numbers
        ],
    }  # fmt: skip


def _print(found: "Verified", file: Path) -> None:
    from tuner.cli.common import aligned, say

    rows: list[list[str]] = []
    titles: dict[int, str] = {}
    # What is true of the whole final is the reason of each of its numbers: it is said once, below.
    whys = Counter(number.finding.why for number in found.numbers if number.finding.why)
    shared = [why for why, n in whys.items() if n > 1]
    before = None
    for number in found.numbers:
        place = f"{number.workload}, {number.threads} thread{'s' if number.threads != 1 else ''}"
        if place != before:
            titles[len(rows)] = place
            before = place
        rows.append(_row(number, shared))
    for line in aligned(["number", "then", "now", "now/then", "verdict"], rows, "lrrrl", titles):
        say(line)
    for mark, why in enumerate(shared, 1):
        say(f"[{mark}] {why}")
    for remark in found.remarks:
        say(f"! {remark}")
    say(summary(found, file))
    if any(of_now(number.finding.why) for number in found.numbers):
        say(f"The machine was disturbed: close what takes the cores, then run again: tuner verify {file}")
    if any(of_then(number.finding.why) for number in found.numbers):
        say(
            "Numbers of a disturbed final cannot be decided by any run: make the file again on a quiet "
            "machine, with tuner compare"
        )


def of_now(why: str) -> bool:
    """Whether a reason is a disturbance of this run, which another may not meet; that of the file stays."""
    return why.startswith("disturbed") and not of_then(why)


def of_then(why: str) -> bool:
    """Whether a reason is a disturbance while the file was made."""
    return why.startswith("disturbed then")


def _row(number: "Number", shared: "Sequence[str]") -> list[str]:
    """The texts of one number; a reason among the `shared` ones is named by its place."""
    from tuner.cli.common import seconds, spread
    from tuner.core.reproduction import Mark
    from tuner.report.text import ratio

    finding = number.finding
    label = f"{number.kernel} (t{number.trial}{', default' if number.default else ''})"
    if number.over:
        label += f" over {number.over}"
        then, now = ratio(number.then), ratio(number.now)
    else:
        then = f"{seconds(number.then.mid)} {spread(number.then)}"
        now = f"{seconds(number.now.mid)} {spread(number.now)}" if number.now else "-"
    verdict = str(finding.mark)
    if finding.mark is Mark.DIFFERS and finding.ratio is not None:
        percent = 100 * (finding.ratio.mid - 1)
        # More of a time is slower, more of a speed-up is faster.
        what = "faster" if (percent > 0) == bool(number.over) else "slower"
        verdict = f"differs: {what} by {abs(percent):.0f}%"
    elif finding.why:
        why = finding.why
        verdict += f" [{shared.index(why) + 1}]" if why in shared else f": {why}"
    return [label, then, now, ratio(finding.ratio), verdict]


def summary(found: "Verified", file: Path) -> str:
    """How many numbers reproduce, in a sentence."""
    from tuner.core.reproduction import Mark

    counts = {mark: found.count(mark) for mark in Mark}
    run = sum(counts.values()) - counts[Mark.NOT_HERE]
    if run == 0:
        return f"{file}: nothing of it could be run here."
    said = [f"{counts[Mark.REPRODUCES]} of {run} numbers reproduce within {100 * found.within:g}%"]
    said += [f"{counts[mark]} {word}" for mark, word in (
        (Mark.DIFFERS, "differ"), (Mark.UNDECIDED, "undecided"), (Mark.NOT_HERE, "cannot be run here"),
    ) if counts[mark]]  # fmt: skip
    return f"{file}: {', '.join(said)}."
