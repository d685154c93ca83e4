"""Before a sweep: limits that are too small, folders that nothing runs from or that are full."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import SWEEP, mounted, tuner

__all__ = ["mounted"]


def limited(script: str, kind: int, value: int) -> subprocess.CompletedProcess[str]:
    def lower() -> None:
        resource.setrlimit(kind, (value, value))

    return subprocess.run([sys.executable, "-c", script], preexec_fn=lower, capture_output=True, text=True)


def test_limits_are_the_smaller_of_wanted_and_allowed() -> None:
    script = """
import resource
from tuner.engine.processes.limits import Limits, limit_this_process
from tuner.engine.processes import machine_faults
limit_this_process(Limits(2**40, 2**31))
print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0])
print(machine_faults.of_exception(MemoryError()) is not None)
"""
    done = limited(script, resource.RLIMIT_AS, 2**33)
    assert done.stdout.split() == [str(2**33), str(2**31), "True"], done.stderr
    done = limited(script.replace("2**40", "2**30"), resource.RLIMIT_FSIZE, 2**20)
    assert done.stdout.split()[1:] == [str(2**20), "False"], done.stderr


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [(resource.RLIMIT_AS, 2**31, "ulimit -v"), (resource.RLIMIT_NOFILE, 32, "ulimit -n")],
)
def test_a_limit_that_is_too_small_is_one_line_before_anything_starts(
    kind: int, value: int, word: str
) -> None:
    script = """
from tuner.core.errors import MachineFault
from tuner.engine.processes.preflight import prepared_scratch
try: prepared_scratch(2)
except MachineFault as error: print(error)
"""
    done = limited(script, kind, value)
    assert word in done.stdout and done.stdout.count("\n") == 1, done.stderr


@pytest.mark.parametrize("variable", ["TMPDIR", "TUNER_CACHE"])
def test_a_folder_that_nothing_runs_from(mounted: Any, tmp_path: Path, variable: str) -> None:
    folder = mounted("noexec,size=64m")
    done = tuner([*SWEEP, "--kernel=cpp_naive", "--trials=2"], tmp_path, **{variable: str(folder)})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "noexec" in done.stderr and variable in done.stderr
    assert not (tmp_path / "results.db").exists()
    assert list(folder.iterdir()) == []


def test_a_temporary_folder_without_space(mounted: Any, tmp_path: Path) -> None:
    folder = mounted("size=160k")
    done = tuner([*SWEEP, "--kernel=cpp_naive", "--trials=2"], tmp_path, TMPDIR=str(folder))
    assert done.returncode == 2
    assert "MiB free" in done.stderr and "TMPDIR" in done.stderr and done.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []
