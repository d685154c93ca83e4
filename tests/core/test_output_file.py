"""Files that commands write: whole or not at all, and never over a database."""

import sqlite3
from pathlib import Path

import pytest

from tuner.core.errors import TunerError
from tuner.core.output_file import put


def test_a_slip_of_the_hand_costs_no_database(tmp_path: Path) -> None:
    database, link = tmp_path / "results.db", tmp_path / "report.html"
    with sqlite3.connect(database) as connection:
        connection.execute("create table trials (id)")
    link.symlink_to(database)
    before = database.read_bytes()
    for path in (database, link):
        with pytest.raises(TunerError, match="is a database, and would be lost"):
            put(path, "<!doctype html>")
    assert database.read_bytes() == before


def test_what_is_there_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = put(tmp_path / "made" / "page.html", "old")
    with monkeypatch.context() as full:

        def no_space(*_: object) -> int:
            raise OSError(28, "No space left on device")

        full.setattr(Path, "write_bytes", no_space)
        with pytest.raises(TunerError, match="cannot be written: no space left on device"):
            put(page, "new")
    assert page.read_text() == "old" and put(page, "new\n").read_bytes() == b"new\n"
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "page.html/below", "."])
def test_a_name_of_no_file_is_one_line(tmp_path: Path, name: str) -> None:
    put(tmp_path / "page.html", "")
    with pytest.raises(TunerError, match="cannot be written"):
        put(tmp_path / name, "text")
