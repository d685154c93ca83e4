"""Trials as a list cut to pages by key: what a page costs depends on its length, not on all there are.

A trial's workload, device, kernel, threads and cache state are its sweep's, so conditions choose sweeps in
the `Catalogue`, and the trials of the chosen sweeps are read in the order of an index: by their number in
the sweep (`sweep_trials`' key), or by time (`ix_trials_sweep_outcome`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Select, func, literal_column, or_, select

from tuner.core.measurement import TIMED_EVIDENCE, Status
from tuner.store.browse.catalogue import SweepEntry
from tuner.store.checked import positive, scalars, whole, words
from tuner.store.convert import chunks
from tuner.store.queries import effective_status
from tuner.store.writes import FORGOTTEN, SWEEP_TRIALS, SWEEPS, TRIALS

Order = Literal["newest", "oldest", "fastest", "slowest"]
ORDERS: tuple[Order, ...] = ("newest", "oldest", "fastest", "slowest")
Key = tuple[float, int]
"""Of a line in the order of a page: sweep and number, or time and trial."""

# Where fewer of a sweep's trials than one in so many match, they are looked up and sorted, else passed by.
_SPARSE = 50


@dataclass(frozen=True, slots=True)
class TrialEntry:
    """A trial as lists show it.

    Attributes:
        sweep, number: the proposal it answers, in the sweep that the list is of.
        reused: another sweep measured it.
        time_s: orders; drift is divided out of it.
        median_s, low_s, high_s: of the raw samples, with the 95% interval.
        error: its beginning.
        created_at: stamp as stored, UTC.
    """

    id: int
    sweep: int
    number: int
    reused: bool
    status: str
    evidence: str
    time_s: float | None
    median_s: float | None
    low_s: float | None
    high_s: float | None
    config: Mapping[str, Any]
    error: str
    created_at: str


@dataclass(frozen=True)
class TrialPage:
    """One page of trials.

    Attributes:
        total: how many trials meet the conditions, on all pages.
        after: the key of the last line, where another page follows.
    """

    lines: Sequence[TrialEntry]
    total: int
    after: Key | None


@dataclass(frozen=True, slots=True)
class TrialQuery:
    """Which trials of some sweeps, and in which order.

    Attributes:
        status, evidence: only such; `None` takes all. By time there are only right ones.
        order: `newest` and `oldest` by sweep and number in it; `fastest` and `slowest` by time.
        after: the key of the last line of the page before.
        limit: lines, at most.
    """

    status: str | None = None
    evidence: str | None = None
    order: Order = "newest"
    after: Key | None = None
    limit: int = 50

    @property
    def by_time(self) -> bool:
        """Whether lines are in the order of their times."""
        return self.order in ("fastest", "slowest")


def trial_page(connection: Connection, sweeps: Sequence[SweepEntry], query: TrialQuery) -> TrialPage:
    """One page of the trials of `sweeps`, entries of the present catalogue."""
    if query.by_time:
        if query.status not in (None, str(Status.OK)):
            return TrialPage((), 0, None)
        keys = _by_time(connection, sweeps, query)
        lines = trial_lines(
            connection, [trial for _, trial in keys], sweeps[0].id if len(sweeps) == 1 else None
        )
        total = sum(s.tally.of(str(Status.OK), query.evidence) for s in sweeps)
    else:
        found = _by_number(connection, sweeps, query)
        keys = [(sweep, number) for sweep, number, _ in found]
        lines = trial_lines(connection, [trial for _, _, trial in found], None, [(s, n) for s, n, _ in found])
        total = sum(s.tally.of(query.status, query.evidence) for s in sweeps)
    more = len(keys) > query.limit
    return TrialPage(lines[: query.limit], total, keys[query.limit - 1] if more else None)


# By number


def _by_number(
    connection: Connection, sweeps: Sequence[SweepEntry], query: TrialQuery
) -> list[tuple[int, int, int]]:
    """(sweep, number, trial) of a page and one more."""
    newest = query.order == "newest"
    found: list[tuple[int, int, int]] = []
    for sweep in sorted(sweeps, key=lambda s: -s.id if newest else s.id):
        matching = sweep.tally.of(query.status, query.evidence)
        beyond = None
        if query.after is not None:
            begun, number = int(query.after[0]), query.after[1]
            if sweep.id > begun if newest else sweep.id < begun:
                continue
            beyond = number if sweep.id == begun else None
        if not matching:
            continue
        sparse = query.status is not None and matching * _SPARSE < sweep.tally.trials
        statements = _sparse(sweep, query) if sparse else [_dense(sweep, query)]
        rows = []
        for statement in statements:
            place = SWEEP_TRIALS.c.number
            if beyond is not None:
                statement = statement.where(place < beyond if newest else place > beyond)
            ordered = statement.order_by(place.desc() if newest else place).limit(query.limit + 1)
            rows += [(whole(row.number), whole(row.trial_id)) for row in connection.execute(ordered)]
        found += [(sweep.id, *row) for row in sorted(set(rows), reverse=newest)]
        if len(found) > query.limit:
            break
    return found[: query.limit + 1]


def _dense(sweep: SweepEntry, query: TrialQuery) -> Select[Any]:
    """Proposals of a sweep, in the order of the key of `sweep_trials`, passing by those that do not match."""
    statement = select(SWEEP_TRIALS.c.number, SWEEP_TRIALS.c.trial_id).where(
        SWEEP_TRIALS.c.sweep_id == sweep.id
    )
    if query.status is None and query.evidence is None:
        return statement
    statement = statement.join(TRIALS, TRIALS.c.id == SWEEP_TRIALS.c.trial_id)
    if query.evidence is not None:
        statement = statement.where(TRIALS.c.evidence == query.evidence)
    if query.status is not None:
        statement = statement.outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
        statement = statement.where(effective_status() == query.status)
    return statement


def _sparse(sweep: SweepEntry, query: TrialQuery) -> list[Select[Any]]:
    """The few trials of a status: measured by the sweep, reused by it, and marked as the machine's."""
    kinds = [query.evidence] if query.evidence is not None else sorted(sweep.tally.kinds)
    own = (
        select(SWEEP_TRIALS.c.number, SWEEP_TRIALS.c.trial_id)
        .join(TRIALS, TRIALS.c.id == SWEEP_TRIALS.c.trial_id)
        .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
        .where(SWEEP_TRIALS.c.sweep_id == sweep.id, TRIALS.c.evidence.in_(kinds))
    )
    measured = own.where(TRIALS.c.sweep_id == sweep.id, TRIALS.c.status == query.status)
    reused = own.where(SWEEP_TRIALS.c.reused == literal_column("1"), effective_status() == query.status)
    if query.status != str(Status.ENVIRONMENT):
        return [measured.where(FORGOTTEN.c.trial_id.is_(None)), reused]
    marked = own.where(TRIALS.c.sweep_id == sweep.id, FORGOTTEN.c.trial_id.is_not(None))
    return [measured, reused, marked]


