"""What tests of the machine's faults share: small file systems, and the command line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TUNER = [sys.executable, "-m", "tuner"]
SWEEP = ["sweep", "gemm", "--shape=32x32x32", "--no-baselines", "--rounds=0", "--searcher=random"]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Any]:
    """Mounts a small file system in memory with options of the caller."""
    made: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"mount{len(made)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("no mount command")
        if done.returncode:
            pytest.skip(f"no mount here: {done.stderr.strip()}")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def tuner(arguments: list[str], tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TUNER, *arguments, "--db", str(tmp_path / "results.db")],
        env={**os.environ, **environment}, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
