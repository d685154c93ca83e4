"""What can go wrong with a database, each as one line that names what would be right."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from tuner.core.errors import StoreError, TunerError


class NotStored(StoreError):
    """What was asked for by its number or name is not in the database, which is in order."""


class StoreMissing(StoreError):
    """There is no database at the place named."""


class StoreGone(StoreError):
    """The file was deleted, moved or replaced while it was open."""


class StoreLocked(StoreError):
    """Another process held the database longer than the timeout; trying again may succeed."""


class StoreReadOnly(StoreError):
    """The database can be read and not written."""


class StoreDamaged(StoreError):
    """The file is not a database, or is truncated or corrupt."""


class StoreVersion(StoreError):
    """The database was written by another version of the lab."""


class StoreRefused(StoreError):
    """The database's constraints refuse a row: it contradicts itself, or what is stored already."""


def explain(name: str, error: BaseException, timeout_s: float) -> StoreError:
    """A one-line `StoreError` for an exception of SQLAlchemy or of a driver; says that nothing was lost.

    Args:
        name: the database as the user knows it (a path, or an URL without its password).
        error: what was raised.
        timeout_s: how long a lock was waited for.
    """
    original = getattr(error, "orig", None) or error
    text = " ".join(str(original).split()) or type(original).__name__
    low = text.lower()
    if "locked" in low or "busy" in low:
        return StoreLocked(
            f"database {name} is locked by another process (waited {timeout_s:g} s): "
            "end that process, or try again"
        )
    if "readonly" in low or "read-only" in low:
        return StoreReadOnly(
            f"database {name} is read-only: make it and its folder writable, or name another with --db"
        )
    if "not a database" in low:
        return StoreDamaged(f"{name} is not a SQLite database: name another file with --db or TUNER_DB")
    if _by_size_limit(original):
        return StoreError(
            f"database {name} cannot be written: this process may write no file that large (ulimit -f): "
            "raise the limit"
        )
    if "malformed" in low or "disk i/o error" in low or "file is encrypted" in low or "corrupt" in low:
        return StoreDamaged(
            f"database {name} is truncated or corrupt ({text}); nothing was changed: restore a copy, or save "
            f"what is readable with: sqlite3 {name} .recover | sqlite3 recovered.db"
        )
    if low == "interrupted":
        return StoreDamaged(
            f"database {name}: a query of it does not come to an end: it is damaged, or not of this lab; "
            "name another with --db or TUNER_DB"
        )
    if "disk is full" in low:
        return StoreError(f"database {name} cannot be written: the disk is full")
    if "unable to open" in low:
        return StoreError(f"database {name} cannot be opened: check that it is a file and may be read")
    if isinstance(error, exc.IntegrityError):
        return StoreRefused(f"database {name} refuses the row: {text}")
    return StoreError(f"database {name}: {text}")


# Writes that the system refused, which SQLite calls errors of the disk.
_WRITES = frozenset(
    {"SQLITE_IOERR_WRITE", "SQLITE_IOERR_TRUNCATE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMOPEN"}
    | {"SQLITE_IOERR_SHMMAP"}
)


def _by_size_limit(error: BaseException) -> bool:
    """Whether a write failed in a process whose files may only be so large."""
    import resource

    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    return limited and getattr(error, "sqlite_errorname", "") in _WRITES


# What reading a value of another type than the lab writes can raise.
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turns what malformed values raise inside into `StoreDamaged`."""
    try:
        yield
    except (StoreError, exc.SQLAlchemyError, sqlite3.Error):
        raise
    except (*_UNREADABLE, TunerError) as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise StoreDamaged(
            f"database {name} holds what this lab does not write ({text}): something else "
            "changed it, or it is damaged; name another with --db or TUNER_DB"
        ) from error


@contextmanager
def explained(name: str, timeout_s: float) -> Iterator[None]:
    """Turns exceptions of SQLAlchemy and SQLite raised inside into `StoreError`."""
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error) as error:  # an event's own statements raise the latter
        raise explain(name, error, timeout_s) from error
    except UnicodeDecodeError as error:  # of SQLite's own message about a name in the file
        raise explain(name, ValueError("malformed: a name that is no UTF-8"), timeout_s) from error
