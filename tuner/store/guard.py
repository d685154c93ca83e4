"""A SQLite file from elsewhere may hold more than data: what bounds the time and memory it takes."""

import sqlite3
from typing import Any

from sqlalchemy import Connection, text

from tuner.store.errors import StoreDamaged
from tuner.store.models import Base

# The largest text this lab writes is an error of 64,000 characters; a trace may be a megabyte.
_LONGEST = 64 * 2**20
# Steps of SQLite's machine between two looks, and looks until a statement is given up: half a minute or more.
# A count over a million trials takes some ten million steps.
STEPS, _LOOKS = 1_000_000, 3_000
_TRIGGERS = ("trials_refuse_update", "trials_refuse_delete")


class _Meter:
    """Counts the looks of one connection's present statement."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> bool:
        self.looks += 1
        return self.looks > _LOOKS


def guard(connection: sqlite3.Connection, info: dict[str, Any]) -> None:
    """Bounds what a connection's statements may take, and what a schema may call."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    meter = info["meter"] = _Meter()
    connection.set_progress_handler(meter, STEPS)


def restart(connection: Connection, *_: Any) -> None:
    """A new statement begins, with steps of its own."""
    connection.info["meter"].looks = 0


def check_objects(connection: Connection, name: str) -> None:
    """Refuses a file in which a table of the lab is none, or has triggers of somebody else.

    A view would compute, without end if it likes, whenever it is read; a trigger whenever a table is written.

    Raises:
        StoreDamaged: names the object.
    """
    ours = set(Base.metadata.tables) | {"alembic_version"}
    statement = text("SELECT type, name, tbl_name, sql FROM sqlite_master")
    for row in connection.execute(statement):
        what = None
        if row.type == "trigger" and row.tbl_name in ours and row.name not in _TRIGGERS:
            what = f"has a trigger {row.name!r} on {row.tbl_name!r}"
        elif row.type == "view" and row.name in ours:
            what = f"has a view in place of the table {row.name!r}"
        elif row.type == "table" and row.name in ours and not _is_plain(str(row.sql)):
            what = f"has a table {row.name!r} that computes"
        if what is not None:
            raise StoreDamaged(
                f"database {name} {what}, which this lab does not make: something else changed it; name "
                "another with --db or TUNER_DB"
            )


def _is_plain(sql: str) -> bool:
    words = sql.upper().split()
    return (
        words[:2] == ["CREATE", "TABLE"] and "GENERATED" not in words and " AS (" not in f" {' '.join(words)}"
    )
