"""Waiting for the write lock of a SQLite file: long, in slices that Ctrl-C can end, with a word about it."""

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tuner.core.errors import StoreError

VARIABLE = "TUNER_LOCK_WAIT"
READS_S = 10.0
WRITES_S = 300.0
_SAY_AFTER_S = 3.0
_SLICE_S = 1.0


def waits(timeout_s: float | None) -> tuple[float, float]:
    """Seconds to wait for a lock: of reads, of writes.

    Args:
        timeout_s: for both; `None` for the defaults, of writes `$TUNER_LOCK_WAIT`.

    Raises:
        StoreError: the variable is no number of seconds.
    """
    if timeout_s is not None:
        return timeout_s, timeout_s
    asked = os.environ.get(VARIABLE, "").strip()
    if not asked:
        return READS_S, WRITES_S
    try:
        seconds = float(asked)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise StoreError(f"{VARIABLE}={asked!r} is not a number of seconds: give one such as 300")
    return min(READS_S, seconds), seconds


class LockWait:
    """Begins write transactions of one database.

    Attributes:
        name: of the database, for people.
        reads_s, writes_s: how long to wait for a lock.
        note: told, once, when the lock has been waited for a few seconds; prints on stderr unless set.
    """

    def __init__(self, reads_s: float, writes_s: float) -> None:
        self.name = ""
        self.reads_s, self.writes_s = reads_s, writes_s
        self.note: Callable[[str], None] = _on_stderr
        self._said = False

    @contextmanager
    def noted_by(self, note: Callable[[str], None]) -> Iterator[None]:
        """Has `note` told within; whoever was told before is told afterwards."""
        before, self.note = self.note, note
        try:
            yield
        finally:
            self.note = before

    def begin(self, connection: Any) -> None:
        """`BEGIN IMMEDIATE` on a connection of sqlite3, which waits for the lock of another process.

        Raises:
            sqlite3.OperationalError: it was locked all the time.
        """
        began = time.monotonic()
        try:
            while True:
                left = self.writes_s - (time.monotonic() - began)
                connection.execute(f"PRAGMA busy_timeout = {max(0, round(1e3 * min(left, _SLICE_S)))}")
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    waited = time.monotonic() - began
                    if "locked" not in str(error) or waited >= self.writes_s:
                        raise
                    if waited > _SAY_AFTER_S:
                        self._say()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(1e3 * self.reads_s)}")

    def _say(self) -> None:
        if not self._said:
            self.note(
                f"database {self.name} is locked by another process: waiting up to {self.writes_s:g} s for it"
            )
        self._said = True


def _on_stderr(text: str) -> None:
    print(text, file=sys.stderr)
