"""Temporary folders that somebody removes: their owner, or after `kill -9` of it whoever makes the next one.

A folder's owner holds a lock on a file in it. The lock ends with the process, whatever ended it, and is seen
across PID namespaces (containers that share a temporary directory), where a process id would mean nothing.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "tuner-"
_OWNER = ".owner"


class Scratch:
    """A temporary folder, removed by `close`; a context manager that gives its path.

    Args:
        kind: follows `tuner-` in its name.

    Attributes:
        path: of the folder, readable by this user alone.
    """

    def __init__(self, kind: str = "") -> None:
        remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX + kind))
        # The owner file is locked before it has its name, so that the folder never looks abandoned.
        making = self.path / f"{_OWNER}-"
        try:
            self._owner = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)  # no space, no inodes
            raise
        with contextlib.suppress(OSError):  # a file system without locks: nobody else removes the folder then
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            making.rename(self.path / _OWNER)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1


def remove_abandoned() -> None:
    """Removes the folders of owners that are dead: this user's, in the temporary directory."""
    for folder in _mine():
        try:
            owner = os.open(folder / _OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # somebody is making it, or it is not one of these
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its owner lives
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(owner)


def _mine() -> Iterator[Path]:
    try:
        with os.scandir(tempfile.gettempdir()) as entries:
            names = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):
            found = os.lstat(name)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                yield Path(name)
