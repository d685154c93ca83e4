"""docs/new-kernel.md, new-device.md, new-builder.md and new-searcher.md, tried literally.

The device's page is also the proof that a kind of device and of target is a plug-in.
"""

import json
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.pages import ROOT, Page, tuner
from tuner import registry
from tuner.core.host_cxx import find_compiler

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


def missing(name: str) -> str | None:
    return registry.builder(name).unavailable()


# (page, what distinguishes some of its commands, why they cannot be run here).
CASES = [
    pytest.param("new-kernel", "my_rows", None, id="cpp"),
    pytest.param("new-kernel", "my_threads", missing("nvrtc"), id="cuda"),
    pytest.param(
        "new-kernel",
        "my_triton",
        missing("triton") or (None if find_spec("torch") else "no torch"),
        id="triton",
        marks=pytest.mark.slow,
    ),
    pytest.param("new-kernel", "my_tensorir", missing("tensorir"), id="tensorir", marks=pytest.mark.slow),
    pytest.param("new-builder", "", None, id="builder"),
    pytest.param("new-searcher", "", None, id="searcher"),
    # Its plug-in is tried below.
    pytest.param("new-device", "", None, id="device", marks=pytest.mark.slow),
]


@needs_compiler
@pytest.mark.parametrize(("name", "word", "reason"), CASES)
def test_the_page_s_commands_work_on_the_page_s_files(
    name: str, word: str, reason: str | None, tmp_path: Path
) -> None:
    if reason:
        pytest.skip(reason)
    page = Page.of(name)
    plugins = page.write(tmp_path)
    commands = [command for command in page.commands if word in command]
    assert commands
    for command in commands:
        done = tuner(shlex.split(command), plugins, tmp_path)
        assert done.returncode == 0, f"tuner {command}\n{done.stdout}\n{done.stderr}"


def test_every_command_of_a_page_is_tried() -> None:
    """A command that no case's word is in would be run by nobody."""
    for name in {str(case.values[0]) for case in CASES}:
        words = [str(case.values[1]) for case in CASES if case.values[0] == name]
        assert all(any(word in command for word in words) for command in Page.of(name).commands), name


@needs_compiler
def test_a_kind_of_device_and_of_target_is_a_plug_in(tmp_path: Path) -> None:
    page = Page.of("new-device")
    plugins = page.write(tmp_path)

    def answer(*words: str) -> dict[str, object]:
        done = tuner([*words, "--json"], plugins, tmp_path)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        found: dict[str, object] = json.loads(done.stdout)
        return found

    where = ("--device", "interpreter", "--trials", "2", "--rounds", "0")
    swept = answer("sweep", "gemm", "--shape", "24x20x16", *where)
    assert set(swept["sweeps"]) == {"python_rows"}  # type: ignore[call-overload]
    best = json.dumps(answer("best", "gemm"))
    assert "python_rows" in best and "CPython" in best and "numpy" not in best
    checked = answer("check", "python_rows", "--shape", "5x4x3")
    assert checked["target"].startswith("python3:")  # type: ignore[attr-defined]
    assert [r["status"] for r in checked["results"]] == ["ok"]  # type: ignore[attr-defined]
    # Its kernels are nobody else's, and what is nobody's is refused in words.
    done = tuner(["sweep", "gemm", "--shape", "8x8x8", "--kernel", "python_rows"], plugins, tmp_path)
    assert done.returncode == 2 and "python_rows" in done.stderr and "Traceback" not in done.stderr
    sweep = ["sweep", "gemm", "--shape", "8x8x8"]
    done = tuner([*sweep, "--target", "python3", "--no-device"], plugins, tmp_path)
    assert done.returncode == 2 and "model" in done.stderr and "Traceback" not in done.stderr
    done = tuner([*sweep, "--target", "python3:py2"], plugins, tmp_path)
    assert done.returncode == 2 and "python3:py" in done.stderr and "Traceback" not in done.stderr


def test_pages_lead_to_each_other() -> None:
    """A how-to that nothing links to is not found."""
    linking = (ROOT / "ARCHITECTURE.md").read_text()
    for page in (ROOT / "docs").glob("new-*.md"):
        assert f"docs/{page.name}" in linking
