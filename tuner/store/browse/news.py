"""What was stored since the last look: the trials that running sweeps add."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from tuner.store.browse.trial_list import TrialEntry, trial_lines
from tuner.store.checked import whole
from tuner.store.writes import TRIALS


def trials_between(connection: Connection, after: int, last: int, most: int = 200) -> Sequence[TrialEntry]:
    """The newest trials of those stored after a trial and up to a last one, oldest first, at most so many."""
    between = (TRIALS.c.id > after) & (TRIALS.c.id <= last)
    statement = select(TRIALS.c.id).where(between).order_by(TRIALS.c.id.desc()).limit(most)
    ids = [whole(i) for i in connection.execute(statement).scalars()]
    return trial_lines(connection, sorted(ids), None)
