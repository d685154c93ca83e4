"""The file that is named is the file that is used, whatever its name holds."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import StoreError
from tuner.store.store import open_store

NAMES = [
    "plain.db", "100%.db", "a%20b.db", "a%2520b.db", "what?.db", "x.db?mode=memory", "a#b.db", "a b.db",
    "über.db",
    "new\nline.db", 'quo"te\'s.db', "semi;colon&and.db", "file:x.db", ":memory:", "~nobody-of-this-name.db",
    "back\\slash.db", os.fsdecode(b"latin-\xe9.db"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["writable", "read-only file", "read-only folder"])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.sampled(34)
def test_the_file_named_is_the_file_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, name: str, how: str, relative: bool
) -> None:
    folder = tmp_path / "fol%20der?"
    folder.mkdir()
    monkeypatch.chdir(folder)
    asked = name if relative else str(folder / name)
    with open_store(asked) as store:
        store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
    assert [p.name for p in folder.iterdir()] == [name]
    with sqlite3.connect(folder / name) as plain:
        assert plain.execute("SELECT count(*) FROM trials").fetchone() == (1,)
    if how == "read-only file":
        (folder / name).chmod(0o444)
    elif how == "read-only folder":
        folder.chmod(0o555)
    try:
        with open_store(asked, read_only=True) as store:
            assert store.read_only
            assert len(store.best()) == 1
    finally:
        folder.chmod(0o755)
    beside = {f"{name}{end}" for end in ("", "-wal", "-shm")}
    assert {p.name for p in folder.iterdir()} <= beside
    assert list(tmp_path.iterdir()) == [folder]


def test_a_working_folder_that_changes_does_not_change_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("here.db") as store:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        store.begin_sweep(make.spec)
    assert not list((tmp_path / "other").iterdir())


def test_a_name_with_a_nul_is_one_line() -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store("a\0b.db")
