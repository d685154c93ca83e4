"""The cache: an entry is whole or made anew, whoever damaged it and whoever makes it at the same time."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.core.cache import cache_folder, entry, is_whole, newest
from tuner.core.compiled import already_compiled, compiled
from tuner.core.errors import BuildError, Unavailable

FLAGS = ("-std=c++17", "-c")


def fill(folder: Path) -> None:
    (folder / "kernel.so").write_bytes(b"\x7fELF" + b"code" * 1000)
    (folder / "artifact.json").write_text('{"path": "kernel.so"}')
    (folder / "deep").mkdir()
    (folder / "deep" / "notes").write_text("n")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def gone(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, empty, changed, gone, a_folder])
@pytest.mark.parametrize("name", ["kernel.so", "artifact.json", "manifest.json", "deep/notes"])
def test_a_damaged_entry_is_made_anew(name: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    place = entry(tmp_path / "kernels" / "one", fill)
    assert is_whole(place)
    damage(place / name)
    assert not is_whole(place) and newest(place.parent, "on") is None
    assert is_whole(entry(place, fill))
    assert sorted(p.name for p in place.parent.iterdir()) == [".lock", "one"]


@pytest.mark.parametrize(
    "text",
    ["[]", '{"files": {}}', '{"files": {"kernel.so": 3}}', "\xff", pytest.param("[" * 100_000, id="deep")],
)
def test_a_manifest_of_nonsense_is_a_damaged_entry(text: str, tmp_path: Path) -> None:
    place = entry(tmp_path / "one", fill)
    (place / "manifest.json").write_bytes(text.encode("latin-1"))
    assert not is_whole(place)
    assert is_whole(entry(place, fill))


def test_a_file_or_a_dead_link_in_its_place_gives_way(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("")
    (tmp_path / "two").symlink_to(tmp_path / "nowhere")
    assert is_whole(entry(tmp_path / "one", fill)) and is_whole(entry(tmp_path / "two", fill))


def test_what_cannot_be_filled_leaves_nothing_and_the_error_is_its_own(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("")
        raise BuildError("error: no")

    with pytest.raises(BuildError, match="error: no"):
        entry(tmp_path / "kernels" / "one", fails)
    assert list((tmp_path / "kernels").iterdir()) == []


def test_whole_entries_are_not_filled_again(tmp_path: Path) -> None:
    place = entry(tmp_path / "one", fill)
    entry(place, lambda folder: pytest.fail("filled again"))


def _served_whole(place: Path, start: Any) -> None:
    start.wait()
    os._exit(0 if is_whole(entry(place, fill)) and is_whole(place) else 1)


def test_processes_that_fill_one_entry_at_once_all_get_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    place = tmp_path / "kernels" / "one"
    for damage in (None, cut, None):  # the last time it is whole already
        if damage:
            damage(place / "kernel.so")
        start = context.Event()
        processes = [context.Process(target=_served_whole, args=(place, start)) for _ in range(6)]
        for process in processes:
            process.start()
        start.set()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 6
        assert sorted(p.name for p in place.parent.iterdir()) == [".lock", "one"]


def test_a_repair_does_not_take_away_what_another_repaired(tmp_path: Path) -> None:
    place = entry(tmp_path / "one", fill)
    gone(place / "kernel.so")

    def slower(folder: Path) -> None:
        entry(place, fill)  # another process saw the damage too, and is first
        before.append((place / "kernel.so").stat().st_ino)
        fill(folder)

    before: list[int] = []
    entry(place, slower)
    assert (place / "kernel.so").stat().st_ino == before[0]


@pytest.mark.parametrize("reason", ["a file is in the way", "a folder that refuses"])
def test_an_unwritable_cache_names_the_variable_in_one_line(reason: str, tmp_path: Path) -> None:
    parent = tmp_path / "home"
    if reason == "a file is in the way":
        parent.write_text("")
    else:
        parent = Path("/proc/1/fdinfo")  # refuses new files whoever asks, root too
    with pytest.raises(Unavailable, match=r"cannot be written \(.+\): set TUNER_CACHE") as caught:
        entry(parent / "kernels" / "one", fill)
    assert "\n" not in str(caught.value) and str(parent) in str(caught.value)


def test_a_cache_that_cannot_be_written_still_serves_what_it_has(tmp_path: Path) -> None:
    place = entry(tmp_path / "kernels" / "one", fill)
    place.parent.chmod(0o500)
    try:
        assert entry(place, lambda folder: pytest.fail("filled again")) == place
    finally:
        place.parent.chmod(0o700)


def test_no_home_and_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("TUNER_CACHE", raising=False)
    with pytest.raises(Unavailable, match="set TUNER_CACHE"):
        cache_folder()


def test_a_damaged_helper_is_compiled_again_and_a_whole_one_needs_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuner.core import compiled as module

    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "helper.cpp"
    source.write_text('extern "C" int one() { return 1; }')
    made = compiled(source, FLAGS, ".o")
    content = made.read_bytes()
    for damage in (cut, empty, gone):
        damage(made)
        assert already_compiled(source, FLAGS, ".o") is None
        assert compiled(source, FLAGS, ".o").read_bytes() == content
    monkeypatch.setattr(module, "find_compiler", lambda: None)
    monkeypatch.setattr(module, "require_compiler", lambda: pytest.fail("asked for a compiler"))
    assert compiled(source, FLAGS, ".o") == made
