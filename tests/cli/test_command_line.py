"""The command that a hint repeats is the one that was given: every option of it, ready to be pasted."""

import shlex
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tuner.cli.common import Db, Json, command_line

app = typer.Typer()


@app.callback()
def root() -> None:
    """So that commands have names."""


@app.command("sweep")
def sweep(
    context: typer.Context,
    operator: str | None = None,
    shape: Annotated[str | None, typer.Option()] = None,
    kernel: Annotated[list[str] | None, typer.Option()] = None,
    seconds: Annotated[float | None, typer.Option()] = None,
    baselines: bool = True,
    resume: Annotated[bool, typer.Option("--resume")] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    print(command_line(context, without=("resume", "json")))


@pytest.mark.parametrize(
    "given",
    [
        ["--shape", "m16 n16 relu", "--db", "my results.db"],
        ["--kernel", "a", "--kernel", "b", "--seconds", "60", "--no-baselines"],
        ["--operator", "gemm", "--baselines"],
    ],
)
def test_what_was_given_is_repeated_and_nothing_else(given: list[str]) -> None:
    done = CliRunner().invoke(app, ["sweep", *given, "--resume", "--json"])
    assert shlex.split(done.stdout)[:2] == ["tuner", "sweep"]
    assert sorted(shlex.split(done.stdout)[2:]) == sorted(given)
