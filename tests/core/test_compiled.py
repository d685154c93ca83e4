"""Helpers of ours are compiled once into the cache folder."""

from pathlib import Path

import pytest

from tuner.core import compiled as module
from tuner.core.compiled import compiled
from tuner.core.errors import BuildError

FLAGS = ("-std=c++17", "-c")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))


def test_it_is_compiled_once_for_each_text_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    run = module.run_compiler
    monkeypatch.setattr(module, "run_compiler", lambda *a: runs.append(a) or run(*a))
    source = tmp_path / "helper.cpp"
    source.write_text('extern "C" int one() { return 1; }')
    first = compiled(source, FLAGS, ".o")
    assert compiled(source, FLAGS, ".o") == first and len(runs) == 1
    assert first.read_bytes().startswith(b"\x7fELF")
    assert compiled(source, (*FLAGS, "-O2"), ".o") != first
    source.write_text('extern "C" int one() { return 2; }')
    assert compiled(source, FLAGS, ".o") != first
    assert len(runs) == 3


def test_what_does_not_compile_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "broken.cpp"
    source.write_text("int one( {")
    with pytest.raises(BuildError, match="error"):
        compiled(source, FLAGS, ".o")
    assert list((tmp_path / "cache" / "runtime").iterdir()) == []
