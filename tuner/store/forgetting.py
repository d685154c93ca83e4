"""Marks on failures that were the machine's and were stored before there was a status for that.

Trials are never changed. A mark in `forgotten_trials` stands beside one, and every reader then sees it with
the status `environment`: neither reused nor learned from.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, exists, insert

from tuner.core.measurement import TIMED_STATUSES, Status
from tuner.store.convert import chunks, clean, workload_of
from tuner.store.queries import joined_trials, of_candidates
from tuner.store.records import StoredFailure
from tuner.store.writes import FINAL_ENTRIES, FORGOTTEN, TRIALS, now


def failures(connection: Connection) -> list[StoredFailure]:
    """See `Store.forgettable`."""
    right = sorted(str(status) for status in TIMED_STATUSES)
    statement = (
        joined_trials()
        .where(TRIALS.c.status.not_in(right), of_candidates())
        .where(~exists().where(FINAL_ENTRIES.c.trial_id == TRIALS.c.id))
        .order_by(TRIALS.c.id)
    )
    return [
        StoredFailure(row.id, row.sweep_id, workload_of(row), row.kernel_name, Status(row.status), row.error)
        for row in connection.execute(statement)
    ]


def forget(connection: Connection, reasons: Mapping[int, str]) -> int:
    """See `Store.forget`."""
    open_ones = {failure.trial_id for failure in failures(connection)}
    moment = now()
    rows = [
        {"trial_id": trial, "reason": clean(reason), "created_at": moment}
        for trial, reason in reasons.items()
        if trial in open_ones
    ]
    for part in chunks(rows):
        connection.execute(insert(FORGOTTEN), part)
    return len(rows)
