"""Waiting for what other processes do, and seeing which of them still run."""

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest


def python_path(*folders: object) -> str:
    """A PYTHONPATH of these folders, before those of this process: packages may be found by it alone."""
    return os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))


def wait_until(
    condition: Callable[[], object], seconds: float, process: "subprocess.Popen[str] | None" = None
) -> None:
    """Until the condition holds. The test fails after so many seconds, or when the process ends before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except psutil.NoSuchProcess:
            pass  # it ended while it was looked at
        if process is not None and process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}: {process.communicate()}")
        time.sleep(0.02)
    pytest.fail(f"it did not happen within {seconds:g} s")


def family(pid: int) -> set[psutil.Process]:
    """The children of a process and theirs; none of one that is gone."""
    try:
        return set(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended: one that ended and that nobody has waited for is over too."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def noted(file: Path) -> list[int]:
    """Those of the process ids in a file, one a line, that still run."""
    found = []
    for number in map(int, file.read_text().split()) if file.exists() else ():
        try:
            found += running([psutil.Process(number)])
        except psutil.NoSuchProcess:
            pass
    return [process.pid for process in found]
