"""Trials as the lines of a table: the few columns that a list of ten thousand shows, read in one pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from tuner.core.measurement import Status
from tuner.core.space import Config
from tuner.store.checked import positive, scalars, words
from tuner.store.queries import effective_status
from tuner.store.writes import FORGOTTEN, SWEEP_TRIALS, TRIALS

_ERROR = 300  # characters: the first line of nearly every error


@dataclass(frozen=True, slots=True)
class TrialLine:
    """One proposal of a sweep.

    Attributes:
        sweep_id, number: which proposal, from 0.
        trial_id: what it was measured as.
        status: `environment` for one that was forgotten.
        evidence: what the time is worth.
        time_s: seconds of one call, drift divided out; `None` for what has no time.
        low_s, high_s: the 95% interval of its raw samples.
        config: the configuration.
        error: the beginning of the reason of a failure.
        build_s: seconds spent building.
        reused: an earlier trial of the same identity served.
        created_at: when it was measured, UTC in ISO 8601.
    """

    sweep_id: int
    number: int
    trial_id: int
    status: str
    evidence: str
    time_s: float | None
    low_s: float | None
    high_s: float | None
    config: Config
    error: str
    build_s: float
    reused: bool
    created_at: str

    @property
    def right(self) -> bool:
        """Whether it has a time and its result was right."""
        return self.time_s is not None and self.status == Status.OK


def trial_lines(connection: Connection, sweep_id: int, most: int) -> list[TrialLine]:
    """The proposals of a sweep in their order; of more than `most` the fastest half and the newest."""
    count = connection.execute(
        select(func.count()).select_from(SWEEP_TRIALS).where(SWEEP_TRIALS.c.sweep_id == sweep_id)
    ).scalar_one()
    if count <= most:
        return list(_lines(connection, _select(sweep_id).order_by(SWEEP_TRIALS.c.number)))
    fast = (
        _select(sweep_id)
        .where(TRIALS.c.status == str(Status.OK), TRIALS.c.time_s.is_not(None))
        .order_by(TRIALS.c.time_s)
        .limit(most // 2)
    )
    newest = _select(sweep_id).order_by(SWEEP_TRIALS.c.number.desc()).limit(most)
    found = {line.number: line for line in _lines(connection, fast)}
    for line in _lines(connection, newest):
        if len(found) >= most:
            break
        found.setdefault(line.number, line)
    return [found[number] for number in sorted(found)]


def _select(sweep_id: int) -> Any:
    return (
        select(
            SWEEP_TRIALS.c.sweep_id,
            SWEEP_TRIALS.c.number,
            SWEEP_TRIALS.c.trial_id,
            SWEEP_TRIALS.c.reused,
            effective_status().label("status"),
            TRIALS.c.evidence,
            TRIALS.c.time_s,
            TRIALS.c.low_s,
            TRIALS.c.high_s,
            TRIALS.c.config,
            func.substr(TRIALS.c.error, 1, _ERROR).label("error"),
            TRIALS.c.build_s,
            TRIALS.c.created_at,
        )
        .join(TRIALS, TRIALS.c.id == SWEEP_TRIALS.c.trial_id)
        .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
        .where(SWEEP_TRIALS.c.sweep_id == sweep_id)
    )


def _lines(connection: Connection, statement: Any) -> Iterator[TrialLine]:
    for row in connection.execute(statement):
        yield TrialLine(
            row.sweep_id, row.number, row.trial_id, words(row.status), words(row.evidence),
            _time(row.time_s), _time(row.low_s), _time(row.high_s), scalars(row.config), words(row.error),
            row.build_s or 0.0, bool(row.reused), words(row.created_at),
        )  # fmt: skip


def _time(value: Any) -> float | None:
    return None if value is None else positive(value)
