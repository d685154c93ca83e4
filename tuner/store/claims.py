"""Which sweep is about to measure an identity, so that sweeps running side by side do not measure it twice.

A claim is taken in the transaction that finds the identity unknown, and is gone in the one that stores its
outcome. Whoever finds another's claim waits for that outcome. A claim whose owner died (`owners.py`), or that
is older than its measurement can take, is nobody's.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, select, text

from tuner.core.trial import Trial
from tuner.store import owners
from tuner.store.convert import chunks, to_stamp
from tuner.store.owner import this_process
from tuner.store.writes import CLAIMS, now

# Plain SQL, which SQLite and PostgreSQL both know: SQLAlchemy's construct would import a dialect.
_INSERT = text(
    "INSERT INTO claims (identity, sweep_id, owner, expires_at) VALUES (:identity, :sweep, :owner, :expires) "
    "ON CONFLICT (identity) DO NOTHING"
)
# Built once: a trial is stored with one of these, and to build it takes longer than to execute it.
_RELEASE = text("DELETE FROM claims WHERE sweep_id = :sweep AND identity = :identity")


@dataclass(frozen=True)
class Claimed:
    """What became of the identities of a batch.

    Attributes:
        known: identities with an outcome, and their latest trials.
        elsewhere: identities that another sweep is measuring now; the rest is the asking sweep's to measure.
    """

    known: dict[str, Trial] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()


def claim(
    connection: Connection, sweep_id: int, identities: Collection[str], seconds: float
) -> frozenset[str]:
    """Claims identities for a sweep of this process; those that other sweeps hold.

    Args:
        connection: in a write transaction.
        sweep_id: the sweep.
        identities: to be measured.
        seconds: after which the claims are nobody's.
    """
    connection.execute(delete(CLAIMS).where(CLAIMS.c.expires_at < now()))
    wanted = sorted(set(identities))
    claimed = _held(connection, sweep_id, wanted)
    known = owners.look(connection, claimed.values())
    for identity, owner in claimed.items():
        if not known[owner].lives:
            mine = (CLAIMS.c.identity == identity) & (CLAIMS.c.owner == owner)
            connection.execute(delete(CLAIMS).where(mine))
    expires = to_stamp(datetime.now(UTC) + timedelta(seconds=seconds))
    rows = [{"identity": i, "sweep": sweep_id, "owner": this_process(), "expires": expires} for i in wanted]
    if rows:
        connection.execute(_INSERT, rows)
    return frozenset(_held(connection, sweep_id, wanted))


def held(connection: Connection, sweep_id: int, identities: Collection[str]) -> bool:
    """Whether another sweep that lives holds a claim on one of the identities."""
    moment = now()
    claims = _held(connection, sweep_id, sorted(set(identities)), since=moment)
    return any(owner.lives for owner in owners.look(connection, claims.values()).values())


def release(connection: Connection, sweep_id: int, identities: Collection[str]) -> None:
    """Gives up a sweep's claims on identities: they have an outcome now, or will not be measured."""
    # In one order, so that two who release the same ones on PostgreSQL cannot wait for each other.
    rows = [{"sweep": sweep_id, "identity": identity} for identity in sorted(set(identities))]
    if rows:
        connection.execute(_RELEASE, rows)


def _held(
    connection: Connection, sweep_id: int, identities: Collection[str], since: str = ""
) -> dict[str, str]:
    """Owners of other sweeps' claims by identity."""
    found: dict[str, str] = {}
    for part in chunks(sorted(identities)):
        statement = select(CLAIMS.c.identity, CLAIMS.c.owner).where(
            CLAIMS.c.identity.in_(part), CLAIMS.c.sweep_id != sweep_id, CLAIMS.c.expires_at >= since
        )
        found.update({row.identity: row.owner for row in connection.execute(statement)})
    return found
