"""The database that is served: opened anew when another file is at its place, an error while none is."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from tuner.store.browse.catalogue import Catalogue, CatalogueReader
from tuner.store.errors import StoreMissing
from tuner.store.opening import locate, writable
from tuner.store.reading import open_reader
from tuner.store.schema import require_head, version_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tuner.store.store import Store

_CHECKED_S = 1.0
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """One moment of the database, for one request.

    Attributes:
        connection: in a read transaction.
        catalogue: all sweeps with their counts.
        store: for whole records; each of its methods reads in a transaction of its own.
        memo: what earlier requests found in this file, with what it depends on.
    """

    connection: "Connection"
    catalogue: Catalogue
    store: "Store"
    memo: dict[Any, Any]

    def ask(
        self, question: "Callable[Concatenate[Connection, P], T]", *given: P.args, **named: P.kwargs
    ) -> T:
        """Asks a question of `tuner.store.browse` on the connection.

        Raises:
            StoreError: the database fails, or holds what the lab does not write.
        """
        with self.store.answering():
            return question(self.connection, *given, **named)


class Database:
    """What requests read from; may be used from many threads.

    Args:
        where: as `open_store` takes it.

    Raises:
        StoreError: it cannot be read now.
    """

    def __init__(self, where: str | os.PathLike[str] | None = None) -> None:
        place = locate(where)
        self.name = place.name
        self._file = place.file.absolute() if place.file is not None else None
        # Whole, for processes that are started later: in another folder it is the same one.
        url = place.url.render_as_string(hide_password=False)
        self.where = url if self._file is None else str(self._file)
        self._lock = threading.Lock()
        self._identity = self._look_at_file()
        self._closed = False
        self._store = self._opened()
        self._reader = CatalogueReader()
        self._memo: dict[Any, Any] = {}
        self._checked_at = time.monotonic()

    def close(self) -> None:
        """Ends what is being read, and closes all connections."""
        self._closed = True
        self._store.close()

    def _opened(self) -> "Store":
        return open_reader(self.where, ended=lambda: self._closed)

    @contextmanager
    def look(self) -> Iterator[Look]:
        """A moment of the database.

        Raises:
            StoreError: it was deleted, is damaged, or another version of the lab migrated it meanwhile.
        """
        store, reader, memo = self._current()
        with store.looking() as connection:
            with store.answering():
                self._check_version(connection)
                catalogue = reader.read(connection)
            yield Look(connection, catalogue, store, memo)

    def _current(self) -> "tuple[Store, CatalogueReader, dict[Any, Any]]":
        """Of one file: what another request finds in its successor is no part of it."""
        with self._lock:
            now = self._look_at_file()
            if self._file is not None and now is None:
                raise StoreMissing(
                    f"database {self.name} was deleted or moved: this page shows it when it is back"
                )
            if now != self._identity:
                # Requests that still read from the old file end; its connections close as they come back.
                store = self._opened()
                self._store.close()
                self._store, self._reader, self._identity = store, CatalogueReader(), now
                self._memo = {}
            return self._store, self._reader, self._memo

    def _look_at_file(self) -> Any:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        if writable(self._file) and writable(self._file.parent):
            return found.st_dev, found.st_ino
        # Such a file may be open as one that never changes: SQLite would not notice what others write.
        return (
            found.st_dev,
            found.st_ino,
            found.st_mtime_ns,
            found.st_size,
            Path(f"{self._file}-wal").exists(),
        )

    def _check_version(self, connection: "Connection") -> None:
        if time.monotonic() - self._checked_at < _CHECKED_S:
            return
        require_head(version_of(connection, self.name), self.name)
        self._checked_at = time.monotonic()
