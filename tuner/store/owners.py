"""Whether the process that owns a sweep, a campaign or a claim still runs: decided here for all of them.

The system tells of a process that this one can look up; signs of life in the database of one on another host.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, select, text

from tuner.store.checked import words
from tuner.store.convert import chunks, from_stamp, to_stamp
from tuner.store.owner import host_of, is_alive, on_this_host, this_process
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


@dataclass(frozen=True)
class Owner:
    """What is known of a process that owns something.

    Attributes:
        lives: whether it still runs; this process does.
        mine: whether it is this process.
        elsewhere: the name of its host, where only signs of life tell; else empty.
        silent_s: seconds since its last sign of life, for one elsewhere that ever gave one.
    """

    lives: bool
    mine: bool = False
    elsewhere: str = ""
    silent_s: float | None = None


def look(connection: Connection, names: Collection[str]) -> Mapping[str, Owner]:
    """What is known of owners (see `owner.py`), by name; one query for all that are elsewhere."""
    found: dict[str, Owner] = {}
    elsewhere = []
    for name in set(names):
        if name == this_process():
            found[name] = Owner(True, mine=True)
        elif on_this_host(name) or not host_of(name):
            found[name] = Owner(is_alive(name))
        else:
            elsewhere.append(name)
    seen: dict[str, float] = {}
    for some in chunks(sorted(elsewhere)):
        rows = connection.execute(select(OWNERS.c.owner, OWNERS.c.seen_at).where(OWNERS.c.owner.in_(some)))
        seen.update((row.owner, silent_s(words(row.seen_at))) for row in rows)
    for name in elsewhere:
        silent = seen.get(name)
        found[name] = Owner(silent is not None and silent <= SILENT_S, False, host_of(name), silent)
    return found


def lives(connection: Connection, name: str) -> bool:
    """Whether one owner still runs."""
    return look(connection, [name])[name].lives


def silent_s(seen_at: str) -> float:
    """Seconds since a sign of life, by this host's clock; 0 for one of the future."""
    return max(0.0, (datetime.now(UTC) - from_stamp(seen_at)).total_seconds())
