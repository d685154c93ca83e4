"""Interleaved re-measurements, out of the database."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.store.checked import counts, positive, record, times, words
from tuner.store.convert import chunks, from_stamp, workload_of
from tuner.store.errors import NotStored
from tuner.store.records import Final, FinalEntry
from tuner.store.writes import DEVICES, FINAL_ENTRIES, FINALS, WORKLOADS


def range_of(connection: Connection, column: ColumnElement[int], what: str) -> str:
    """Which ids there are, for a message."""
    last = connection.execute(select(func.max(column))).scalar()
    return f"the database has {what} 1 to {last}" if last else f"the database has no {what}"


def interval_of(low: Any, mid: Any, high: Any) -> Interval:
    """An interval of three columns."""
    return Interval(positive(low), positive(mid), positive(high))


def final_entry_of(row: Any) -> FinalEntry:
    """The entry of a row with the columns of `final_entries` and its final's `disturbed`."""
    speedup = None
    if row.speedup is not None:
        speedup = interval_of(row.speedup_low, row.speedup, row.speedup_high)
    return FinalEntry(
        trial_id=row.trial_id,
        role=words(row.role),  # type: ignore[arg-type]
        turns=Turns(times(row.samples), counts(row.processes)),
        speedup=speedup,
        winner=bool(row.winner),
        tie=bool(row.tie),
        interval=interval_of(row.low_s, row.median_s, row.high_s),
        disturbed=words(row.disturbed),
        beaten=bool(row.beaten),
    )


def finals(connection: Connection, where: Sequence[ColumnElement[bool]] = ()) -> list[Final]:
    """Finals that meet the conditions, oldest first, entries fastest first."""
    statement = (
        select(FINALS, DEVICES.c.fingerprint, WORKLOADS.c.operator, WORKLOADS.c.dtype, WORKLOADS.c.dims,
               WORKLOADS.c.options)
        .join(WORKLOADS, WORKLOADS.c.id == FINALS.c.workload_id)
        .join(DEVICES, DEVICES.c.id == FINALS.c.device_id)
        .where(*where)
        .order_by(FINALS.c.id)
    )  # fmt: skip
    rows = connection.execute(statement).all()
    entries: dict[int, list[FinalEntry]] = defaultdict(list)
    for part in chunks([row.id for row in rows]):
        wanted = select(FINAL_ENTRIES, FINALS.c.disturbed).join(FINALS).where(FINALS.c.id.in_(part))
        for entry in connection.execute(wanted.order_by(FINAL_ENTRIES.c.median_s)):
            entries[entry.final_id].append(final_entry_of(entry))
    return [
        Final(
            workload=workload_of(row),
            device=words(row.fingerprint),
            protocol=Protocol.from_dict(record(row.protocol)),
            entries=tuple(entries[row.id]),
            baseline=row.baseline_id,
            sweep_id=row.sweep_id,
            id=row.id,
            created_at=from_stamp(row.created_at),
            disturbed=words(row.disturbed),
        )
        for row in rows
    ]


def final(connection: Connection, final_id: int) -> Final:
    """One final.

    Raises:
        NotStored: there is none of this id.
    """
    found = finals(connection, [FINALS.c.id == final_id])
    if not found:
        raise NotStored(f"there is no final {final_id}: {range_of(connection, FINALS.c.id, 'finals')}")
    return found[0]
