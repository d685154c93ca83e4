"""`tuner forget`: failures that were the machine's stop being facts about configurations."""

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.common import Db, Json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.store.records import StoredFailure

_EXAMPLES = """
Examples:

  tuner forget --environment          (only says which)

  tuner forget --environment --yes
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("forget", epilog=_EXAMPLES)(forget)


def forget(
    environment: Annotated[
        bool,
        typer.Option(
            "--environment",
            help="Failures that the machine caused: no space, a noexec folder, killed processes, ...",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Drop them; without it they are only listed.")] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """List stored failures that look as if the machine had caused them, and drop them with --yes.

    What is dropped stays in the database, marked: it is neither reused nor learned from, and measured again
    when it is proposed again.
    """
    from tuner.core.errors import TunerError
    from tuner.engine.processes import machine_faults
    from tuner.store.store import open_store

    if not environment:
        raise TunerError("say what to forget: --environment, the failures that the machine caused")
    with open_store(db, read_only=not yes) as store:
        failures = store.forgettable()
        faults = {
            f.trial_id: fault for f in failures if (fault := machine_faults.of_stored(f.status, f.error))
        }
        reasons = {trial: fault.reason for trial, fault in faults.items()}
        dropped = store.forget(reasons) if yes and reasons else 0
    found = [f for f in failures if f.trial_id in reasons]
    if json:
        from tuner.cli.common import print_json
        from tuner.report.records_json import failure_json

        print_json({"found": [failure_json(f, reasons[f.trial_id]) for f in found], "dropped": dropped})
        return
    _print(found, reasons, len(failures), dropped, yes)


def _print(
    found: "Sequence[StoredFailure]", reasons: "Mapping[int, str]", failures: int, dropped: int, yes: bool
) -> None:
    from tuner.cli.common import console

    out = console()
    for failure in found if not yes else ():
        out.print(
            f"t{failure.trial_id}  {failure.workload.key}  {failure.kernel}  {failure.status}: "
            f"{reasons[failure.trial_id][:120]}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    if not found:
        out.print(f"none of {failures} stored failures looks as if the machine had caused it")
    elif yes:
        out.print(f"dropped {dropped} of {failures} stored failures: they are measured again when proposed")
    else:
        out.print(
            f"{len(found)} of {failures} stored failures look as if the machine had caused them: --yes drops "
            "them"
        )
