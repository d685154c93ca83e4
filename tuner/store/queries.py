"""Rows out: sweeps, trials, devices and histories, as the records of `tuner.store.records`."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    LABEL_STYLE_TABLENAME_PLUS_COL,
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    func,
    select,
)

from tuner.core.errors import StoreError
from tuner.core.measurement import Evidence, Status
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.trial import Trial
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.store.convert import from_stamp, trial_of, workload_of
from tuner.store.owner import is_alive
from tuner.store.records import (
    DeviceInfo,
    Final,
    FinalEntry,
    KernelInfo,
    Sweep,
    SweepSpec,
    TrialDetail,
)
from tuner.store.writes import (
    DEVICES,
    FINAL_ENTRIES,
    FINALS,
    FORGOTTEN,
    KERNELS,
    SWEEP_TRIALS,
    SWEEPS,
    TOOLCHAINS,
    TRIALS,
    WORKLOADS,
)

# SQLite takes 32,766 variables a statement, others fewer.
CHUNK = 500

_TIMEOUTS = {Status.BUILD_TIMEOUT: "build_timeout_s", Status.RUN_TIMEOUT: "run_timeout_s"}


def joined_trials() -> Select[Any]:
    """Trials with all that `trial_of` and `workload_of` need."""
    return (
        select(
            TRIALS,
            KERNELS.c.name.label("kernel_name"),
            KERNELS.c.digest.label("kernel_digest"),
            TOOLCHAINS.c.digest.label("toolchain_digest"),
            DEVICES.c.fingerprint,
            WORKLOADS.c.operator,
            WORKLOADS.c.dtype,
            WORKLOADS.c.dims,
            WORKLOADS.c.options,
            FORGOTTEN.c.trial_id.is_not(None).label("forgotten"),
        )
        .join(KERNELS, KERNELS.c.id == TRIALS.c.kernel_id)
        .join(TOOLCHAINS, TOOLCHAINS.c.id == TRIALS.c.toolchain_id)
        .join(DEVICES, DEVICES.c.id == TRIALS.c.device_id)
        .join(WORKLOADS, WORKLOADS.c.id == TRIALS.c.workload_id)
        .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
    )


def of_candidates() -> ColumnElement[bool]:
    """The condition on `joined_trials` that a trial says something of its candidate, not of the machine."""
    return (TRIALS.c.status != str(Status.ENVIRONMENT)) & FORGOTTEN.c.trial_id.is_(None)


def _rebuild(rows: Sequence[Row[Any]]) -> list[Trial]:
    workloads: dict[int, Workload] = {}
    trials = []
    for row in rows:
        if row.workload_id not in workloads:
            workloads[row.workload_id] = workload_of(row)
        trials.append(trial_of(row, workloads[row.workload_id]))
    return trials


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Slices short enough for one statement."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def find_identities(
    connection: Connection,
    digests: Collection[str],
    evidence: Collection[Evidence],
    protocol: Protocol | None,
) -> dict[str, Trial]:
    """See `Store.find_identities`."""
    found: dict[str, Trial] = {}
    for part in chunks(sorted(set(digests))):
        statement = (
            joined_trials()
            .add_columns(SWEEPS.c.protocol.label("sweep_protocol"))
            .join(SWEEPS, SWEEPS.c.id == TRIALS.c.sweep_id)
            .where(TRIALS.c.identity.in_(part), TRIALS.c.evidence.in_([str(e) for e in evidence]))
            .where(of_candidates())
            .order_by(TRIALS.c.id)
        )
        rows = connection.execute(statement).all()
        if protocol is not None:
            rows = [row for row in rows if _known(row, protocol)]
        for row, trial in zip(rows, _rebuild(rows), strict=True):
            found[row.identity] = trial
    return found


def _known(row: Row[Any], protocol: Protocol) -> bool:
    status = Status(row.status)
    if status is Status.PRUNED:
        return protocol.prune_factor > 0
    if status in _TIMEOUTS:
        then = Protocol.from_dict(json.loads(row.sweep_protocol))
        name = _TIMEOUTS[status]
        return bool(getattr(then, name) >= getattr(protocol, name))
    return True


def sweep_history(connection: Connection, sweep_id: int) -> list[Trial]:
    """The trials of a sweep in the order of its proposals, reused ones included."""
    statement = (
        joined_trials()
        .join(SWEEP_TRIALS, SWEEP_TRIALS.c.trial_id == TRIALS.c.id)
        .where(SWEEP_TRIALS.c.sweep_id == sweep_id)
        .order_by(SWEEP_TRIALS.c.number)
    )
    return _rebuild(connection.execute(statement).all())


def trial_detail(connection: Connection, trial_id: int) -> TrialDetail:
    """A trial with its surroundings.

    Raises:
        StoreError: there is none of this id.
    """
    statement = joined_trials().add_columns(
        TOOLCHAINS.c.name.label("tool"), TOOLCHAINS.c.version, TOOLCHAINS.c.flags
    )
    row = connection.execute(statement.where(TRIALS.c.id == trial_id)).one_or_none()
    if row is None:
        raise StoreError(f"there is no trial {trial_id}: {_range(connection, TRIALS.c.id, 'trials')}")
    kernel = connection.execute(select(KERNELS).where(KERNELS.c.id == row.kernel_id)).one()
    entries = connection.execute(
        select(FINAL_ENTRIES, FINALS.c.disturbed)
        .join(FINALS, FINALS.c.id == FINAL_ENTRIES.c.final_id)
        .where(FINAL_ENTRIES.c.trial_id == trial_id)
        .order_by(FINAL_ENTRIES.c.final_id)
    ).all()
    return TrialDetail(
        trial=trial_of(row, workload_of(row)),
        sweep=row.sweep_id,
        kernel=KernelInfo(kernel.name, kernel.digest, kernel.language, kernel.operator),
        device=devices(connection, row.device_id)[0],
        toolchain=(row.tool, row.version, tuple(json.loads(row.flags))),
        threads=row.threads,
        cache=row.cache,
        finals=tuple(final_entry_of(e) for e in entries),
    )


def _range(connection: Connection, column: ColumnElement[int], what: str) -> str:
    last = connection.execute(select(func.max(column))).scalar()
    return f"the database has {what} 1 to {last}" if last else f"the database has no {what}"


def device_of(row: Any) -> DeviceInfo:
    """The device of a row with the columns of `devices`."""
    return DeviceInfo(
        fingerprint=row.fingerprint,
        name=row.name,
        kind=row.kind,
        target=row.target,
        facts=json.loads(row.facts),
        limits=json.loads(row.limits),
        created_at=from_stamp(row.created_at),
    )


def devices(connection: Connection, device_id: int | None = None) -> list[DeviceInfo]:
    """All devices, or the one of an id."""
    statement = select(DEVICES).order_by(DEVICES.c.id)
    if device_id is not None:
        statement = statement.where(DEVICES.c.id == device_id)
    return [device_of(row) for row in connection.execute(statement)]


def device_limits(connection: Connection, fingerprint: str) -> dict[str, float]:
    """The measured limits of a device by its fingerprint; none where it is not stored."""
    wanted = select(DEVICES.c.limits).where(DEVICES.c.fingerprint == fingerprint)
    return dict(json.loads(connection.execute(wanted).scalar() or "{}"))


def sweeps(connection: Connection, where: Sequence[ColumnElement[bool]] = ()) -> list[Sweep]:
    """Sweeps that meet the conditions, oldest first, with their counts."""
    statement = (
        select(SWEEPS, WORKLOADS, KERNELS, DEVICES)
        .join(WORKLOADS, WORKLOADS.c.id == SWEEPS.c.workload_id)
        .join(KERNELS, KERNELS.c.id == SWEEPS.c.kernel_id)
        .join(DEVICES, DEVICES.c.id == SWEEPS.c.device_id)
        .where(*where)
        .order_by(SWEEPS.c.id)
        .set_label_style(LABEL_STYLE_TABLENAME_PLUS_COL)
    )
    rows = connection.execute(statement).all()
    counts = _counts(connection, [row.sweeps_id for row in rows])
    return [_sweep_of(row, counts[row.sweeps_id]) for row in rows]


def _counts(connection: Connection, ids: Sequence[int]) -> Mapping[int, list[Row[Any]]]:
    counted: dict[int, list[Row[Any]]] = defaultdict(list)
    for part in chunks(ids):
        forgotten = FORGOTTEN.c.trial_id.is_not(None)
        status = case((forgotten, str(Status.ENVIRONMENT)), else_=TRIALS.c.status).label("status")
        statement = (
            select(
                SWEEP_TRIALS.c.sweep_id,
                status,
                func.count().label("trials"),
                func.sum(SWEEP_TRIALS.c.reused).label("reused"),
                func.min(TRIALS.c.time_s).label("best_s"),
            )
            .join(TRIALS, TRIALS.c.id == SWEEP_TRIALS.c.trial_id)
            .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
            .where(SWEEP_TRIALS.c.sweep_id.in_(part))
            .group_by(SWEEP_TRIALS.c.sweep_id, status)
        )
        for row in connection.execute(statement):
            counted[row.sweep_id].append(row)
    return counted


def _sweep_of(row: Any, counts: Sequence[Row[Any]]) -> Sweep:
    workload = Workload(
        row.workloads_operator,
        row.workloads_dtype,
        tuple(json.loads(row.workloads_dims).items()),
        tuple(json.loads(row.workloads_options).items()),
    )
    device = DeviceInfo(
        row.devices_fingerprint, row.devices_name, row.devices_kind, row.devices_target,
        json.loads(row.devices_facts), json.loads(row.devices_limits), from_stamp(row.devices_created_at),
    )  # fmt: skip
    kernel = KernelInfo(row.kernels_name, row.kernels_digest, row.kernels_language, row.kernels_operator)
    spec = SweepSpec(
        workload=workload,
        device=device,
        kernel=kernel,
        target=row.sweeps_target,
        searcher=row.sweeps_searcher,
        seed=row.sweeps_seed,
        protocol=Protocol.from_dict(json.loads(row.sweeps_protocol)),
        budget=json.loads(row.sweeps_budget),
        note=row.sweeps_note,
    )
    return Sweep(
        id=row.sweeps_id,
        spec=spec,
        status=row.sweeps_status,
        started_at=from_stamp(row.sweeps_started_at),
        finished_at=from_stamp(row.sweeps_finished_at) if row.sweeps_finished_at else None,
        summary=json.loads(row.sweeps_summary),
        trials=sum(c.trials for c in counts),
        reused=sum(int(c.reused) for c in counts),
        statuses={c.status: c.trials for c in sorted(counts, key=lambda c: -c.trials)},
        best_s=next((c.best_s for c in counts if c.status == Status.OK), None),
    )


def sweep(connection: Connection, sweep_id: int) -> Sweep:
    """One sweep.

    Raises:
        StoreError: there is none of this id.
    """
    found = sweeps(connection, [SWEEPS.c.id == sweep_id])
    if not found:
        raise StoreError(f"there is no sweep {sweep_id}: {_range(connection, SWEEPS.c.id, 'sweeps')}")
    return found[0]


def resumable(connection: Connection, spec: SweepSpec) -> int | None:
    """See `Store.resumable`."""
    statement = (
        select(SWEEPS.c.id, SWEEPS.c.status, SWEEPS.c.owner)
        .join(WORKLOADS, WORKLOADS.c.id == SWEEPS.c.workload_id)
        .join(KERNELS, KERNELS.c.id == SWEEPS.c.kernel_id)
        .join(DEVICES, DEVICES.c.id == SWEEPS.c.device_id)
        .where(
            SWEEPS.c.status != "finished",
            WORKLOADS.c.key == spec.workload.key,
            KERNELS.c.name == spec.kernel.name,
            KERNELS.c.digest == spec.kernel.digest,
            DEVICES.c.fingerprint == spec.device.fingerprint,
            SWEEPS.c.target == spec.target,
            SWEEPS.c.searcher == spec.searcher,
            SWEEPS.c.seed == spec.seed,
            SWEEPS.c.protocol_digest == spec.protocol.digest,
        )
        .order_by(SWEEPS.c.id.desc())
    )
    for row in connection.execute(statement):
        if row.status != "running" or not is_alive(row.owner):
            return int(row.id)
    return None


def sweep_started(connection: Connection, sweep_id: int) -> str:
    """When a sweep began, as stored.

    Raises:
        StoreError: there is none of this id.
    """
    found = connection.execute(select(SWEEPS.c.started_at).where(SWEEPS.c.id == sweep_id)).scalar()
    if found is None:
        raise StoreError(f"there is no sweep {sweep_id}: {_range(connection, SWEEPS.c.id, 'sweeps')}")
    return str(found)


def final_entry_of(row: Any) -> FinalEntry:
    """The entry of a row with the columns of `final_entries` and its final's `disturbed`."""
    speedup = None
    if row.speedup is not None:
        speedup = Interval(row.speedup_low, row.speedup, row.speedup_high)
    return FinalEntry(
        trial_id=row.trial_id,
        role=row.role,
        turns=Turns(tuple(json.loads(row.samples)), tuple(json.loads(row.processes))),
        speedup=speedup,
        winner=bool(row.winner),
        tie=bool(row.tie),
        interval=Interval(row.low_s, row.median_s, row.high_s),
        disturbed=row.disturbed,
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
            device=row.fingerprint,
            protocol=Protocol.from_dict(json.loads(row.protocol)),
            entries=tuple(entries[row.id]),
            baseline=row.baseline_id,
            sweep_id=row.sweep_id,
            id=row.id,
            created_at=from_stamp(row.created_at),
            disturbed=row.disturbed,
        )
        for row in rows
    ]


def final(connection: Connection, final_id: int) -> Final:
    """One final.

    Raises:
        StoreError: there is none of this id.
    """
    found = finals(connection, [FINALS.c.id == final_id])
    if not found:
        raise StoreError(f"there is no final {final_id}: {_range(connection, FINALS.c.id, 'finals')}")
    return found[0]
