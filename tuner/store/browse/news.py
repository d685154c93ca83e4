"""What was stored since the last look: the trials that running sweeps add."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from tuner.store.browse.trial_list import TrialEntry, trial_lines
from tuner.store.checked import whole
from tuner.store.writes import TRIALS


def last_trial(connection: Connection) -> int:
    """The id of the newest trial; 0 for none."""
    return int(connection.execute(select(func.max(TRIALS.c.id))).scalar() or 0)


def trials_since(connection: Connection, after: int, most: int = 200) -> Sequence[TrialEntry]:
    """The newest trials of those stored after a trial, oldest first, at most so many."""
    statement = select(TRIALS.c.id).where(TRIALS.c.id > after).order_by(TRIALS.c.id.desc()).limit(most)
    ids = [whole(i) for i in connection.execute(statement).scalars()]
    return trial_lines(connection, sorted(ids), None)
