"""The served file: only read, never in a writer's way, and watched for what becomes of it."""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.report.stored import swept, trials
from tests.serve.made import begin
from tuner.core.errors import StoreError
from tuner.serve.application import application
from tuner.serve.database import Database
from tuner.serve.feed import Feed
from tuner.store.browse.news import trials_between
from tuner.store.errors import StoreDamaged, StoreMissing, StoreReadOnly
from tuner.store.reading import open_reader
from tuner.store.store import open_store


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "own.db"))


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


def client_of(database: Database) -> TestClient:
    return TestClient(application(database), "http://127.0.0.1", raise_server_exceptions=False)


def count(database: Database) -> int:
    time.sleep(0.3)  # a catalogue is served for a quarter of a second
    with database.look() as look:
        return look.catalogue.trials


def test_nothing_can_be_written_through_it(path: Path, database: Database) -> None:
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with database.look() as look:
        for statement in ("DELETE FROM sweep_trials", "CREATE TABLE x (y)", "PRAGMA user_version = 7"):
            with pytest.raises(StoreError, match="read-only"), look.store.answering():
                look.connection.exec_driver_sql(statement)
        with pytest.raises(StoreReadOnly):
            look.store.finish_sweep(1)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_writer_is_never_kept_waiting(path: Path, database: Database) -> None:
    with database.look() as look, open_store(path, timeout_s=0) as store:
        assert look.ask(trials_between, 0, look.catalogue.last_trial)  # the reader's transaction is open
        swept(store, "cpp_late", 3)
    assert count(database) > 0


def test_a_trial_is_told_with_the_counts_that_have_it(path: Path, database: Database) -> None:
    """The catalogue may be a moment old: a trial that it does not count yet is told at a later look."""
    feed, (number, spec) = Feed(database), begin(path)
    database._reader._fresh_s = 0.0
    feed._news()
    database._reader._fresh_s = 1e9
    with open_store(path) as store:
        store.add_trials(number, trials(spec, 1, 0))
    assert feed._news() == []
    database._reader._fresh_s = 0.0
    told = [(message.split("event: ")[1].split("\n")[0], message) for message in feed._news()]
    assert [kind for kind, _ in told] == ["trial", "sweep"] and '"trials": 1' in told[1][1]


def test_a_writer_that_holds_the_lock_keeps_no_reader_waiting(path: Path, database: Database) -> None:
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO owners VALUES ('x', 'y')")
    assert count(database) > 0  # a read that waited would give up, and say so
    writer.close()


def test_the_catalogue_follows_what_is_stored(path: Path, database: Database) -> None:
    before = count(database)
    number, spec = begin(path)
    with open_store(path) as store:
        ids = store.add_trials(number, trials(spec, 9))
        store.record_reuse(number, 9, 2)
        time.sleep(0.3)
        with database.look() as look:
            entry = look.catalogue.sweeps[number]
        assert (entry.state, entry.tally.trials, entry.tally.reused) == ("running", 10, 1)
        assert entry.tally.best_s == store.sweep(number).best_s
        assert count(database) == before + 9
        failed = next(t.id for t in store.sweep_history(number) if t.measurement.error)
        store.forget({failed or 0: "no space"})
        store.record_reuse(number, 10, ids[0])
        store.finish_sweep(number)
        time.sleep(0.3)
        with database.look() as look:
            for i, entry in look.catalogue.sweeps.items():
                assert entry.tally.statuses == dict(store.sweep(i).statuses), i
            assert look.catalogue.sweeps[number].state == "finished"


def test_a_sweep_that_was_resumed_and_finished_unseen_is_finished(path: Path, database: Database) -> None:
    number, spec = begin(path)
    with open_store(path) as store:
        store.finish_sweep(number, "interrupted", {})
        time.sleep(0.3)
        with database.look() as look:
            assert look.catalogue.sweeps[number].state == "interrupted"
        store.reopen_sweep(number)
        store.add_trials(number, trials(spec, 3))
        store.record_reuse(number, 3, 2)
        store.finish_sweep(number)
        time.sleep(0.3)
        with database.look() as look:
            entry = look.catalogue.sweeps[number]
        assert (entry.state, entry.tally.trials, entry.tally.reused) == ("finished", 4, 1)
        assert entry.finished_at is not None


def test_a_sweep_whose_process_is_gone_does_not_run(path: Path, database: Database) -> None:
    number, _ = begin(path)
    raw = sqlite3.connect(path)
    raw.execute(
        "UPDATE sweeps SET owner = replace(owner, ?, '4194304') WHERE id = ?", (str(os.getpid()), number)
    )
    raw.commit()
    raw.close()
    time.sleep(0.3)
    with database.look() as look:
        assert look.catalogue.sweeps[number].state == "interrupted"
        assert look.catalogue.running == []


def test_deleted_it_is_an_error_until_it_is_back(path: Path, database: Database) -> None:
    client = client_of(database)
    assert client.get("/sweeps/1").status_code == 200
    moved = path.rename(path.with_name("moved.db"))
    for url in ("/", "/sweeps/1", "/api/trials"):
        answer = client.get(url)
        assert answer.status_code == 503 and "deleted or moved" in answer.text, url
    assert not path.exists()  # looking made no empty file
    moved.rename(path)
    assert client.get("/sweeps/1").status_code == 200


