"""Every kind of bad database: one line, of `StoreError`, and the file stays as it was."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import StoreError
from tuner.store.errors import StoreDamaged, StoreLocked, StoreMissing, StoreReadOnly
from tuner.store.store import Store, open_store


@pytest.fixture
def filled(path: Path, make: Any) -> Path:
    with open_store(path) as store:
        store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0, MC=i) for i in range(400)])
    return path


def one_line(action: Callable[[], Any], kind: type[StoreError] = StoreError) -> str:
    with pytest.raises(kind) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert "sqlalche.me" not in text  # SQLAlchemy's own texts end in a link
    return text


def test_text_is_no_database(path: Path) -> None:
    path.write_text("time,config\n" * 1000)
    text = one_line(lambda: open_store(path), StoreDamaged)
    assert "is not a SQLite database" in text
    assert "TUNER_DB" in text
    assert path.read_text() == "time,config\n" * 1000


def test_a_database_of_something_else_is_not_filled_with_our_tables(path: Path) -> None:
    with sqlite3.connect(path) as plain:
        plain.execute("CREATE TABLE bookmarks (id INTEGER)")
    before = path.read_bytes()
    assert "has the table 'bookmarks'" in one_line(lambda: open_store(path), StoreDamaged)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_truncated_database(filled: Path, share: float, read_only: bool) -> None:
    content = filled.read_bytes()
    filled.write_bytes(content[: int(len(content) * share)])
    before = filled.read_bytes()

    def use() -> None:
        with open_store(filled, read_only=read_only) as store:
            store.best()

    text = one_line(use, StoreDamaged)
    assert str(filled) in text
    assert filled.read_bytes() == before


def test_a_corrupt_page_is_said_when_it_is_read(filled: Path) -> None:
    content = bytearray(filled.read_bytes())
    content[4096 * 5 :] = os.urandom(len(content) - 4096 * 5)
    filled.write_bytes(bytes(content))

    def use() -> None:
        with open_store(filled) as store:
            store.sweep_history(1)
            store.best()

    assert "truncated or corrupt" in one_line(use, StoreDamaged)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_locked_database(filled: Path, make: Any, read_only: bool) -> None:
    holder = sqlite3.connect(filled, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        text = one_line(lambda: open_store(filled, read_only=read_only, timeout_s=0.1), StoreLocked)
        assert "locked by another process (waited 0.1 s)" in text
    finally:
        holder.close()
    with open_store(filled) as store:
        assert store.count() == 400


def test_a_writer_says_who_holds_the_lock_and_can_go_on(filled: Path, make: Any) -> None:
    with open_store(filled, timeout_s=0.1) as store:
        holder = sqlite3.connect(filled, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert "locked" in one_line(lambda: store.add_trials(1, [make.timed(2.0)]), StoreLocked)
        holder.execute("ROLLBACK")
        holder.close()
        store.add_trials(1, [make.timed(2.0)])
        assert store.count() == 401


@pytest.fixture
def read_only_file(filled: Path) -> Iterator[Path]:
    filled.chmod(0o444)
    yield filled
    filled.chmod(0o644)


def test_a_read_only_file_answers_and_refuses_to_be_written(read_only_file: Path, make: Any) -> None:
    before = read_only_file.read_bytes()
    with open_store(read_only_file) as store:
        assert store.read_only
        assert len(store.best()) == 1
        assert len(store.sweep_history(1)) == 400
        text = one_line(lambda: store.begin_sweep(make.spec), StoreReadOnly)
        assert "is read-only: make it and its folder writable" in text
    assert read_only_file.read_bytes() == before


def test_a_file_in_a_read_only_folder_answers(filled: Path, tmp_path: Path, make: Any) -> None:
    folder = tmp_path / "frozen"
    folder.mkdir()
    copy = folder / "results.db"
    shutil.copy(filled, copy)
    folder.chmod(0o555)
    try:
        with open_store(copy) as store:
            assert len(store.best()) == 1
            one_line(lambda: store.add_trials(1, [make.timed(1.0)]), StoreReadOnly)
        assert "folder" in one_line(lambda: open_store(folder / "new.db"))
    finally:
        folder.chmod(0o755)


def test_a_store_opened_for_reading_does_not_write(filled: Path, make: Any) -> None:
    with open_store(filled, read_only=True) as store:
        one_line(lambda: store.finish_sweep(1), StoreReadOnly)


def test_an_empty_read_only_file(path: Path) -> None:
    path.touch()
    path.chmod(0o444)
    assert "is empty and read-only" in one_line(lambda: open_store(path), StoreReadOnly)


def test_an_old_schema_that_cannot_be_migrated(path: Path) -> None:
    from tests.store.test_migrations import first_version

    first_version(path)
    path.chmod(0o444)
    assert "older schema 0001 and is read-only" in one_line(lambda: open_store(path), StoreReadOnly)


def test_a_missing_folder(tmp_path: Path) -> None:
    text = one_line(lambda: open_store(tmp_path / "no" / "results.db"), StoreMissing)
    assert f"the folder {tmp_path / 'no'} does not exist" in text


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert "is a folder: name a file in it" in one_line(lambda: open_store(tmp_path))


def test_a_name_that_the_file_system_refuses(tmp_path: Path) -> None:
    assert "file name too long" in one_line(lambda: open_store(tmp_path / ("x" * 300)))


def test_reading_a_database_that_is_not_there_makes_none(path: Path) -> None:
    assert "run `tuner sweep` first" in one_line(lambda: open_store(path, read_only=True), StoreMissing)
    assert not path.exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("://", "is not a database URL"),
        ("sqlite:/results.db?x=://", "is not a database URL"),
        ("nonsense://host/name", "nonsense"),
        ("oracle+cx_oracle://me:secret@host/name", "driver"),
        ("postgresql+psycopg2://me:secret@host:notaport/name", "is not a database URL"),
        ("", "name is empty"),
    ],
)
def test_bad_urls(url: str, said: str) -> None:
    text = one_line(lambda: open_store(url))
    assert said in text
    assert "secret" not in text


def test_where_a_database_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.chdir(tmp_path)

    def fill(where: str | None) -> Store:
        store = open_store(where)
        store.close()
        return store

    monkeypatch.setenv("TUNER_DB", str(tmp_path / "variable.db"))
    fill("argument.db")
    assert sorted(p.name for p in tmp_path.glob("*.db")) == ["argument.db"]
    fill(None)
    assert (tmp_path / "variable.db").exists()
    monkeypatch.setenv("TUNER_DB", f"sqlite:///{tmp_path}/url.db")
    fill(None)
    assert (tmp_path / "url.db").exists()
    monkeypatch.delenv("TUNER_DB")
    fill(None)
    assert (tmp_path / "results.db").exists()


def test_a_database_in_memory(make: Any) -> None:
    with open_store("sqlite://") as store:
        store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
        assert len(store.best()) == 1


def test_a_limit_of_file_sizes_is_no_damage(path: Path) -> None:
    """SQLite calls it an error of the disk; the database is new, or as whole as before."""
    code = (
        "import resource, sys\nfrom tuner.core.errors import StoreError\n"
        "from tuner.store.store import open_store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        f"try:\n    open_store({str(path)!r})\nexcept StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout and "ulimit -f" in done.stdout
    assert "corrupt" not in done.stdout
