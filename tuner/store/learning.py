"""What searchers learn from and what curves are drawn from: histories of kernels and of sweeps."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from tuner.core.measurement import Evidence, Status
from tuner.core.searcher import Observation
from tuner.store.convert import from_stamp, measurement_of, workload_of
from tuner.store.queries import devices, joined_trials, of_candidates, sweep_started
from tuner.store.records import CurvePoint, DeviceInfo, HistoryGroup, KernelInfo
from tuner.store.writes import KERNELS, SWEEP_TRIALS, TRIALS


def history(
    connection: Connection, kernel: str, operator: str, evidence: Collection[Evidence], limit: int
) -> list[HistoryGroup]:
    """See `Store.history`."""
    statement = (
        joined_trials()
        .add_columns(KERNELS.c.language)
        .where(
            KERNELS.c.name == kernel,
            KERNELS.c.operator == operator,
            TRIALS.c.evidence.in_([str(e) for e in evidence]),
            of_candidates(),
        )
        .order_by(TRIALS.c.id)
    )
    groups: dict[tuple[Any, ...], dict[str, Row[Any]]] = defaultdict(dict)
    for row in connection.execute(statement):
        key = (row.workload_id, row.device_id, row.kernel_id, row.target, row.protocol_digest)
        group = groups[key]
        group.pop(row.identity, None)  # the latest of an identity takes the latest place
        group[row.identity] = row
    known = {d.fingerprint: d for d in devices(connection)}
    return [_group_of(list(rows.values())[-limit:], known) for rows in groups.values()]


def _group_of(rows: Sequence[Row[Any]], known: Mapping[str, DeviceInfo]) -> HistoryGroup:
    first = rows[0]
    return HistoryGroup(
        workload=workload_of(first),
        device=known[first.fingerprint],
        kernel=KernelInfo(first.kernel_name, first.kernel_digest, first.language, first.operator),
        target=first.target,
        threads=first.threads,
        cache=first.cache,
        protocol=first.protocol_digest,
        observations=tuple(Observation(json.loads(row.config), measurement_of(row)) for row in rows),
    )


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
