"""Output that is full, closed or no longer read; few descriptors: one line at most, no traceback, no hang."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.store.conftest import Maker
from tuner.core.measurement import Status
from tuner.store.store import open_store

FULL = Path("/dev/full")
# Commands that print without a compiler, one a way of printing, then all others; {db} and {out} are put in.
FEW = ["best --db {db}", "show s1 --db {db}", "show s1 --json --db {db}", "--help", "frobnicate"]
MANY = [
    "best --json --db {db}", "show t1 --db {db}", "export {out} --format csv --db {db}", "kernels",
    "kernels --json", "kernels --searchers", "sweep --help", "replay nothing --db {db}",
    "import nowhere.json --db {db}",
]  # fmt: skip
COMMANDS = [*FEW, *(pytest.param(command, marks=pytest.mark.slow) for command in MANY)]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("output") / "results.db"
    make = Maker()
    with open_store(path) as store:
        trials = [make.timed(1e-3 * (i + 1), MC=i) for i in range(300)]
        store.add_trials(store.begin_sweep(make.spec), [*trials, make.failed(Status.CRASH, MC=-1)])
    return path


def shell(script: str, tmp_path: Path, database: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command in a shell's script, where `$T` is the program with its arguments."""
    arguments = command.format(db=database, out=tmp_path / "out")
    script = script.replace("$T", f'"{sys.executable}" -m tuner {arguments}')
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, env={**os.environ}, cwd=tmp_path
    )


def quiet(done: "subprocess.CompletedProcess[Any]") -> None:
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) <= 1, done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_device_is_one_line(tmp_path: Path, database: Path, command: str) -> None:
    done = shell("$T > /dev/full", tmp_path, database, command)
    quiet(done)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, database: Path, command: str) -> None:
    done = shell('$T | true; echo "${PIPESTATUS[0]}"', tmp_path, database, command)
    quiet(done)
    assert done.stdout.strip() == ("0" if not done.stderr else "2")


@pytest.mark.parametrize("command", ["show s1 --db {db}", "export {out} --format csv --db {db}"])
def test_closed_descriptors_are_not_given_to_the_database(
    tmp_path: Path, database: Path, command: str
) -> None:
    before = database.read_bytes()
    done = shell("$T <&- >&- 2>&-", tmp_path, database, command)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert database.read_bytes() == before


@pytest.mark.parametrize("limit", [8, 24])
def test_few_descriptors(tmp_path: Path, database: Path, limit: int) -> None:
    done = shell(f"ulimit -n {limit}; $T", tmp_path, database, "best --db {db}")
    quiet(done)
    if done.returncode:
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
    else:
        assert "cpp_packed" in done.stdout