def test_replaced_by_another_it_shows_the_other(path: Path, database: Database) -> None:
    before = count(database)
    other = path.with_name("other.db")
    with open_store(other) as store:
        swept(store, "only_here", 5)
    other.replace(path)
    for log in ("-wal", "-shm"):
        Path(f"{path}{log}").unlink(missing_ok=True)
    assert count(database) == 5 != before
    with database.look() as look:
        assert {k.name for k in look.catalogue.kernels.values()} == {"only_here"}


@pytest.mark.parametrize("what", ["emptied", "empty", "text", "a folder"])
def test_what_is_no_database_at_its_place_is_an_error_until_it_is_back(
    what: str, path: Path, database: Database
) -> None:
    client, kept = client_of(database), path.with_name("kept.db")
    shutil.copy(path, kept)
    assert client.get("/api/overview").status_code == 200
    if what == "emptied":
        os.truncate(path, 0)
    elif what == "a folder":
        path.unlink()
        path.mkdir()
    else:
        other = path.with_name("other")
        other.write_text("hello" * 1000 if what == "text" else "")
        other.replace(path)
    time.sleep(0.3)
    for url in ("/", "/trials/1", "/api/overview"):
        assert client.get(url).status_code == 503, url
    assert len(client.get("/api/trials").json()["error"].splitlines()) == 1
    if what == "a folder":
        path.rmdir()
    kept.replace(path)
    for url in ("/", "/trials/1", "/api/overview"):
        assert client.get(url).status_code == 200, url


def test_locked_by_another_process_it_is_an_error_until_it_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.serve.database.open_reader", partial(open_reader, timeout_s=0.2))
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode = DELETE")  # in WAL mode no writer keeps readers waiting
    database = Database(path)
    client = client_of(database)
    assert client.get("/api/trials").status_code == 200
    raw.execute("BEGIN EXCLUSIVE")
    answer = client.get("/api/trials")
    assert answer.status_code == 503 and "locked by another process" in answer.json()["error"]
    raw.close()
    assert client.get("/api/trials").status_code == 200
    database.close()


def test_migrated_by_a_newer_lab_it_says_so(path: Path, database: Database) -> None:
    client = client_of(database)
    assert client.get("/api/overview").status_code == 200
    raw = sqlite3.connect(path)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    time.sleep(1.1)  # versions are compared once a second
    answer = client.get("/api/overview")
    assert answer.status_code == 503 and "newer version" in answer.json()["error"]


def test_hostile_values_are_one_line(path: Path, database: Database) -> None:
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA ignore_check_constraints = ON")
    raw.execute("DROP TRIGGER trials_refuse_update")
    raw.execute("UPDATE trials SET config = '[1', time_s = x'00ff' WHERE id = 5")
    raw.commit()
    raw.close()
    client = client_of(database)
    for url in ("/api/trials?limit=500", "/api/trials/5", "/trials/5", "/api/trials?sort=time_s"):
        answer = client.get(url)
        assert answer.status_code == 503 and "does not write" in answer.text, url
    assert client.get("/trials/6").status_code == 200


def test_an_old_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    raw = sqlite3.connect(path)
    raw.executescript((Path(__file__).parents[1] / "store/old/schema_0006.sql").read_text())
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreReadOnly, match="older version of the lab"):
        open_reader(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        Database(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("hello" * 1000)
    with pytest.raises(StoreDamaged):
        Database(tmp_path / "text.db")


def test_a_file_that_nobody_may_write_is_read(path: Path) -> None:
    with open_store(path) as store:
        swept(store, "cpp_late", 3)
    folder = path.parent
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        database = Database(path)
        assert count(database) > 0
        database.close()
    finally:
        folder.chmod(0o755)


def test_a_statement_without_end_is_ended(path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with open_reader(path, timeout_s=0.2) as store, store.looking() as connection:
        with pytest.raises(StoreError), store.answering():
            connection.exec_driver_sql(endless)
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_damaged_database_fills_no_log(path: Path, database: Database, caplog: Any) -> None:
    client = client_of(database)
    path.write_bytes(path.read_bytes()[:8192] + b"\0" * 200_000)
    with caplog.at_level("WARNING"):
        found = [client.get("/api/campaigns") for _ in range(5)]
    assert {answer.status_code for answer in found} == {503}
    assert sum("corrupt" in record.message for record in caplog.records) == 1, "a pipe would be full some day"


def test_of_many_who_listen_at_once_no_more_than_there_are_places(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.serve.feed.MOST_LISTENERS", 3)

    async def come() -> list[str]:
        feed = Feed(database)
        streams: list[Any] = [
            feed.listen() for _ in range(9)
        ]  # all were let in before the first of them listened
        first = [await anext(stream, "") for stream in streams]
        feed.close()
        for stream in streams:
            await stream.aclose()
        return first

    assert [text[:5] for text in asyncio.run(come())] == ["retry"] * 3 + [""] * 6
