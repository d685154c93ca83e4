"""From a path or an URL to an engine on a database with the present schema, or to one line of error."""

import os
import re
import sqlite3
import stat
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event, exc, make_url

from tuner.core.errors import StoreError
from tuner.store.errors import StoreLocked, StoreMissing, explained
from tuner.store.guard import check_objects, guard, restart
from tuner.store.patience import LockWait
from tuner.store.schema import check_version, migrate, require_head, version_of

DEFAULT = "results.db"
VARIABLE = "TUNER_DB"


@dataclass(frozen=True)
class DatabasePlace:
    """Where a database is.

    Attributes:
        url: for SQLAlchemy.
        name: for people, without a password.
        file: the SQLite file; `None` for another database, or one in memory.
    """

    url: URL
    name: str
    file: Path | None


def locate(where: str | os.PathLike[str] | None) -> DatabasePlace:
    """The place of a path or URL; without one that of `$TUNER_DB`, else `./results.db`.

    Raises:
        StoreError: it looks like an URL and is none.
    """
    asked = os.fspath(where) if where is not None else os.environ.get(VARIABLE) or DEFAULT
    if not asked:
        raise StoreError("the database's name is empty: give a path or a SQLAlchemy URL")
    if "\0" in asked:
        raise StoreError(f"database {asked!r} cannot be opened: a name has no NUL in it")
    if "://" not in asked:
        file = _expanded(asked)
        return DatabasePlace(URL.create("sqlite", database=str(file)), asked, file)
    try:
        url = make_url(asked)
    except (exc.ArgumentError, ValueError):
        shown = re.sub("//[^@]*@", "//***@", asked)
        raise StoreError(
            f"{shown!r} is not a database URL: give a path such as results.db, or "
            "sqlite:///path, postgresql+psycopg://user@host/name"
        ) from None
    name = url.render_as_string(hide_password=True)
    if url.get_backend_name() != "sqlite":
        return DatabasePlace(url, name, None)
    # An URI of SQLite's own says itself how it is to be opened.
    other = url.database in (None, "", ":memory:") or "uri" in url.query
    return DatabasePlace(url, name, None if other else Path(str(url.database)))


def _expanded(asked: str) -> Path:
    try:
        return Path(asked).expanduser()
    except RuntimeError:
        return Path(asked)  # no such user: a file of that name, as for a shell


def open_engine(
    where: str | os.PathLike[str] | None, read_only: bool, patience: LockWait
) -> tuple[Engine, DatabasePlace, bool]:
    """An engine, its place, and whether it is read-only after all (the file is).

    Raises:
        StoreError: one line; see `tuner.store.errors`.
    """
    place = locate(where)
    patience.name = place.name
    frozen = False
    if place.file is not None:
        try:
            frozen = check_file(place, read_only)
        except OSError as error:  # a folder that may not be entered, a name that is too long
            reason = error.strerror or str(error)
            raise StoreError(f"database {place.name} cannot be opened: {reason.lower()}") from None
    engine = create(place, patience, mode="ro" if frozen else "rw")
    try:
        with explained(place.name, patience.reads_s):
            prepare(engine, place, read_only, frozen)
    except StoreError as error:
        engine.dispose()
        if not (frozen and needs_immutable(place)) or isinstance(error, StoreLocked):
            raise
        # WAL needs a -shm file beside the database, which a read-only folder cannot have; with no -wal
        # file there is nothing but the database itself, and it may be read as it lies.
        engine = create(place, patience, mode="immutable")
        with explained(place.name, patience.reads_s):
            prepare(engine, place, read_only, frozen)
    return engine, place, read_only or frozen


def check_file(place: DatabasePlace, read_only: bool) -> bool:
    """Says what is wrong with the file, by a `StoreError`; whether it cannot be written."""
    file = place.file
    assert file is not None
    if file.is_dir():
        raise StoreError(f"database {place.name} is a folder: name a file in it, such as {file / DEFAULT}")
    if not file.parent.is_dir():
        raise StoreMissing(f"database {place.name}: the folder {file.parent} does not exist: make it first")
    if not file.exists():
        if read_only:
            raise StoreMissing(
                f"there is no database at {place.name}: run `tuner sweep` first, or name one with --db or "
                f"{VARIABLE}"
            )
        if not writable(file.parent):
            raise StoreError(f"database {place.name} cannot be made: the folder {file.parent} is read-only")
        return False
    if not file.is_file():
        raise StoreError(f"database {place.name} is not a regular file")
    if not os.access(file, os.R_OK):
        raise StoreError(f"database {place.name} cannot be read: you lack the permission")
    return not (writable(file) and writable(file.parent))