# By time


def _by_time(connection: Connection, sweeps: Sequence[SweepEntry], query: TrialQuery) -> list[Key]:
    """(time, trial) of a page and one more: sweeps are read in the order of their first time beyond the key.

    A sweep whose first is no better than the last line found so far cannot add a line, so a page reads the
    trials of as many sweeps as it has lines, at most, and of the others one entry of an index.
    """
    slow = query.order == "slowest"
    timed = [s for s in sweeps if s.tally.best_s is not None]
    firsts = []
    for kind in sorted({k for s in timed for k in s.tally.kinds} & _kinds(query)):
        for some in chunks([s.id for s in timed if kind in s.tally.kinds]):
            first = _right(kind, query, TRIALS.c.sweep_id == SWEEPS.c.id, TRIALS.c.time_s).limit(1)
            statement = select(SWEEPS.c.id, first.scalar_subquery().correlate(SWEEPS).label("first"))
            rows = connection.execute(statement.where(SWEEPS.c.id.in_(some))).all()
            firsts += [(positive(r.first), whole(r.id), kind) for r in rows if r.first is not None]
    found: dict[int, float] = {}
    if len(sweeps) == 1:
        found = _reused_right(connection, sweeps[0], query)
    firsts.sort(reverse=slow)
    if len(firsts) > query.limit:
        return _up_to(connection, firsts[: query.limit + 1], query)
    for first_s, sweep, kind in firsts:
        best = _cut(found, query)
        if len(best) > query.limit and (first_s < best[-1][0] if slow else first_s > best[-1][0]):
            break
        own = _right(kind, query, TRIALS.c.sweep_id == sweep, TRIALS.c.id, TRIALS.c.time_s)
        for row in connection.execute(own.limit(query.limit + 1)):
            found[whole(row.id)] = positive(row.time_s)
    return _cut(found, query)


def _up_to(connection: Connection, firsts: Sequence[tuple[float, int, str]], query: TrialQuery) -> list[Key]:
    """As many lines as there are `firsts`: none lies beyond the last of them, where reading a sweep ends."""
    slow, last = query.order == "slowest", firsts[-1][0]
    found: dict[int, float] = {}
    for kind in sorted({kind for _, _, kind in firsts}):
        own = TRIALS.c.sweep_id.in_([sweep for _, sweep, of in firsts if of == kind])
        statement = _right(kind, query, own, TRIALS.c.id, TRIALS.c.time_s)
        statement = statement.where(TRIALS.c.time_s >= last if slow else TRIALS.c.time_s <= last)
        rows = connection.execute(statement.limit(query.limit + 1))
        found.update({whole(row.id): positive(row.time_s) for row in rows})
    return _cut(found, query)


