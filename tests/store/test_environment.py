"""What the machine failed: never reused, never learned from, and dropped where it was stored as a failure."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner

from tests.store.test_migrations import FIRST_ROWS, version
from tuner.cli import app
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.store.errors import StoreGone
from tuner.store.records import Final, FinalEntry
from tuner.store.schema import HEAD, migrate
from tuner.store.store import Store, open_store

# As versions before this stored them, with what the machine had done.
OF_THE_MACHINE = [
    ("run_error", "RuntimeError: kernel.so cannot be loaded: /x/kernel.so: failed to map segment from shared "
     "object: Operation not permitted"),
    ("run_error", "RuntimeError: kernel.so cannot be loaded: /x/kernel.so: failed to map segment from shared "
     "object"),
    ("build_error", "kernel.cpp:3:1: fatal error: error writing to /tmp/a.s: No space left on device\nmore"),
    ("build_error", "OSError: [Errno 28] No space left on device: '/tmp/tuner-x/build-1/0/kernel.cpp'"),
    ("build_error", "FileNotFoundError: [Errno 2] No such file or directory: '/usr/bin/g++'"),
    ("build_error", "build: ended with exit code 1 and no result: ValueError: not allowed to raise maximum "
     "limit"),
    ("crash", "run: died of SIGKILL"),
    ("build_error", "build: died of SIGTERM: what it printed"),
    ("crash", "run: its warm process was ended (out of memory?)"),
    ("run_error", "OSError: [Errno 24] Too many open files"),
    ("build_error", "build: ended with exit code 1 and no result: LLVM ERROR: IO failure on output stream: "
     "No space left on device"),
]  # fmt: skip
OF_THE_CANDIDATE = [
    ("build_error", "kernel.cpp:3:2: error: #error No space left on device"),
    ("crash", "run: died of SIGSEGV"),
    ("crash", "run: died of SIGABRT: terminate called after throwing an instance of 'std::bad_alloc'"),
    ("crash", "run: ended with exit code 1 and no result: No space left on device"),
    ("run_error", "the kernel returned error 28"),
    ("run_timeout", "run: no result within 60 s"),
    ("wrong_result", "D[0, 0] is nan"),
    ("infeasible", "[Errno 28]"),
]


def old_database(path: Path) -> None:
    """Of the version before there was a status for the machine, with failures of both kinds."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, "0003")

        def put(table: str, values: dict[str, Any]) -> None:
            marks = ", ".join("?" * len(values))
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values())
            )

        for table, values in FIRST_ROWS.items():
            put(table, values)
        none = {"time_s": None, "median_s": None, "low_s": None, "high_s": None, "samples": "[]"}
        for number, (status, error) in enumerate(OF_THE_MACHINE + OF_THE_CANDIDATE, 1):
            changed = {"id": number + 1, "identity": f"i{number}", "config": f'{{"MC":{number}}}'}
            put("trials", {**FIRST_ROWS["trials"], **changed, **none, "status": status, "error": error})
            put("sweep_trials", {"sweep_id": 1, "number": number, "trial_id": number + 1, "reused": 0})
    engine.dispose()


