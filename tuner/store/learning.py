"""What searchers learn from and what curves are drawn from: histories of kernels and of sweeps."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, literal_column, select

from tuner.core.measurement import TIMED_STATUSES, Evidence, Measurement, Status
from tuner.core.searcher import Observation
from tuner.store.checked import positive, scalars, whole, words
from tuner.store.convert import chunks, from_stamp, workload_of
from tuner.store.queries import device_of, kernel_of, of_candidates, sweep_started
from tuner.store.records import CurvePoint, HistoryGroup
from tuner.store.writes import DEVICES, FORGOTTEN, KERNELS, SWEEP_TRIALS, SWEEPS, TRIALS, WORKLOADS

FASTEST_SHARE = 8
"""Of a group cut to a limit, one in so many is of its fastest trials; the rest are its newest."""


def groups(connection: Connection, kernel: str, operator: str) -> list[HistoryGroup]:
    """See `Store.history_groups`. Reads sweeps and an index of trials, not the trials."""
    statement = (
        select(
            SWEEPS.c.id, SWEEPS.c.workload_id, SWEEPS.c.device_id, SWEEPS.c.kernel_id, SWEEPS.c.target,
            SWEEPS.c.protocol_digest, SWEEPS.c.threads, SWEEPS.c.cache, KERNELS.c.name, KERNELS.c.digest,
            KERNELS.c.language, KERNELS.c.operator,
        )
        .join(KERNELS, KERNELS.c.id == SWEEPS.c.kernel_id)
        .where(KERNELS.c.name == kernel, KERNELS.c.operator == operator)
        .order_by(SWEEPS.c.id)
    )  # fmt: skip
    grouped: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for row in connection.execute(statement):
        # A trial has the workload, device, kernel, target and protocol of its sweep: see `writes.add_trials`.
        key = (row.workload_id, row.device_id, row.kernel_id, row.target, row.protocol_digest)
        grouped[key].append(row)
    counts = _trials_of(connection, [row.id for rows in grouped.values() for row in rows])
    workloads = {
        row.id: workload_of(row)
        for part in chunks(sorted({key[0] for key in grouped}))
        for row in connection.execute(select(WORKLOADS).where(WORKLOADS.c.id.in_(part)))
    }
    devices = {
        row.id: device_of(row)
        for part in chunks(sorted({key[1] for key in grouped}))
        for row in connection.execute(select(DEVICES).where(DEVICES.c.id.in_(part)))
    }
    return [
        HistoryGroup(
            workload=workloads[workload],
            device=devices[device],
            kernel=kernel_of(rows[0]),
            target=words(target),
            threads=whole(rows[0].threads),
            cache=words(rows[0].cache),
            protocol=words(protocol),
            ids=(workload, device, rows[0].kernel_id),
            sweeps={row.id: counts[row.id] for row in rows if row.id in counts},
        )
        for (workload, device, _, target, protocol), rows in grouped.items()
    ]


def _trials_of(connection: Connection, sweeps: Sequence[int]) -> dict[int, dict[str, int]]:
    """How many trials of each evidence the sweeps measured; from an index alone."""
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for part in chunks(sweeps):
        statement = (
            select(TRIALS.c.sweep_id, TRIALS.c.evidence, func.count().label("trials"))
            .where(TRIALS.c.sweep_id.in_(part))
            .group_by(TRIALS.c.sweep_id, TRIALS.c.evidence)
        )
        for row in connection.execute(statement):
            counts[row.sweep_id][row.evidence] = row.trials
    return counts


def observations(
    connection: Connection, group: HistoryGroup, evidence: Collection[Evidence], limit: int
) -> tuple[Observation, ...]:
    """See `Store.observations`."""
    kinds = sorted({str(e) for e in evidence})
    stored = group.count(evidence)
    fastest = limit // FASTEST_SHARE if stored > limit else 0
    rows: dict[int, Row[Any]] = {}
    for kind in kinds if fastest else ():
        for row in _fastest(connection, group, kind, fastest):
            rows[row.id] = row
    for row in _newest(connection, group, kinds, limit - fastest):
        rows[row.id] = row
    latest = {row.identity: row for _, row in sorted(rows.items())}
    return tuple(_observation(row) for row in sorted(latest.values(), key=lambda row: row.id))


_COLUMNS = (
    TRIALS.c.id, TRIALS.c.identity, TRIALS.c.config, TRIALS.c.status, TRIALS.c.evidence, TRIALS.c.time_s,
    func.substr(TRIALS.c.error, 1, 200).label("error"),
    # The only metric a searcher needs: a disturbed time is worth less.
    TRIALS.c.metrics.contains('"disturbed_share"').label("disturbed"),
)  # fmt: skip


def _right(group: HistoryGroup, evidence: str) -> list[ColumnElement[bool]]:
    """The conditions of `ix_trials_best` for a group."""
    workload, device, kernel = group.ids
    return [
        TRIALS.c.workload_id == workload, TRIALS.c.device_id == device, TRIALS.c.kernel_id == kernel,
        TRIALS.c.threads == group.threads, TRIALS.c.cache == group.cache, TRIALS.c.evidence == evidence,
        # A literal: SQLite uses a partial index only where it can see the value.
        TRIALS.c.status == literal_column("'ok'"),
        TRIALS.c.time_s.is_not(None),
    ]  # fmt: skip


def _fastest(connection: Connection, group: HistoryGroup, evidence: str, count: int) -> list[Row[Any]]:
    """The fastest right trials of a group, the fastest first."""
    statement = (
        select(*_COLUMNS)
        .where(
            *_right(group, evidence),
            TRIALS.c.target == group.target,
            TRIALS.c.protocol_digest == group.protocol,
        )
        .order_by(TRIALS.c.time_s, TRIALS.c.id)
        .limit(count)
    )
    return list(connection.execute(statement))


def _newest(connection: Connection, group: HistoryGroup, kinds: Sequence[str], count: int) -> Iterator[Any]:
    """The latest trials of a group, the newest sweep first; reads about `count` rows of a sweep at most."""
    for sweep, stored in sorted(group.sweeps.items(), reverse=True):
        if count <= 0:
            return
        if not any(stored.get(kind) for kind in kinds):
            continue
        statement = (
            select(*_COLUMNS)
            .join(SWEEP_TRIALS, SWEEP_TRIALS.c.trial_id == TRIALS.c.id)
            .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
            .where(of_candidates())
            # A trial that the sweep reused belongs to the sweep that measured it.
            .where(SWEEP_TRIALS.c.sweep_id == sweep, TRIALS.c.sweep_id == sweep, TRIALS.c.evidence.in_(kinds))
            .order_by(SWEEP_TRIALS.c.number.desc())
            .limit(count)
        )
        found = connection.execute(statement).all()
        count -= len(found)
        yield from found


def fastest_predicted(
    connection: Connection, group: HistoryGroup, limit: int
) -> tuple[int, tuple[Observation, ...]]:
    """See `Store.fastest_predicted`."""
    kind = str(Evidence.PREDICTED)
    if not group.count([kind]):
        return 0, ()
    rows = _fastest(connection, group, kind, limit)
    latest: dict[str, Row[Any]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        latest[row.identity] = row
    count = len(latest)
    if len(rows) == limit:
        count = int(connection.execute(select(func.count()).where(*_right(group, kind))).scalar_one())
    fastest = sorted(latest.values(), key=lambda row: (row.time_s, row.id))
    return count, tuple(_observation(row) for row in fastest)


def _observation(row: Row[Any]) -> Observation:
    """The configuration, its time with drift divided out as one sample, and whether it was disturbed."""
    samples = () if row.time_s is None else (positive(row.time_s),)
    status = Status(row.status)
    error = "" if status is Status.OK else words(row.error).partition("\n")[0]
    if not error and status not in TIMED_STATUSES:
        error = "failed"  # its text begins with an empty line
    metrics = {"disturbed_share": 1.0} if row.disturbed else {}
    measurement = Measurement(status, Evidence(row.evidence), samples, error, metrics=metrics)
    return Observation(scalars(row.config), measurement)


def best_so_far(connection: Connection, sweep_id: int) -> list[CurvePoint]:
    """The best-so-far curve of a sweep."""
    started = from_stamp(sweep_started(connection, sweep_id))
    statement = (
        select(
            SWEEP_TRIALS.c.number,
            SWEEP_TRIALS.c.reused,
            TRIALS.c.status,
            TRIALS.c.time_s,
            TRIALS.c.created_at,
        )
        .join(TRIALS, TRIALS.c.id == SWEEP_TRIALS.c.trial_id)
        .where(SWEEP_TRIALS.c.sweep_id == sweep_id)
        .order_by(SWEEP_TRIALS.c.number)
    )
    points: list[CurvePoint] = []
    best, elapsed = None, 0.0
    for row in connection.execute(statement):
        if row.status == Status.OK and row.time_s is not None and (best is None or row.time_s < best):
            best = row.time_s
        if not row.reused:
            elapsed = max(elapsed, (from_stamp(row.created_at) - started).total_seconds())
        points.append(CurvePoint(row.number, elapsed, best))
    return points
