"""docs/new-operator.md, tried literally: its files in a folder of their own, its commands in a shell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.core.host_cxx import find_compiler

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "new-operator.md").read_text()
ROOT = Path(__file__).resolve().parents[2]


def blocks(kind: str) -> dict[str, str]:
    """Blocks of code whose first line names a file: name -> text."""
    return dict(re.findall(rf"^```{kind} (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "my_kernels"
    folder.mkdir()
    for kind in ("python", "cpp"):
        for name, text in blocks(kind).items():
            (folder / name).write_text(text)
    assert {path.name for path in folder.iterdir()} == {"rows_softmax.py", "rows_softmax.cpp"}
    return folder


def tuner(words: list[str], plugins: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ, "TUNER_PLUGINS": str(plugins), "TUNER_DB": str(folder / "r.db"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "tuner", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_page_s_commands_work_on_the_page_s_files(plugins: Path, tmp_path: Path) -> None:
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    for name, text in blocks("toml").items():
        (tmp_path / name).write_text(text)
    commands = re.findall(r"^tuner (.*)$", PAGE, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["sweep", "best", "compare"]
    for command in commands:
        done = tuner(command.split(), plugins, tmp_path)
        assert done.returncode == 0, f"tuner {command}\n{done.stdout}\n{done.stderr}"
    found = json.loads(tuner(["best", "rows_softmax", "--json"], plugins, tmp_path).stdout)
    text = json.dumps(found)
    assert "rows_softmax_cpp" in text and "rows_softmax_numpy" in text
    assert "rows256-columns1000" in text and "rows64-columns77" in text
    assert list((tmp_path / "results").glob("rows_softmax*/*.png"))


def test_what_cannot_be_loaded_is_listed_with_its_reason(plugins: Path, tmp_path: Path) -> None:
    (plugins / "wrong.py").write_text("import no_such_library\n")
    (plugins / "json.py").write_text("")
    done = tuner(["kernels"], plugins, tmp_path)
    shown = done.stdout + done.stderr
    assert done.returncode == 0 and "rows_softmax_cpp" in shown
    assert "no_such_library" in shown and "another module json" in " ".join(shown.split())
