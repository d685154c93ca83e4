"""How a sweep went, drawn from an index and a sample of its trials, however many it has."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, literal_column, select

from tuner.core.measurement import Status
from tuner.store.browse.catalogue import SweepEntry
from tuner.store.browse.trial_list import TrialEntry, trial_lines
from tuner.store.checked import positive, whole, words
from tuner.store.queries import effective_status
from tuner.store.writes import FORGOTTEN, SWEEP_TRIALS, TRIALS


@dataclass(frozen=True, slots=True)
class Dot:
    """A trial of a sweep: its number among the proposals, what came of it and, where it has one, its time."""

    trial: int
    number: int
    status: str
    time_s: float | None


def records(connection: Connection, sweep: SweepEntry) -> list[TrialEntry]:
    """The trials that were the fastest right ones of a sweep when they were stored, in that order.

    Trials are looked at from the fastest on: one is a record if none of those before it was stored earlier.
    The look ends at the first that the sweep stored, so it rarely sees all, and it sees an index only.
    """
    kinds = sorted(sweep.tally.kinds)
    own: list[tuple[float, int]] = []
    for kind in kinds:
        statement = (
            select(TRIALS.c.time_s, TRIALS.c.id)
            .where(
                TRIALS.c.sweep_id == sweep.id, TRIALS.c.evidence == kind, TRIALS.c.status == str(Status.OK)
            )
            .where(TRIALS.c.time_s.is_not(None))
            .order_by(TRIALS.c.time_s, TRIALS.c.id)
        )
        own += _earlier_and_earlier(connection, statement, _first(connection, sweep, kind))
    reused = (
        select(TRIALS.c.time_s, TRIALS.c.id)
        .join(SWEEP_TRIALS, SWEEP_TRIALS.c.trial_id == TRIALS.c.id)
        .where(SWEEP_TRIALS.c.sweep_id == sweep.id, SWEEP_TRIALS.c.reused == literal_column("1"))
        .where(TRIALS.c.status == str(Status.OK), TRIALS.c.time_s.is_not(None))
    )
    if sweep.tally.reused:
        own += [(positive(row.time_s), whole(row.id)) for row in connection.execute(reused)]
    lines = trial_lines(connection, [trial for _, trial in own], sweep.id)
    found: list[TrialEntry] = []
    for line in sorted(lines, key=lambda line: line.number):
        if line.time_s is not None and (not found or line.time_s < (found[-1].time_s or 0)):
            found.append(line)
    return found


def _first(connection: Connection, sweep: SweepEntry, kind: str) -> int:
    statement = select(func.min(TRIALS.c.id)).where(
        TRIALS.c.sweep_id == sweep.id, TRIALS.c.evidence == kind, TRIALS.c.status == str(Status.OK)
    )
    return int(connection.execute(statement).scalar() or 0)


def _earlier_and_earlier(connection: Connection, statement: Any, first: int) -> list[tuple[float, int]]:
    found: list[tuple[float, int]] = []
    earliest = float("inf")
    result = connection.execution_options(yield_per=1000).execute(statement)
    for time_s, trial in result:
        if trial < earliest:
            earliest = trial
            found.append((positive(time_s), whole(trial)))
            if trial <= first:
                break
    result.close()
    return found


def sample(connection: Connection, sweep: SweepEntry, most: int = 600) -> list[Dot]:
    """Trials of a sweep evenly over its numbers; all of them where there are at most so many."""
    last = connection.execute(
        select(func.max(SWEEP_TRIALS.c.number)).where(SWEEP_TRIALS.c.sweep_id == sweep.id)
    ).scalar()
    if last is None:
        return []
    total = whole(last) + 1
    wanted: list[Any] = [SWEEP_TRIALS.c.sweep_id == sweep.id]
    if total > most:
        wanted.append(SWEEP_TRIALS.c.number.in_(sorted({total * i // most for i in range(most)})))
    statement = (
        select(SWEEP_TRIALS.c.number, TRIALS.c.id, effective_status().label("status"), TRIALS.c.time_s)
        .join(TRIALS, TRIALS.c.id == SWEEP_TRIALS.c.trial_id)
        .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
        .where(*wanted)
        .order_by(SWEEP_TRIALS.c.number)
    )
    return [
        Dot(whole(r.id), whole(r.number), words(r.status), None if r.time_s is None else positive(r.time_s))
        for r in connection.execute(statement)
    ]
