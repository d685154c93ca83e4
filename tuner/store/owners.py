"""Signs of life of the processes that run sweeps, for hosts that cannot look at each other's processes."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, text

from tuner.store.convert import from_stamp, to_stamp
from tuner.store.owner import this_process
from tuner.store.writes import OWNERS, now

SILENT_S = 600.0
"""A process of another host that gave no sign of life for so long is dead. Ten signs are missed by then, and
the clocks of two hosts may differ by minutes."""

PART = "part of sweep "
"""How the note of a sweep begins that holds what another sweep had measured on a second device."""

_KEPT = timedelta(days=30)
# Plain SQL, which SQLite and PostgreSQL both know: SQLAlchemy's construct would import a dialect.
_BEAT = text(
    "INSERT INTO owners (owner, seen_at) VALUES (:owner, :seen) "
    "ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at"
)


def beat(connection: Connection) -> None:
    """A sign of life of this process, in a write transaction; forgets those of a month ago."""
    connection.execute(_BEAT, {"owner": this_process(), "seen": now()})
    connection.execute(delete(OWNERS).where(OWNERS.c.seen_at < to_stamp(datetime.now(UTC) - _KEPT)))


def silent_s(seen_at: str) -> float:
    """Seconds since a sign of life, by this host's clock; 0 for one of the future."""
    return max(0.0, (datetime.now(UTC) - from_stamp(seen_at)).total_seconds())