def _kinds(query: TrialQuery) -> set[str]:
    timed = {str(kind) for kind in TIMED_EVIDENCE}
    return timed if query.evidence is None else timed & {query.evidence}


def _cut(found: Mapping[int, float], query: TrialQuery) -> list[Key]:
    ordered = sorted(((time_s, trial) for trial, time_s in found.items()), reverse=query.order == "slowest")
    return ordered[: query.limit + 1]


def _right(kind: str, query: TrialQuery, of: Any, *columns: Any) -> Select[Any]:
    """Right trials beyond the key, in order; all of it from `ix_trials_sweep_outcome`."""
    slow = query.order == "slowest"
    where = [of, TRIALS.c.evidence == kind, TRIALS.c.status == str(Status.OK), *_beyond(query)]
    order = (TRIALS.c.time_s, TRIALS.c.id)
    return select(*columns).where(*where).order_by(*((c.desc() for c in order) if slow else order))


def _beyond(query: TrialQuery) -> list[Any]:
    time_s, slow = TRIALS.c.time_s, query.order == "slowest"
    if query.after is None:
        return [time_s.is_not(None)]
    last, trial = query.after
    # The first condition is the one that an index is sought by.
    if slow:
        return [time_s <= last, or_(time_s < last, TRIALS.c.id < trial)]
    return [time_s >= last, or_(time_s > last, TRIALS.c.id > trial)]


def _reused_right(connection: Connection, sweep: SweepEntry, query: TrialQuery) -> dict[int, float]:
    """Times of the right trials that a sweep reused, beyond the key."""
    if not sweep.tally.reused:
        return {}
    statement = (
        select(TRIALS.c.id, TRIALS.c.time_s)
        .join(SWEEP_TRIALS, SWEEP_TRIALS.c.trial_id == TRIALS.c.id)
        .where(SWEEP_TRIALS.c.sweep_id == sweep.id, SWEEP_TRIALS.c.reused == literal_column("1"))
        .where(
            TRIALS.c.status == str(Status.OK), TRIALS.c.evidence.in_(sorted(_kinds(query))), *_beyond(query)
        )
    )
    return {whole(row.id): positive(row.time_s) for row in connection.execute(statement)}


# Lines


def trial_lines(
    connection: Connection,
    trials: Sequence[int],
    sweep: int | None = None,
    places: Sequence[tuple[int, int]] | None = None,
) -> list[TrialEntry]:
    """The lines of trials, in their order.

    Args:
        trials: their ids.
        sweep: the one that the list is of; `None` for the one that measured each.
        places: sweep and number of each, where known.
    """
    rows: dict[int, Any] = {}
    for some in chunks(trials):
        statement = (
            select(
                TRIALS.c.id, TRIALS.c.sweep_id, effective_status().label("status"), TRIALS.c.evidence,
                TRIALS.c.time_s, TRIALS.c.median_s, TRIALS.c.low_s, TRIALS.c.high_s, TRIALS.c.config,
                func.substr(TRIALS.c.error, 1, 300).label("error"), TRIALS.c.created_at,
            )
            .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
            .where(TRIALS.c.id.in_(some))
        )  # fmt: skip
        rows |= {row.id: row for row in connection.execute(statement)}
    if places is None:
        known = _places(connection, rows, sweep)
        places = [known.get(trial, (rows[trial].sweep_id, 0)) for trial in trials]
    return [_line(rows[trial], *place) for trial, place in zip(trials, places, strict=True)]


def _places(connection: Connection, rows: Mapping[int, Any], sweep: int | None) -> dict[int, tuple[int, int]]:
    found = {}
    for some in chunks(list(rows)):
        for row in connection.execute(select(SWEEP_TRIALS).where(SWEEP_TRIALS.c.trial_id.in_(some))):
            if row.sweep_id == (rows[row.trial_id].sweep_id if sweep is None else sweep):
                found[row.trial_id] = whole(row.sweep_id), whole(row.number)
    return found


def _line(row: Any, sweep: int, number: int) -> TrialEntry:
    return TrialEntry(
        id=row.id, sweep=sweep, number=number, reused=sweep != row.sweep_id, status=words(row.status),
        evidence=words(row.evidence), time_s=_time(row.time_s), median_s=_time(row.median_s),
        low_s=_time(row.low_s), high_s=_time(row.high_s), config=scalars(row.config), error=words(row.error),
        created_at=words(row.created_at),
    )  # fmt: skip


def _time(value: Any) -> float | None:
    return None if value is None else positive(value)
