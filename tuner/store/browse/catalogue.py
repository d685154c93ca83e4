"""All sweeps of a database in memory, with what each of them reached; trials stay where they are.

Sweeps are few beside trials: ten thousand take some megabytes, and filtering, sorting and counting them needs
no query. Their counts are kept up with the trials stored since the last look, since trials never change.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, func, literal_column, select

from tuner.core.measurement import Status
from tuner.core.workload import Workload
from tuner.store import owners
from tuner.store.checked import positive, record, whole, words
from tuner.store.convert import chunks, workload_of
from tuner.store.queries import device_of, effective_status, kernel_of
from tuner.store.records import DeviceInfo, KernelInfo
from tuner.store.writes import (
    DEVICES,
    FORGOTTEN,
    KERNELS,
    SWEEP_TRIALS,
    SWEEPS,
    TRIALS,
    WORKLOADS,
)

# Nothing goes on with such a sweep; any other may be resumed, also between two looks.
_FINAL = "finished"


@dataclass(frozen=True, slots=True)
class Tally:
    """What a sweep reached.

    Attributes:
        counts: how many of its proposals ended so, by evidence and status, reused ones included.
        reused: how many of them were served from trials of other sweeps.
        best_s: seconds of its fastest right trial; `None` while there is none.
    """

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    reused: int = 0
    best_s: float | None = None

    @property
    def trials(self) -> int:
        """Proposals so far."""
        return sum(self.counts.values())

    @property
    def statuses(self) -> dict[str, int]:
        """Proposals by status, the most frequent first."""
        found: Counter[str] = Counter()
        for (_, status), count in self.counts.items():
            found[status] += count
        return dict(found.most_common())

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of evidence among them."""
        return frozenset(kind for kind, _ in self.counts)

    def of(self, status: str | None, evidence: str | None) -> int:
        """How many ended so, with such evidence; `None` takes all."""
        return sum(
            count
            for (kind, ending), count in self.counts.items()
            if status in (None, ending) and evidence in (None, kind)
        )


@dataclass(frozen=True, slots=True)
class SweepEntry:
    """A sweep as lists show it; `workload`, `kernel` and `device` are ids in the `Catalogue`.

    Attributes:
        state: its status; `interrupted` also for one whose process is gone without having said how it ended.
        budget: as the user gave it.
        started_at, finished_at: stamps as stored, UTC.
    """

    id: int
    workload: int
    kernel: int
    device: int
    target: str
    searcher: str
    threads: int
    cache: str
    state: str
    budget: Mapping[str, Any]
    started_at: str
    finished_at: str | None
    tally: Tally = Tally()


@dataclass(frozen=True)
class Catalogue:
    """One moment of a database: everything but trials, finals and campaigns, by id."""

    sweeps: Mapping[int, SweepEntry] = field(default_factory=dict)
    workloads: Mapping[int, Workload] = field(default_factory=dict)
    kernels: Mapping[int, KernelInfo] = field(default_factory=dict)
    devices: Mapping[int, DeviceInfo] = field(default_factory=dict)
    last_trial: int = 0

    @property
    def trials(self) -> int:
        """Trials stored, each counted in the sweep that measured it."""
        return sum(s.tally.trials - s.tally.reused for s in self.sweeps.values())

    @property
    def running(self) -> list[SweepEntry]:
        """Sweeps that a live process runs, the newest first."""
        return sorted((s for s in self.sweeps.values() if s.state == "running"), key=lambda s: -s.id)


class CatalogueReader:
    """Keeps a `Catalogue` up to date; may be asked from several threads.

    Args:
        fresh_s: how long a catalogue is served without a look at the database, in seconds.
    """

    def __init__(self, fresh_s: float = 0.25) -> None:
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._marks = 0
        self._found = Catalogue()
        self._measured: dict[int, Tally] = {}
        self._reused: dict[int, Tally] = {}

    def read(self, connection: Connection) -> Catalogue:
        """The catalogue as of now, or of a moment ago."""
        with self._lock:
            if time.monotonic() - self._read_at >= self._fresh_s:
                self._found = self._renewed(connection)
                self._read_at = time.monotonic()
            return self._found

    def _renewed(self, connection: Connection) -> Catalogue:
        old = self._found
        marks = int(connection.execute(select(func.count()).select_from(FORGOTTEN)).scalar_one())
        last = int(connection.execute(select(func.max(TRIALS.c.id))).scalar() or 0)
        # Counted anew where trials need not be stored in the order of their numbers (several writers on
        # one server), where a mark changes what a trial counts as, and at first.
        afresh = marks != self._marks or last < old.last_trial or not old.sweeps
        if connection.dialect.name != "sqlite" and last != old.last_trial:
            afresh = True
        self._marks = marks
        if afresh:
            self._measured = {}
            old = Catalogue()
        if last != old.last_trial:
            _count_measured(connection, self._measured, old.last_trial, last, marks > 0)
        entries = _entries(connection, old.sweeps)
        # What a sweep reuses has no number of a trial of its own; it changes only while the sweep runs.
        ended = {i for i, entry in old.sweeps.items() if entry.state == _FINAL}
        if afresh:
            self._reused = _count_reused(connection, None)
        else:
            again = [i for i in entries if i not in ended]
            self._reused = {**self._reused, **_count_reused(connection, again)}
        return Catalogue(
            sweeps={i: replace(entry, tally=self._tally(i)) for i, entry in entries.items()},
            workloads=_grown(connection, WORKLOADS, old.workloads, workload_of),
            kernels=_grown(connection, KERNELS, old.kernels, kernel_of),
            devices={row.id: device_of(row) for row in connection.execute(select(DEVICES))},
            last_trial=last,
        )

    def _tally(self, sweep: int) -> Tally:
        own, reused = self._measured.get(sweep, Tally()), self._reused.get(sweep)
        if reused is None:
            return own
        times = [t.best_s for t in (own, reused) if t.best_s is not None]
        counts = Counter(own.counts) + Counter(reused.counts)
        return Tally(dict(counts), reused.trials, min(times, default=None))


