"""What a process says that waits for a device's lock: one line, after a second, with who holds it.

Linux lists all held locks in `/proc/locks`, a line each: number, `FLOCK`, `ADVISORY`, `READ` or `WRITE`, the
process, the file as major:minor:inode (devices in hexadecimal), and the range; a second word `->` marks one
that waits (proc_locks(5)). Where that file is missing, or lists nobody (the holder is in another PID
namespace), the line names nobody.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_QUIET_S = 1.0
_LONGEST = 80
_PROC = Path("/proc")
_said: set[str] = set()
_saying = threading.Lock()


def holders(descriptor: int, proc: Path = _PROC) -> list[int] | None:
    """The processes that hold `flock` locks on an open file, this one among them; `None` if not known."""
    found = os.fstat(descriptor)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        lines = (proc / "locks").read_text().splitlines()
    except OSError:
        return None
    rows = (line.split() for line in lines)
    pids = {int(row[4]) for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == file}
    return sorted(pids) or None


def command(pid: int, proc: Path = _PROC) -> str:
    """A process's command line, cut to 80 characters; empty where it cannot be read.

    Addresses are left out: a database's may hold a password.
    """
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
    except OSError:
        return ""
    line = " ".join("..." if "://" in word else word for word in words)
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 4] + " ..."


@contextmanager
def telling(descriptor: int, quiet_s: float = _QUIET_S) -> Iterator[None]:
    """While the block waits for the lock of an open file, standard error gets a line after `quiet_s` seconds.

    Nothing is said of this process's own builds and measurements, nor twice of the same holder.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(quiet_s):
            pids = holders(descriptor)
            others = None if pids is None else [pid for pid in pids if pid != os.getpid()]
            if others == []:
                continue
            _say(_line(others))
            return

    watcher = threading.Thread(target=look, name="lock-wait", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _line(pids: list[int] | None) -> str:
    if not pids:
        return "waiting for the device: another process measures or builds there"
    told = f" ({text})" if (text := command(pids[0])) else ""
    more = f" and {len(pids) - 1} more" if len(pids) > 1 else ""
    verb = "measure or build" if more else "measures or builds"
    return f"waiting for the device: process {pids[0]}{told}{more} {verb} there"


def _say(line: str) -> None:
    with _saying, suppress(OSError, ValueError):  # nobody reads standard error, or it is closed
        if line not in _said:
            _said.add(line)
            print(line, file=sys.stderr, flush=True)
