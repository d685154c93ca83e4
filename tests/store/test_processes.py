"""Several processes on one database, and processes that die."""

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuner.store.store import open_store

# Reads (path, spec, trials to add, how many transactions) and says every id once it is committed.
WRITER = """
import pickle, sys
from tuner.store.store import open_store
path, spec, trial, rounds = pickle.loads(sys.stdin.buffer.read())
with open_store(path) as store:
    sweep = store.begin_sweep(spec)
    print("sweep", sweep, flush=True)
    for _ in range(rounds):
        (number,) = store.add_trials(sweep, [trial])
        print(number, flush=True)
"""


def writer(path: Path, make: Any, rounds: int) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    child.stdin.buffer.write(pickle.dumps((path, make.spec, make.timed(1.0), rounds)))
    child.stdin.close()
    return child


def said(child: "subprocess.Popen[str]") -> list[str]:
    assert child.stdout is not None
    return child.stdout.read().split("\n")[1:-1]


def test_two_processes_make_and_fill_one_new_database(path: Path, make: Any) -> None:
    children = [writer(path, make.with_(seed=seed), 60) for seed in range(3)]
    ids = [number for child in children for number in said(child)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert len(ids) == len(set(ids)) == 180
    with open_store(path, read_only=True) as store:
        assert store.count() == 180
        assert sorted(s.trials for s in store.sweeps()) == [60, 60, 60]
        # The same workload, device and kernel were registered by all three at once.
        assert len(store.devices()) == 1
        assert len(store.best()) == 1


def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(path: Path, make: Any) -> None:
    child = writer(path, make, 100_000)
    assert child.stdout is not None
    acknowledged = [child.stdout.readline() for _ in range(200)][1:]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += child.stdout.read().splitlines()
    assert child.wait(60) == -signal.SIGKILL
    ids = {int(line) for line in acknowledged}
    assert len(ids) > 150
    with open_store(path) as store:
        (sweep,) = store.sweeps()
        history = store.sweep_history(sweep.id)
        # What was committed and not yet said may be there as well; half a trial may not.
        assert ids <= {t.id for t in history}
        assert [t.id for t in history] == list(range(1, len(history) + 1))
        assert sweep.status == "interrupted"
        assert store.resumable(make.spec) == sweep.id
        # And it goes on from there.
        store.reopen_sweep(sweep.id)
        store.add_trials(sweep.id, [make.timed(0.5)])
        assert store.sweep(sweep.id).trials == len(history) + 1
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_reader_does_not_wait_for_a_writer(path: Path, make: Any) -> None:
    with open_store(path) as store:
        store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
    held = sqlite3.connect(path, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    try:
        with open_store(path, read_only=True, timeout_s=0) as store:
            assert len(store.best()) == 1
    finally:
        held.close()


def test_threads_share_a_store(path: Path, make: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with open_store(path) as store:
        sweep = store.begin_sweep(make.spec)
        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(lambda _: store.add_trials(sweep, [make.timed(1.0)])[0], range(40)))
        assert sorted(ids) == list(range(1, 41))
        assert store.sweep(sweep).trials == 40


@pytest.mark.parametrize("instant", ["before", "inside"])
def test_a_migration_that_is_killed_leaves_what_was_there(path: Path, instant: str) -> None:
    """Killed between two statements of the migration, or just before it; the next opening does it all."""
    code = f"""
import os, signal
from tuner.store import schema, opening
from tuner.store.store import open_store
def die(connection, revision="head"):
    if {instant!r} == "inside":
        genuine(connection, "0001")
    os.kill(os.getpid(), signal.SIGKILL)
genuine = schema.migrate
opening.migrate = die
open_store({str(path)!r})
"""
    child = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert child.returncode == -signal.SIGKILL
    with open_store(path) as store:
        assert store.count() == 0