def _grown(connection: Connection, table: Any, known: Mapping[int, Any], made: Any) -> dict[int, Any]:
    """Rows of a table that only grows."""
    fresh = connection.execute(select(table).where(table.c.id > max(known, default=0)))
    return {**known, **{whole(row.id): made(row) for row in fresh}}


def _entries(connection: Connection, known: Mapping[int, SweepEntry]) -> dict[int, SweepEntry]:
    """All sweeps; those that are finished are not read again."""
    newest = max(known, default=0)
    changed = {i for i, entry in known.items() if entry.state != _FINAL}
    entries = dict(known)
    columns = (
        SWEEPS.c.id, SWEEPS.c.workload_id, SWEEPS.c.kernel_id, SWEEPS.c.device_id, SWEEPS.c.target,
        SWEEPS.c.searcher, SWEEPS.c.threads, SWEEPS.c.cache, SWEEPS.c.status, SWEEPS.c.owner, SWEEPS.c.budget,
        SWEEPS.c.started_at, SWEEPS.c.finished_at,
    )  # fmt: skip
    wanted = [SWEEPS.c.id > newest, *(SWEEPS.c.id.in_(some) for some in chunks(sorted(changed)))]
    for condition in wanted:
        for row in connection.execute(select(*columns).where(condition)):
            entries[row.id] = _entry(connection, row)
    return dict(sorted(entries.items()))


def _entry(connection: Connection, row: Any) -> SweepEntry:
    state = words(row.status)
    if state == "running" and not owners.lives(connection, words(row.owner)):
        state = "interrupted"
    return SweepEntry(
        id=whole(row.id), workload=whole(row.workload_id), kernel=whole(row.kernel_id),
        device=whole(row.device_id), target=words(row.target), searcher=words(row.searcher),
        threads=whole(row.threads), cache=words(row.cache), state=state, budget=record(row.budget),
        started_at=words(row.started_at), finished_at=row.finished_at,
    )  # fmt: skip


def _count_measured(
    connection: Connection, known: dict[int, Tally], after: int, last: int, marked: bool
) -> None:
    """Adds the trials `after < id <= last` to their sweeps' tallies; all there are from an index alone."""
    statement = (
        select(
            TRIALS.c.sweep_id, TRIALS.c.evidence, TRIALS.c.status, func.count().label("trials"),
            func.min(TRIALS.c.time_s).label("best_s"),
        ).group_by(TRIALS.c.sweep_id, TRIALS.c.evidence, TRIALS.c.status)
    )  # fmt: skip
    statement = statement.where(TRIALS.c.id > after, TRIALS.c.id <= last) if after else statement
    for row in connection.execute(statement):
        known[row.sweep_id] = _added(known.get(row.sweep_id, Tally()), row)
    if not marked:
        return
    forgotten = (
        select(TRIALS.c.sweep_id, TRIALS.c.evidence, TRIALS.c.status, func.count().label("trials"))
        .join(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
        .where(TRIALS.c.id > after, TRIALS.c.id <= last)
        .group_by(TRIALS.c.sweep_id, TRIALS.c.evidence, TRIALS.c.status)
    )
    for row in connection.execute(forgotten):
        tally = known.get(row.sweep_id, Tally())
        counts = Counter(tally.counts)
        counts[words(row.evidence), words(row.status)] -= row.trials
        counts[words(row.evidence), str(Status.ENVIRONMENT)] += row.trials
        known[row.sweep_id] = replace(tally, counts=dict(+counts))


def _added(tally: Tally, row: Any) -> Tally:
    counts = Counter(tally.counts)
    counts[words(row.evidence), words(row.status)] += whole(row.trials)
    best_s = tally.best_s
    if row.status == Status.OK and row.best_s is not None:
        best_s = min(positive(row.best_s), best_s or float("inf"))
    return Tally(dict(counts), 0, best_s)


def _count_reused(connection: Connection, sweeps: Sequence[int] | None) -> dict[int, Tally]:
    """Proposals served from other sweeps' trials, of these sweeps or of all."""
    found: dict[int, Tally] = {}
    status = effective_status()
    statement = (
        select(
            SWEEP_TRIALS.c.sweep_id, TRIALS.c.evidence, status.label("status"), func.count().label("trials"),
            func.min(TRIALS.c.time_s).label("best_s"),
        )
        .join(TRIALS, TRIALS.c.id == SWEEP_TRIALS.c.trial_id)
        .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
        # A literal: SQLite uses a partial index only where it can see the value.
        .where(SWEEP_TRIALS.c.reused == literal_column("1"))
        .group_by(SWEEP_TRIALS.c.sweep_id, TRIALS.c.evidence, status)
    )  # fmt: skip
    wanted = [statement]
    if sweeps is not None:
        wanted = [statement.where(SWEEP_TRIALS.c.sweep_id.in_(some)) for some in chunks(sweeps)]
    for each in wanted:
        for row in connection.execute(each):
            found[row.sweep_id] = _added(found.get(row.sweep_id, Tally()), row)
    return found