def writable(path: Path) -> bool:
    """Whether a file or folder may be written, and is meant to be."""
    # The super-user may write anything; a file that nobody may write is meant to stay as it is.
    return os.access(path, os.W_OK) and bool(
        path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    )


def needs_immutable(place: DatabasePlace) -> bool:
    """Whether a file is all there is of its database: no log beside it holds what was written last."""
    assert place.file is not None
    wal = Path(f"{place.file}-wal")
    return not wal.exists() or wal.stat().st_size == 0


def create(place: DatabasePlace, patience: LockWait, mode: str) -> Engine:
    """An engine on a place that connects when it is first used; `mode` is `rw`, `ro` or `immutable`.

    Raises:
        StoreError: its driver is not installed, or there is none.
    """
    arguments: dict[str, Any] = {}
    if place.url.get_backend_name() == "sqlite":
        arguments["connect_args"] = {"timeout": patience.reads_s}
    if place.file is not None and (mode != "rw" or not place.url.query):
        arguments = {"creator": partial(_connect, place.file.absolute(), mode, patience.reads_s)}
    try:
        engine = create_engine(place.url, **arguments)
    except ImportError as error:
        driver = error.name or place.url.drivername
        extra = place.url.get_backend_name() == "postgresql"
        cure = "'kernel-tuner-lab[postgres]' and use postgresql+psycopg://" if extra else "it"
        raise StoreError(
            f"database {place.name} needs the driver {driver!r}: pip install {cure}, "
            "or use a path to a SQLite file"
        ) from None
    except (exc.ArgumentError, ValueError) as error:
        raise StoreError(f"database {place.name}: {' '.join(str(error).split())}") from None
    if place.url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "before_cursor_execute", restart)
        event.listen(engine, "begin", lambda connection: _on_begin(connection, patience))
    return engine


def _connect(file: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    """Opens the file of this very name: an URL in between would be decoded once more, or cut at a `?`."""
    if mode == "rw":
        return sqlite3.connect(file, timeout_s, check_same_thread=False)
    flags = "mode=ro" if mode == "ro" else "mode=ro&immutable=1"
    uri = f"file:{quote(os.fsencode(file))}?{flags}"
    return sqlite3.connect(uri, timeout_s, check_same_thread=False, uri=True)


def _on_connect(connection: Any, record: Any) -> None:
    # The driver's own idea of when to BEGIN would start transactions too late for the lock; we say it.
    connection.isolation_level = None
    # NORMAL with WAL: a commit is in the operating system's hands when it returns, so kill -9 of this
    # process loses nothing committed. Power loss or a kernel panic may lose the last commits, and cannot
    # corrupt the file, as the log is checksummed and synced before each checkpoint. FULL would sync every
    # commit: milliseconds a trial on a disk, for trials that cost seconds at most to measure again.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    guard(connection, record.info)


def _on_begin(connection: Any, patience: LockWait) -> None:
    # A transaction that reads first and writes later can fail at once where another wrote in between,
    # whatever the timeout; IMMEDIATE takes the lock, and waits for it, at the start.
    if connection.get_execution_options().get("write", False):
        patience.begin(connection.connection.driver_connection)
    else:
        connection.exec_driver_sql("BEGIN")


def prepare(engine: Engine, place: DatabasePlace, read_only: bool, frozen: bool) -> None:
    """Migrates if need be; the common case is two small reads."""
    # A StoreError must reach the caller as it is; `explained` only translates SQLAlchemy's own.
    with engine.connect() as connection:
        version = version_of(connection, place.name)
        if version is not None and engine.dialect.name == "sqlite":
            check_objects(connection, place.name)
    if frozen:
        require_head(version, place.name)
    elif not check_version(version, place.name):
        _upgrade(engine, place)
    if not read_only and not frozen and place.file is not None:
        _use_wal(engine)


def _upgrade(engine: Engine, place: DatabasePlace) -> None:
    if place.file is not None:
        # Before the first table, so that the second of two processes on a new file waits in WAL mode.
        _use_wal(engine)
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            # BEGIN takes no lock there; any number will do, as long as all who migrate ask for the same.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7263950114)")
        # Another process may have done it while this one waited for the lock.
        if not check_version(version_of(connection, place.name), place.name):
            migrate(connection)


def _use_wal(engine: Engine) -> None:
    """Switches the file to WAL, once in its life; readers then never wait for writers."""
    connection = engine.raw_connection()
    try:
        driver = connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        deadline = time.monotonic() + 5.0
        while True:
            try:
                driver.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError as error:
                # The switch does not honour the busy timeout. A file system without shared memory
                # cannot have WAL: any journal mode is correct, WAL is only faster.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    return
                time.sleep(0.01)
    finally:
        connection.close()
