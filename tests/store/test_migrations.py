"""Schemas: from nothing, from the first version, and what Alembic is not needed for."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect

from tuner.core.errors import StoreError
from tuner.core.protocol import Protocol
from tuner.core.turns import Turns
from tuner.store.models import Base
from tuner.store.opening import open_engine
from tuner.store.patience import LockWait
from tuner.store.schema import HEAD, REVISIONS, migrate
from tuner.store.store import open_store

DAY = "2026-01-01T00:00:00.000000Z"
FIRST_ROWS: dict[str, dict[str, Any]] = {
    "workloads": {
        "id": 1, "key": "gemm/f32/m2-n2-k2", "operator": "gemm", "dtype": "f32",
        "dims": '{"m":2,"n":2,"k":2}', "options": "{}",
    },
    "devices": {
        "id": 1, "fingerprint": "cpu-1", "name": "EPYC", "kind": "cpu", "target": "cpu:avx2", "facts": "{}",
        "limits": "{}", "created_at": DAY,
    },
    "kernels": {"id": 1, "name": "naive", "digest": "source1", "language": "cxx", "operator": "gemm"},
    "toolchains": {"id": 1, "digest": "tool", "name": "g++", "version": "14", "flags": "[]"},
    "sweeps": {
        "id": 1, "workload_id": 1, "device_id": 1, "kernel_id": 1, "target": "cpu:avx2", "searcher": "random",
        "seed": 0, "protocol": "{}", "protocol_digest": "p", "threads": 1, "cache": "warm", "budget": "{}",
        "status": "running", "owner": "", "started_at": DAY, "note": "", "summary": "{}",
    },
    "trials": {
        "id": 1, "identity": "i", "workload_id": 1, "kernel_id": 1, "device_id": 1, "toolchain_id": 1,
        "sweep_id": 1, "config": '{"MC":4}', "target": "cpu:avx2", "protocol_digest": "p", "threads": 1,
        "cache": "warm", "status": "ok", "evidence": "measured", "time_s": 0.5, "median_s": 0.5, "low_s": 0.5,
        "high_s": 0.5, "samples": "[0.5]", "error": "", "build_s": 1.0, "run_s": 1.0, "metrics": "{}",
        "artifact": "", "created_at": DAY,
    },
    "sweep_trials": {"sweep_id": 1, "number": 0, "trial_id": 1, "reused": 0},
}  # fmt: skip


def first_version(path: Path) -> None:
    """A file as the first version of the lab left it, with a trial inside."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, "0001")
        for table, values in FIRST_ROWS.items():
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values())
            )
    engine.dispose()


