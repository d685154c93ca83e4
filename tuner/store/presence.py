"""Whether a SQLite file is still where it was opened: one deleted or moved takes rows nobody will find."""

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, exc

from tuner.store.errors import StoreGone


class Presence:
    """The file of an open database.

    Args:
        file: its path, as it was opened; `None` for a database that is no file, which is always there.
        name: for people.
    """

    def __init__(self, file: Path | None, name: str) -> None:
        # A later change of the working folder moves nothing.
        self._file = file.absolute() if file is not None else None
        self._name = name
        self._identity = self._look()
        self._had_log = False

    def _look(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def check(self, engine: Engine) -> None:
        """Two looks at the file system, before and after every transaction that writes.

        Args:
            engine: its open connections bring what they wrote into the file, wherever it is now.

        Raises:
            StoreGone: another file is at the path, or none.
        """
        if self._file is None or self._identity is None:
            return
        now = self._look()
        log = Path(f"{self._file}-wal").exists()
        if now == self._identity and (log or not self._had_log):
            self._had_log = log
            return
        self._save(engine)
        what = "deleted or moved" if now is None else "replaced by another file"
        if now == self._identity:
            what = "robbed of its log (-wal)"
        raise StoreGone(
            f"database {self._name} was {what} while it was in use: the trials since then are not stored; "
            "put it back and go on with --resume, or name another with --db"
        )

    def _save(self, engine: Engine) -> None:
        """Writes the log into the file: after a move nothing else would bring the two together."""
        try:
            connection = engine.raw_connection()
        except (exc.SQLAlchemyError, sqlite3.Error):
            return
        try:
            driver = connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # it is lost with the file
        finally:
            connection.close()
