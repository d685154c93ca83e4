"""Files that belong together appear together or not at all."""

from pathlib import Path

import pytest

from tuner.core.errors import TunerError
from tuner.export.staged import staged


def test_files_take_their_places_at_the_end_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "package"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "old.so").write_text("old")
    (folder / "lib" / "mine.txt").write_text("mine")
    with staged(folder) as fresh:
        (fresh / "lib").mkdir()
        (fresh / "lib" / "old.so").write_text("new")
        (fresh / "share").mkdir()
        (fresh / "share" / "x.json").write_text("{}")
        assert (folder / "lib" / "old.so").read_text() == "old"
    found = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert found == {"lib/old.so": "new", "lib/mine.txt": "mine", "share/x.json": "{}"}
    assert sorted(p.name for p in folder.iterdir()) == ["lib", "share"]


def test_a_file_in_place_of_the_folder_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "package").write_text("mine")
    refused = pytest.raises(TunerError, match=r"/package cannot be written: it is a file")
    with refused, staged(tmp_path / "package"):
        pass
    assert (tmp_path / "package").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "there" / "package"
    with pytest.raises(OSError, match="No space"), staged(folder) as fresh:
        (fresh / "lib.so").write_text("half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