def version(path: Path) -> str:
    with sqlite3.connect(path) as plain:
        return str(plain.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_first_version_is_brought_up_to_date_with_its_trials(path: Path) -> None:
    first_version(path)
    assert version(path) == "0001"
    with open_store(path) as store:
        (row,) = store.best()
        assert (row.config, row.time_s, row.retimed) == ({"MC": 4}, 0.5, False)
        assert [t.id for t in store.sweep_history(1)] == [1]
        assert store.finals() == []
    assert version(path) == HEAD


def test_finals_of_the_second_version_were_timed_in_one_process(path: Path) -> None:
    first_version(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, "0002")
        connection.exec_driver_sql(
            "INSERT INTO finals VALUES (1, NULL, 1, 1, NULL, '{}', 'p', 1, 'warm', ?)", (DAY,)
        )
        connection.exec_driver_sql(
            "INSERT INTO final_entries VALUES "
            "(1, 1, 'candidate', 0.5, 0.5, 0.5, '[0.5]', NULL, NULL, NULL, 0, 0, 0)"
        )
    engine.dispose()
    with open_store(path) as store:
        (found,) = store.finals()
        assert [e.turns for e in found.entries] == [Turns((0.5,))]


def test_trials_of_the_sixth_version_ran_nobody_knows_where(path: Path, make: Any) -> None:
    first_version(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, "0006")
        # As it was written: without boot and namespace, by a process that is long gone.
        connection.exec_driver_sql("UPDATE sweeps SET owner = 'oldhost:77:1234'")
    engine.dispose()
    with open_store(path) as store:
        (trial,) = store.sweep_history(1)
        assert trial.host == ""
        assert store.numbered_history(1) == [(0, trial)]
        store.add_trials(store.begin_sweep(make.spec), [replace(make.timed(1.0), host="newhost")])
        assert store.sweep_history(2)[0].host == "newhost"


def test_an_older_file_takes_times_of_a_models_layers(path: Path, make: Any) -> None:
    first_version(path)
    with open_store(path) as store:
        layer = make.with_(protocol=Protocol(cache="model", between_bytes=2**25))
        store.add_trials(store.begin_sweep(layer.spec), [layer.timed(1.0)])
        assert sorted(row.cache for row in store.best()) == ["model", "warm"]
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with pytest.raises(sqlite3.IntegrityError):
            plain.execute("UPDATE sweeps SET cache = 'hot'")


def test_asking_for_reading_only_still_migrates_a_writable_file(path: Path) -> None:
    first_version(path)
    with open_store(path, read_only=True) as store:
        assert len(store.best()) == 1


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    with open_store(path) as store:
        assert store.count() == 0
    assert version(path) == HEAD


def test_migrations_make_the_schema_of_the_models(path: Path) -> None:
    open_store(path).close()
    migrated = create_engine(f"sqlite:///{path}")
    declared = create_engine("sqlite://")  # one connection a thread: the tables stay
    Base.metadata.create_all(declared)
    ours, theirs = inspect(migrated), inspect(declared)
    assert set(ours.get_table_names()) - {"alembic_version"} == set(Base.metadata.tables)

    def normal(items: Any) -> list[str]:
        # Indexes by their text below: a condition of one is an object here, which equals nothing.
        return sorted(str({k: str(v) for k, v in dict(item).items() if k != "default"}) for item in items)

    def indexes(engine: Engine) -> list[tuple[str, str]]:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'index'")
            return sorted(
                (name, " ".join((sql or "").split())) for name, sql in found if "alembic" not in name
            )

    for table in Base.metadata.tables:
        for aspect in ("get_columns", "get_check_constraints", "get_foreign_keys",
                       "get_unique_constraints"):  # fmt: skip
            assert normal(getattr(ours, aspect)(table)) == normal(getattr(theirs, aspect)(table)), (
                table,
                aspect,
            )
        assert ours.get_pk_constraint(table) == theirs.get_pk_constraint(table)
    assert indexes(migrated) == indexes(declared)
    migrated.dispose()


def test_the_revisions_known_are_those_shipped() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import tuner.store.migrations as package

    config = Config()
    config.set_main_option("script_location", str(Path(str(package.__file__)).parent))
    config.set_main_option("path_separator", "os")
    shipped = ScriptDirectory.from_config(config).walk_revisions()
    assert [r.revision for r in shipped] == list(reversed(REVISIONS))


def test_a_present_schema_is_opened_without_alembic(path: Path) -> None:
    open_store(path).close()
    code = (
        "import sys\nfrom tuner.store.store import open_store\n"
        f"with open_store({str(path)!r}) as store: store.best()\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('alembic', 'mako')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_newer_schema_is_left_alone(path: Path, make: Any) -> None:
    with open_store(path) as store:
        store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
    with sqlite3.connect(path) as plain:
        plain.execute("UPDATE alembic_version SET version_num = '0099'")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"newer version of the lab \(schema 0099; this one knows up to"):
            open_store(path, read_only=read_only)
    assert path.read_bytes() == before


def test_a_folder_with_a_percent_sign(tmp_path: Path) -> None:
    folder = tmp_path / "100%s done"
    folder.mkdir()
    with open_store(folder / "a b?#.db") as store:
        assert store.count() == 0
    assert (folder / "a b?#.db").exists()


def test_wal_is_on_and_foreign_keys_are_checked(path: Path) -> None:
    engine, _, _ = open_engine(path, False, LockWait(1.0, 1.0))
    with engine.connect() as connection:

        def ask(name: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

        assert (ask("journal_mode"), ask("synchronous"), ask("foreign_keys")) == ("wal", 1, 1)
    engine.dispose()