def tuner(path: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--db", str(path)])
    assert result.exit_code == 0, result.output
    return result


def test_an_old_database_takes_the_new_status_and_keeps_its_guards(path: Path, make: Any) -> None:
    old_database(path)
    with open_store(path) as store:
        assert version(path) == HEAD
        sweep = store.begin_sweep(make.spec)
        store.add_trials(sweep, [make.failed(Status.ENVIRONMENT)])
        assert store.sweep(sweep).statuses == {"environment": 1}
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
        for statement in ("DELETE FROM trials", "UPDATE trials SET error = ''"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                plain.execute(statement)
        names = ", ".join(FIRST_ROWS["trials"])
        values = {**FIRST_ROWS["trials"], "id": 99, "status": "nonsense"}
        with pytest.raises(sqlite3.IntegrityError, match="ck_trials"):
            plain.execute(f"INSERT INTO trials ({names}) VALUES ({', '.join('?' * len(values))})",
                          tuple(values.values()))  # fmt: skip


def test_a_connection_that_was_open_during_the_migration_sees_the_new_schema(path: Path) -> None:
    old_database(path)
    with sqlite3.connect(path) as before:
        assert before.execute("SELECT count(*) FROM trials").fetchone()[0] > 1
        open_store(path).close()
        values = {**FIRST_ROWS["trials"], "id": 500, "status": "environment", "error": "full", "time_s": None,
                  "median_s": None, "low_s": None, "high_s": None, "samples": "[]"}  # fmt: skip
        before.execute(f"INSERT INTO trials ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
                       tuple(values.values()))  # fmt: skip


def test_forget_says_which_and_then_drops_them(path: Path) -> None:
    old_database(path)
    said = tuner(path, "forget", "--environment").output
    # A long reason goes on in the next line.
    assert [line.split()[0] for line in said.splitlines() if re.match(r"t\d+ ", line)] == [
        f"t{i}" for i in range(2, len(OF_THE_MACHINE) + 2)
    ]
    found = json.loads(tuner(path, "forget", "--environment", "--json").output)
    assert (len(found["found"]), found["dropped"]) == (len(OF_THE_MACHINE), 0)
    with open_store(path) as store:
        assert "environment" not in store.sweep(1).statuses
        before = store.find_identities([f"i{i}" for i in range(1, 30)])
        assert len(before) == len(OF_THE_MACHINE) + len(OF_THE_CANDIDATE)
    assert f"dropped {len(OF_THE_MACHINE)} of" in tuner(path, "forget", "--environment", "--yes").output
    with open_store(path) as store:
        known = store.find_identities([f"i{i}" for i in range(1, 30)])
        assert {str(t.measurement.status) for t in known.values()} == {s for s, _ in OF_THE_CANDIDATE}
        assert store.sweep(1).statuses["environment"] == len(OF_THE_MACHINE)
        (group,) = store.history("naive", "gemm")
        assert len(group.observations) == len(OF_THE_CANDIDATE) + 1
        # A resumed sweep is told what they are; the database still says what they were.
        told = [t.measurement.status for t in store.sweep_history(1)]
        assert told.count(Status.ENVIRONMENT) == len(OF_THE_MACHINE)
        assert store.count() == 1 + len(OF_THE_MACHINE) + len(OF_THE_CANDIDATE)
        assert store.trial(2).trial.measurement.status is Status.ENVIRONMENT
        said = [status for status, _ in store.failures(1, 1000)]
        assert said.count("environment") == len(OF_THE_MACHINE)
    assert "none of" in tuner(path, "forget", "--environment").output


def test_what_is_in_a_final_or_right_is_not_forgotten(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    right, failed = store.add_trials(sweep, [make.timed(1.0), make.failed(Status.CRASH, MC=7)])
    entries = (FinalEntry(failed, "candidate", Turns((1.0,)), Interval(1.0, 1.0, 1.0)),)
    store.record_final(Final(make.workload, "cpu-1", make.protocol, entries))
    assert store.forget({right: "x", failed: "x", 999: "x"}) == 0


def test_what_is_the_machines_already_is_not_offered_to_be_forgotten(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    _, crash = store.add_trials(
        sweep, [make.failed(Status.ENVIRONMENT, MC=1), make.failed(Status.CRASH, MC=2)]
    )
    assert [failure.trial_id for failure in store.forgettable()] == [crash]


def test_a_later_fault_hides_no_earlier_outcome(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    store.add_trials(sweep, [make.timed(1.0, MC=1), make.failed(Status.ENVIRONMENT, MC=1)])
    store.add_trials(sweep, [make.failed(Status.ENVIRONMENT, MC=2)])
    keys = [make.key({"MC": n}).digest for n in (1, 2)]
    known = store.find_identities(keys)
    assert [known[k].measurement.status for k in known] == [Status.OK]
    (group,) = store.history("cpp_packed", "gemm")
    assert [o.measurement.status for o in group.observations] == [Status.OK]


def deleted(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))


def replaced(path: Path) -> None:
    moved(path)
    path.write_bytes(path.with_suffix(".moved").read_bytes())


def without_its_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


@pytest.mark.parametrize("disaster", [deleted, moved, replaced, without_its_log])
def test_a_file_that_goes_away_is_noticed_at_the_next_write(path: Path, make: Any, disaster: Any) -> None:
    with open_store(path) as store:
        sweep = store.begin_sweep(make.spec)
        store.add_trials(sweep, [make.timed(1.0)])
        disaster(path)
        for write in (
            lambda: store.add_trials(sweep, [make.timed(2.0)]),
            lambda: store.finish_sweep(sweep),
            lambda: store.begin_sweep(make.spec),
        ):
            with pytest.raises(StoreGone, match="while it was in use") as caught:
                write()
            assert "\n" not in str(caught.value)
    if disaster is deleted:
        assert not path.exists()  # no stray empty one


def test_what_was_stored_before_a_move_is_in_the_file_that_was_moved(path: Path, make: Any) -> None:
    with open_store(path) as store:
        sweep = store.begin_sweep(make.spec)
        store.add_trials(sweep, [make.timed(1.0)])
        moved(path)
        with pytest.raises(StoreGone):
            store.add_trials(sweep, [make.timed(2.0)])
    with open_store(path.with_suffix(".moved")) as store:
        assert [t.measurement.time_s for t in store.sweep_history(sweep)] == [1.0]


def test_a_change_of_the_working_folder_moves_nothing(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("results.db") as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        sweep = store.begin_sweep(make.spec)
        assert store.add_trials(sweep, [make.trial(Measurement(Status.OK, Evidence.MEASURED, (1.0,)))])
