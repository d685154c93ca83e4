"""A database opened to be looked at and nothing else: read-only for SQLite too, and not migrated."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from tuner.core.errors import StoreError
from tuner.store import opening
from tuner.store.errors import StoreMissing, StoreReadOnly, explained
from tuner.store.guard import STEPS
from tuner.store.patience import LockWait
from tuner.store.presence import Presence
from tuner.store.store import Store

READS_S = 5.0
"""How long a look waits for a lock, and how long a statement may take, in seconds."""


class _Deadline:
    """Ends a statement of one connection that takes too long; `guard.restart` sets it back for the next."""

    def __init__(self, seconds: float, ended: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._ended = ended
        self._until = 0.0

    @property
    def looks(self) -> int:
        """Always none: what is counted here is seconds."""
        return 0

    @looks.setter
    def looks(self, value: int) -> None:
        self._until = time.monotonic() + self._seconds

    def __call__(self) -> bool:
        return time.monotonic() > self._until or self._ended()


def open_reader(
    where: str | os.PathLike[str] | None = None,
    timeout_s: float = READS_S,
    ended: Callable[[], bool] = lambda: False,
) -> Store:
    """Opens a database for reading, in a way that cannot change it and never keeps a writer waiting.

    `open_store(read_only=True)` migrates an older schema, as every command does; this does not. A SQLite
    connection is opened with `mode=ro` and `query_only`, a PostgreSQL transaction is read-only, and a
    statement that takes longer than `timeout_s` seconds is ended.

    Args:
        where: as `open_store` takes it.
        timeout_s: for a lock and for a statement, in seconds.
        ended: once it says so, every statement of a SQLite file ends at once, with an error.

    Raises:
        StoreError: one line: it is missing, of another schema, or damaged.
    """
    patience = LockWait(timeout_s, timeout_s)
    place = opening.locate(where)
    patience.name = place.name
    if place.file is not None:
        try:
            opening.check_file(place, read_only=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"database {place.name} cannot be opened: {reason.lower()}") from None
    elif place.url.get_backend_name() == "sqlite":
        raise StoreMissing(f"database {place.name} is in memory: name a file with --db or TUNER_DB")
    engine = _engine(place, patience, "ro", ended)
    try:
        with explained(place.name, timeout_s):
            _prepare(engine, place)
    except StoreError:
        engine.dispose()
        if not (place.file is not None and _unwritable(place.file) and opening.needs_immutable(place)):
            raise
        # WAL needs a -shm file beside the database; see `opening.open_engine`.
        engine = _engine(place, patience, "immutable", ended)
        with explained(place.name, timeout_s):
            _prepare(engine, place)
    return Store(engine, place.name, True, patience, Presence(place.file, place.name))


def _engine(place: opening.DatabasePlace, patience: LockWait, mode: str, ended: Callable[[], bool]) -> Engine:
    timeout_s = patience.reads_s
    engine = opening.create(place, patience, mode)
    if place.url.get_backend_name() == "sqlite":

        def limit(connection: Any, record: Any) -> None:
            assert isinstance(connection, sqlite3.Connection)
            connection.execute("PRAGMA query_only = ON")
            # Not mapped into memory: a file that somebody cuts short would end the process.
            connection.execute("PRAGMA mmap_size = 0")
            connection.execute("PRAGMA cache_size = -16384")
            meter = record.info["meter"] = _Deadline(timeout_s, ended)
            connection.set_progress_handler(meter, STEPS // 20)

        event.listen(engine, "connect", limit)
        return engine
    limits = f"SET default_transaction_read_only = on; SET statement_timeout = {round(1e3 * timeout_s)}"

    def freeze(connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(limits)
        connection.commit()

    event.listen(engine, "connect", freeze)
    return engine


def _prepare(engine: Engine, place: opening.DatabasePlace) -> None:
    try:
        opening.prepare(engine, place, read_only=True, frozen=True)
    except StoreReadOnly as error:
        if "older schema" not in str(error):
            raise
        raise StoreReadOnly(
            f"database {place.name} is of an older version of the lab, and this command only reads: bring it "
            f"up to date first, which any other command does: tuner devices --db {place.name}"
        ) from None


def _unwritable(file: Path) -> bool:
    return not (opening.writable(file) and opening.writable(file.parent))
