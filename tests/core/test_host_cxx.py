"""The host's compiler: `$CXX` with its arguments is honoured, or refused by name."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import python_path
from tuner import registry
from tuner.builders.emulator.cuda_emulated import find_gcc
from tuner.core import host_cxx
from tuner.core.compiled import compiled
from tuner.core.errors import Unavailable
from tuner.devices.cpu.device import CpuDevice, named_targets

ROOT = Path(__file__).resolve().parents[2]
GCC = shutil.which("g++") or shutil.which("c++")
TARGET = named_targets()["cpu:avx2"]
pytestmark = pytest.mark.skipif(GCC is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    host_cxx.forget_compiler()
    yield
    host_cxx.forget_compiler()


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no-such-compiler", "there is no program no-such-compiler"),
        ("no-such-compiler -O2", "there is no program no-such-compiler"),
        ("/bin/true", "does not compile an empty file: no object file"),
        ("/bin/false", "does not say its version"),
        ("/bin/cat", "does not compile an empty file"),
        ('g++ "-O2', "is no command"),
        ("/etc/passwd", "there is no program /etc/passwd"),
        ("/tmp", "there is no program /tmp"),
        (f"{GCC} -no-such-option", "does not compile an empty file"),
    ],
)
def test_what_is_no_compiler_is_refused_by_name(value: str, reason: str, monkeypatch) -> None:
    monkeypatch.setenv("CXX", value)
    with pytest.raises(Unavailable) as refused:
        host_cxx.require_compiler()
    text = str(refused.value)
    assert f"CXX={value!r}" in text and reason in text and "\n" not in text
    # Whoever compiles says the same: nobody takes another compiler in silence.
    assert text == host_cxx.missing_compiler() == CpuDevice.unavailable()
    assert text == registry.builder("cxx").unavailable()


def test_a_compiler_that_never_answers_is_refused(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(host_cxx, "_ANSWER_S", 0.2)
    monkeypatch.setenv("CXX", str(script(tmp_path / "slow", "exec sleep 60")))
    assert "does not answer within" in str(host_cxx.missing_compiler())


def test_an_empty_cxx_is_none(monkeypatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    plain = host_cxx.find_compiler()
    for value in ("", "  "):
        monkeypatch.setenv("CXX", value)
        host_cxx.forget_compiler()
        assert host_cxx.find_compiler() == plain


def test_its_arguments_are_on_every_command_line(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    log = tmp_path / "a log"
    wrapper = script(tmp_path / "a compiler", f'echo "$@" >> "{log}"; exec {GCC} "$@"')
    monkeypatch.setenv("CXX", f"'{wrapper}' -DFROM_CXX='two words'")
    source = tmp_path / "helper.cpp"
    source.write_text("#ifndef FROM_CXX\n#error the arguments are gone\n#endif\n")
    compiled(source, ("-std=c++17", "-c"), ".o")
    kernel = registry.kernel("cpp_naive")
    workload = registry.operator("gemm").parse("8x8x8")
    config = kernel.space(workload, TARGET).at(0)
    registry.builder("cxx").build(kernel.lower(workload, config, TARGET), TARGET, tmp_path)
    lines = log.read_text().splitlines()
    assert len(lines) >= 4 and all("-DFROM_CXX=two words" in line for line in lines)


@pytest.mark.parametrize("builder", sorted({"cxx", "tensorir", "cuda_emulated"}))
def test_its_text_belongs_to_the_toolchain(builder: str, monkeypatch, tmp_path) -> None:
    if reason := registry.builder(builder).unavailable():
        pytest.skip(reason)
    monkeypatch.delenv("CXX", raising=False)
    wrapper = script(tmp_path / "g++", f'exec {GCC} "$@"')

    def digest(value: str) -> str:
        monkeypatch.setenv("CXX", value)
        host_cxx.forget_compiler()
        find_gcc.cache_clear()
        return registry.builder(builder).toolchain(TARGET).digest

    plain = digest("")
    assert digest(Path(host_cxx.require_compiler()[0]).name) == plain, "the name that is found anyway"
    assert digest(str(GCC)) == plain, "the path that is found anyway"
    others = [digest(f"{GCC} -O2"), digest(f"{GCC} -O1"), digest(str(wrapper)), digest(f"env {GCC}")]
    assert len({plain, *others}) == 5


@pytest.mark.parametrize("words", [["sweep", "gemm", "--shape", "8x8x8", "--trials", "1"]])
def test_the_command_line_says_it_in_one_line(words: list[str], tmp_path) -> None:
    environment = {
        **os.environ,
        "CXX": "/bin/true",
        "PYTHONPATH": python_path(ROOT),
        "TUNER_DB": str(tmp_path / "x.db"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *words], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert "CXX='/bin/true' is no C++ compiler" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
