"""Which process runs a sweep: a killed one leaves `running` behind, and only a live one is left alone."""

import os
import platform
from pathlib import Path


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot, or an empty text where that cannot be told."""
    try:
        # proc(5): field 22; the command in parentheses before may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def this_process() -> str:
    """`host:pid:start`, the start telling a process from a later one of the same number."""
    pid = os.getpid()
    return f"{platform.node()}:{pid}:{_started(pid)}"


def on_this_host(owner: str) -> bool:
    """Whether the owner is, or was, a process of this host, so that `is_alive` can tell."""
    return owner.rpartition(":")[0].rpartition(":")[0] == platform.node()


def is_alive(owner: str) -> bool:
    """Whether the owner is another process of this host that still runs."""
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    start = owner.rpartition(":")[2]
    if host != platform.node() or not rest.isdigit() or owner == this_process():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and somebody else's
    return _started(int(rest)) == start
