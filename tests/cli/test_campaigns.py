"""Campaigns from the command line: killed, gone on with, and asked for wrongly."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tuner.cli import app
from tuner.core.errors import TunerError
from tuner.store.store import open_store

EXPERIMENT = (
    'operator = "gemm"\nshapes = ["8x8x8", "16x16x16"]\nkernels = ["cpp_naive", "cpp_tiled"]\n'
    'searcher = "random"\nthreads = 1\nbaselines = false\noutput = "out"\n'
    "[budget]\ntrials = 2\n[final]\nrounds = 0\n"
)
KILLED = """
import os, signal, sys
from pathlib import Path
from tuner.engine.tuning.experiment import read_experiment, run_experiment
from tuner.engine.tuning.observer import Observer
from tuner.store.store import open_store

class Killed(Observer):
    def sweep_began(self, request, *_):
        if request.workload.key.endswith("k16") and request.kernel.name == "cpp_tiled":
            os.kill(os.getpid(), signal.SIGKILL)

with open_store("r.db") as store:
    run_experiment(read_experiment(Path("two.toml")), store, Killed(), "two", "tuner compare two.toml")
"""


pytestmark = pytest.mark.usefixtures("calm")


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "two.toml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")  # as wide here as in a process of its own
    return tmp_path


def test_a_comparison_killed_half_way_is_unfinished_and_run_again_goes_on(folder):
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=170)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (killed,) = json.loads(invoke("show", "--campaigns", "--db", "r.db", "--json"))
    assert killed["state"] == "unfinished"
    assert [w["status"] for w in killed["workloads"]] == ["finished", "interrupted"]
    told = invoke("compare", "two.toml", "--report-only", "--db", "r.db")
    assert "unfinished: its process was killed (1 of 2 workloads finished)" in told
    assert "to go on with it: tuner compare two.toml" in told
    assert not (folder / "out").exists(), "pictures of what did not finish take no other's place"
    command = [sys.executable, "-m", "tuner", "compare", "two.toml", "--db", "r.db"]
    again = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert again.returncode == 0, again.stderr
    assert "8-k8: finished in an earlier run of campaign 1" in again.stderr
    (finished,) = json.loads(invoke("show", "--campaigns", "--db", "r.db", "--json"))
    assert (finished["campaign"], finished["state"]) == (1, "finished")
    assert finished["workloads"][0] == killed["workloads"][0]
    with open_store("r.db", read_only=True) as store:
        assert len(store.sweeps()) == 4, "no sweep is begun a second time"
    report = ("compare", "two.toml", "--report-only", "--db", "r.db")
    assert invoke(*report) == again.stdout
    # Without the file, by the number alone: the same tables, and no picture unless it is asked for.
    lines = again.stdout.splitlines(keepends=True)
    tables = "".join(line for line in lines if not line.startswith("picture: "))
    assert invoke("show", "--campaign", "1", "--db", "r.db") == tables
    documents = json.loads(invoke(*report, "--campaign", "1", "--json"))
    assert [(d["campaign"], d["unfinished"]) for d in documents] == [(1, False)] * 2
    assert finished["asked"]["kernels"] == ["cpp_naive", "cpp_tiled"]
    assert (finished["asked"]["budget"], finished["experiment"]) == ({"trials": 2}, "two")
    (folder / "two.toml").write_text(EXPERIMENT.replace("trials = 2", "trials = 3"))
    result = CliRunner().invoke(app, report)
    assert result.stdout == again.stdout and "changed since campaign 1 (budget)" in result.stderr
    assert {p.suffix for p in (folder / "out").iterdir()} == {".json", ".png", ".svg"}


def test_what_cannot_be_shown_is_one_line(folder):
    open_store("r.db").close()
    for arguments, words in (
        (("compare", "two.toml", "--report-only"), "no campaign of two: run 'tuner compare two.toml' first"),
        (("compare", "two.toml", "--campaign", "3"), "--campaign 3 needs --report-only"),
        (("compare", "two.toml", "--report-only", "--campaign", "3"), "no campaign 3"),
        (("show",), "give --campaigns"),
        (("show", "t1", "--campaign", "2"), "name one of them"),
        (("show", "c1"), "no campaign 1: the database has no campaigns"),
        (("show", "t1", "--output", "x"), "tuner show c2 --output FOLDER"),
    ):
        with pytest.raises(TunerError, match=words):
            invoke(*arguments, "--db", "r.db")
    assert "no campaigns stored" in invoke("show", "--campaigns", "--db", "r.db")


def test_a_database_from_before_campaigns_is_listed_as_having_none(folder):
    import sqlite3

    dump = Path(__file__).parents[1] / "store" / "old" / "schema_0006.sql"
    with sqlite3.connect("old.db") as plain:
        plain.executescript(dump.read_text())
    assert "no campaigns stored" in invoke("show", "--campaigns", "--db", "old.db")
    assert "cpp_packed" in invoke("best", "--db", "old.db")
    assert "speed-up 3.75x" in invoke("show", "t3", "--db", "old.db")
