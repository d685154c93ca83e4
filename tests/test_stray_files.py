"""Stray files in plug-in folders: each is listed with the reason, all else works, and nothing hangs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import python_path
from tuner import registry
from tuner.core.errors import InvalidSpace
from tuner.core.found_files import MOST_BYTES, UnreadableFile, files_below, read_file

ROOT = Path(__file__).resolve().parent.parent
GOOD = """/*[tuner]
name = "{name}"
operator = "gemm"
entry = "gemm"
arguments = ["A", "B", "D", "m", "n", "k"]
{launch}*/
{body}
"""
LAUNCH = '[launch]\ngrid = ["1"]\nblock = ["1"]\n'
PYTHON = """
from tuner.core.kernel import Kernel
from tuner.core.space import SearchSpace
class Plug(Kernel):
    name, operator, language, summary, dtypes = "plug_py", "gemm", "cxx", "", ("f32",)
    def space(self, workload, target): return SearchSpace()
    def lower(self, workload, config, target): ...
"""


def text(suffix: str, name: str, body: str = "int x;") -> str:
    if suffix == ".py":
        return PYTHON.replace("plug_py", name)
    return GOOD.format(name=name, launch=LAUNCH if suffix == ".cu" else "", body=body)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"#/*[tuner]\n")
        file.truncate(MOST_BYTES + 1)


def link(target: str):
    return lambda path: path.symlink_to(target)


def write(content: str | bytes):
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


# What each stray path is, and what is said of it.
STRAY = {
    "folder": (Path.mkdir, "a folder, not a file"),
    "pipe": (os.mkfifo, "a pipe, not a file"),
    "device": (link("/dev/zero"), "a device, not a file"),
    "dangling": (link("nothing"), "a link to nothing"),
    "loop": (link("loop{suffix}"), "a link to nothing, or to itself"),
    "huge": (huge, "more than 16 MiB"),
}
# Of source files: (text, reason).
BROKEN_SOURCES = {
    "latin": (text(".cpp", "latin").encode() + b"// \xe9", "cannot be read: 'utf-8'"),
    "syntax": (b"/*[tuner]\nname = \n*/", "not TOML"),
    "deep": (b"/*[tuner]\nx = " + b"[" * 100_000 + b"\n*/", "RecursionError|not TOML"),
    "endless": (text(".cpp", "endless", '#include "/dev/zero"').encode(), "a device, not a file"),
    "waits": (text(".cpp", "waits", '#include "pipe.cpp"').encode(), "a pipe, not a file"),
    "heavy": (text(".cpp", "heavy", "#include <huge.cpp>").encode(), "more than 16 MiB"),
}
BROKEN_PYTHON = {
    "syntax": (b"def f(:\n", "SyntaxError"),
    "latin": (b"x = '\xe9'\n", "SyntaxError"),
    "leaves": (b"import sys\nsys.exit(3)\n", "SystemExit: 3"),
    "raises": (b"raise RuntimeError('two\\nlines')\n", "RuntimeError: two"),
    "quits": (
        PYTHON.replace("plug_py", "q").encode() + b"    def __init__(self): raise SystemExit(0)\n",
        "Plug: SystemExit: 0",
    ),
    "constructor": (
        PYTHON.replace("plug_py", "c").encode() + b"    def __init__(self): raise OSError('no')\n",
        "Plug: OSError: no",
    ),
    "space": (PYTHON.replace("plug_py", "bad_space").replace("SearchSpace()", "1 // 0").encode(), None),
    "unfinished": (PYTHON.replace(", summary,", ", x,").replace("plug_py", "u").encode(), "has no summary"),
}  # fmt: skip
HIDDEN = {".#lock": link("user@host.1234:1700000000"), ".copy": write("/*[tuner]\nbroken\n*/")}


def test_a_plugin_that_would_end_a_command_is_named(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def stop():\n    raise KeyboardInterrupt\n")
    (tmp_path / "stops.py").write_text("import helper\nhelper.stop()\n")
    done = tuner(["kernels", "gemm"], tmp_path)
    assert done.returncode == 2
    assert f"the plug-in {tmp_path / 'stops.py'} raised KeyboardInterrupt" in done.stderr
    (tmp_path / "stops.py").write_text(
        PYTHON.replace("plug_py", "c") + "    def unsupported(self, workload, target): raise SystemExit(0)\n"
    )
    done = tuner(["kernels", "gemm"], tmp_path)
    assert done.returncode == 2
    assert f"plug-in {tmp_path / 'stops.py'}, line 8, ended the command (SystemExit)" in done.stderr


def tuner(words: list[str], plugins: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "TUNER_PLUGINS": str(plugins), "PYTHONPATH": python_path(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "tuner", *words], cwd=plugins, env=environment, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def plant(folder: Path) -> dict[str, str]:
    """Fills a folder with every kind of stray file, and with good ones: broken path -> reason."""
    expected = {}
    for suffix in (".cpp", ".cu", ".py"):
        for kind, (make, reason) in STRAY.items():
            path = folder / f"{kind}{suffix}"
            if kind == "loop":
                path.symlink_to(path.name)
            else:
                make(path)
            expected[str(path)] = reason
        for name, make in HIDDEN.items():
            make(folder / f"{name}{suffix}")
        stem = f"good_{suffix[1:]}"
        (folder / f"{stem}{suffix}").write_text(text(suffix, stem))
        broken = BROKEN_PYTHON if suffix == ".py" else BROKEN_SOURCES
        for name, (content, reason) in broken.items():
            path = folder / f"bad_{name}{suffix}"
            if suffix == ".cu":
                content = content.replace(b'"]\n*/', b'"]\n' + LAUNCH.encode() + b"*/")
            path.write_bytes(content)
            if reason is not None:
                expected[str(path)] = reason
    # Not a reason to be broken: compilers read comments in any encoding.
    (folder / "latin.h").write_bytes(b"// caf\xe9\n")
    (folder / "good_latin.cpp").write_text(text(".cpp", "good_latin", '#include "latin.h"'))
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "bad.cpp").write_text("/*[tuner]\nbroken\n*/")
    return expected


def test_every_kind_of_stray_file_is_listed_and_all_else_works(tmp_path: Path) -> None:
    expected = plant(tmp_path)
    done = tuner(["kernels", "--json"], tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    names = {row["kernel"] for row in told["kernels"]}
    assert {"good_cpp", "good_cu", "good_py", "good_latin", "cpp_packed"} <= names
    broken = next(row for row in told["kernels"] if row["kernel"] == "bad_space")
    assert broken["unavailable"].startswith("ZeroDivisionError: ")
    assert set(told["broken"]) == set(expected)
    for path, reason in expected.items():
        said = told["broken"][path]
        assert re.search(reason, said) and "\n" not in said, (path, said)


@pytest.mark.parametrize(
    "words", [["best"], ["kernels", "--searchers"], ["sweep", "--help"], ["kernels", "gemm"]]
)
def test_no_command_minds_them(words: list[str], tmp_path: Path) -> None:
    plant(tmp_path)
    done = tuner(words, tmp_path)
    assert done.returncode == (2 if words == ["best"] else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_may_not_be_read_is_listed(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "a.cpp").write_text("x")
    (tmp_path / "b.cpp").write_text("x")
    locked.chmod(0)
    (tmp_path / "b.cpp").chmod(0)
    tmp_path.chmod(0o755)
    before = os.geteuid()
    for parent in tmp_path.parents:
        if before == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    unread: dict[Path, str] = {}
    if before == 0:
        os.seteuid(65534)
    try:
        assert list(files_below(tmp_path, (".cpp",), unread)) == [tmp_path / "b.cpp"]
        with pytest.raises(UnreadableFile, match="cannot be read: Permission denied"):
            read_file(tmp_path / "b.cpp")
        with pytest.raises(InvalidSpace, match="Permission denied"):
            registry.source_kernel(tmp_path / "b.cpp")
    finally:
        os.seteuid(before)
        locked.chmod(0o700)
    assert list(unread) == [locked] and "Permission denied" in unread[locked]
