"""Which process runs a sweep: a killed one leaves `running` behind, and only a live one is left alone.

An owner is the text `host#boot#namespace:pid:start`. The boot id and the namespace of process ids say whether
this process can look the owner up: two containers may share a host name, and a process id of another of them
means nothing here. Databases of schema 0006 and older hold `host:pid:start`.
"""

import os
import platform
from functools import cache
from pathlib import Path


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot, or an empty text where that cannot be told."""
    try:
        # proc(5): field 22; the command in parentheses before may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


@cache
def this_host() -> str:
    """The name of this host, for people."""
    return platform.node()


@cache
def _this_kernel() -> str:
    """The boot of this host and the namespace its process ids are of; parts that cannot be told are empty."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        namespace = ""
    return f"{boot}#{namespace}"


def this_process() -> str:
    """This process as an owner, the start telling a process from a later one of the same number."""
    pid = os.getpid()
    return f"{this_host()}#{_this_kernel()}:{pid}:{_started(pid)}"


def _parts(owner: str) -> tuple[str, str, str, str]:
    """Host name, boot and namespace (empty in old owners), process id and start."""
    where, _, rest = owner.rpartition(":")[0].rpartition(":")
    host, _, kernel = where.partition("#")
    return host, kernel, rest, owner.rpartition(":")[2]


def host_of(owner: str) -> str:
    """The name of the owner's host, for people; empty for an owner that is not known."""
    return _parts(owner)[0]


def on_this_host(owner: str) -> bool:
    """Whether the owner is, or was, a process that `is_alive` can tell of.

    One of another boot is not: it may be of another machine of this name.
    """
    host, kernel, _, _ = _parts(owner)
    return host == this_host() and kernel in ("", _this_kernel())


def is_alive(owner: str) -> bool:
    """Whether the owner is another process of this host that still runs."""
    _, _, pid, start = _parts(owner)
    if not on_this_host(owner) or not pid.isdigit() or owner == this_process():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and somebody else's
    return _started(int(pid)) == start
