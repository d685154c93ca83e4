"""Which state of the lab's own files runs: its version, and of a checkout the commit and what differs
from it."""

import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 10.0


@cache
def lab_state() -> dict[str, Any]:
    """`version`, and `git`: `commit`, `changed` (files), `diff` (a digest of the changes); `None` off a
    checkout.

    Asked once a process. Untracked files are listed as changed, and are no part of the digest.
    """
    # By its name: an import would go round in a circle.
    return {"version": str(sys.modules["tuner"].__version__), "git": _git()}


def _git() -> dict[str, Any] | None:
    if not (_ROOT / ".git").exists():
        return None
    commit, status, diff = (_ask(*words) for words in (
        ("rev-parse", "HEAD"), ("status", "--porcelain"), ("diff", "HEAD", "--no-ext-diff", "--no-textconv"),
    ))  # fmt: skip
    if commit is None or status is None or diff is None:
        return None
    changed = sorted(line[3:] for line in status.splitlines() if len(line) > 3)
    digest = hashlib.sha256(diff.encode()).hexdigest()[:16] if diff else ""
    return {"commit": commit.strip(), "changed": changed[:50], "diff": digest}


def _ask(*words: str) -> str | None:
    """What git says of the lab's folder; `None` where there is no git, or it refuses."""
    # A file system monitor is a program that the repository's settings name: nothing of the kind is started.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(_ROOT), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
