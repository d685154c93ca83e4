"""Rows out: sweeps, trials, devices and histories, as the records of `tuner.store.records`."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    LABEL_STYLE_TABLENAME_PLUS_COL,
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    func,
    literal_column,
    select,
)

from tuner.core.disturbance import is_disturbed
from tuner.core.measurement import Evidence, Status
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.store import owners
from tuner.store.checked import plain_json, real, record, whole, words
from tuner.store.convert import chunks, from_stamp, trial_of, workload_of
from tuner.store.errors import NotStored
from tuner.store.finals import final_entry_of, range_of
from tuner.store.records import (
    DeviceInfo,
    KernelInfo,
    StoredSweep,
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
            # A time of a busy machine is measured again; an import only asks what is there.
            if protocol is None or not is_disturbed(trial.measurement.metrics):
                found[row.identity] = trial
    return found


def _known(row: Row[Any], protocol: Protocol) -> bool:
    status = Status(row.status)
    if status is Status.PRUNED:
        return protocol.prune_factor > 0
    if status in _TIMEOUTS:
        then = Protocol.from_dict(record(row.sweep_protocol))
        name = _TIMEOUTS[status]
        return bool(getattr(then, name) >= getattr(protocol, name))
    return True


def sweep_history(connection: Connection, sweep_id: int) -> list[tuple[int, Trial]]:
    """The trials of a sweep with the numbers of its proposals, in their order, reused ones included."""
    statement = (
        joined_trials()
        .add_columns(SWEEP_TRIALS.c.number)
        .join(SWEEP_TRIALS, SWEEP_TRIALS.c.trial_id == TRIALS.c.id)
        .where(SWEEP_TRIALS.c.sweep_id == sweep_id)
        .order_by(SWEEP_TRIALS.c.number)
    )
    rows = connection.execute(statement).all()
    return [(whole(row.number), trial) for row, trial in zip(rows, _rebuild(rows), strict=True)]


def fastest(connection: Connection, sweep_id: int, count: int) -> list[Trial]:
    """The fastest right trials of a sweep, reused ones included, the fastest first."""
    known: dict[int, float] = {}
    right = (TRIALS.c.status == Status.OK, TRIALS.c.time_s.is_not(None))
    kinds = select(TRIALS.c.evidence).where(TRIALS.c.sweep_id == sweep_id).distinct()
    timed = (
        select(TRIALS.c.id, TRIALS.c.time_s).where(*right).order_by(TRIALS.c.time_s, TRIALS.c.id).limit(count)
    )
    for kind in connection.execute(kinds).scalars().all():
        own = timed.where(TRIALS.c.sweep_id == sweep_id, TRIALS.c.evidence == kind)
        known.update({row.id: row.time_s for row in connection.execute(own)})
    others = timed.join(SWEEP_TRIALS, SWEEP_TRIALS.c.trial_id == TRIALS.c.id).where(
        SWEEP_TRIALS.c.sweep_id == sweep_id, SWEEP_TRIALS.c.reused == literal_column("1")
    )
    known.update({row.id: row.time_s for row in connection.execute(others)})
    ids = sorted(known, key=lambda i: (known[i], i))[:count]
    rows = connection.execute(joined_trials().where(TRIALS.c.id.in_(ids))).all()
    return sorted(_rebuild(rows), key=lambda t: ids.index(t.id or 0))


def failures(connection: Connection, sweep_id: int, looked_at: int) -> list[tuple[str, str]]:
    """Status and the beginning of the error of the latest failures of a sweep, at most so many."""
    status = effective_status()
    statement = (
        select(status.label("status"), func.substr(TRIALS.c.error, 1, 400).label("error"))
        .join(SWEEP_TRIALS, SWEEP_TRIALS.c.trial_id == TRIALS.c.id)
        .outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id)
        .where(SWEEP_TRIALS.c.sweep_id == sweep_id, TRIALS.c.error != "")
        .order_by(SWEEP_TRIALS.c.number.desc())
        .limit(looked_at)
    )
    return [(row.status, row.error) for row in connection.execute(statement)]


def trial_detail(connection: Connection, trial_id: int) -> TrialDetail:
    """A trial with its surroundings.

    Raises:
        NotStored: there is none of this id.
    """
    statement = (
        joined_trials()
        .add_columns(
            TOOLCHAINS.c.name.label("tool"), TOOLCHAINS.c.version, TOOLCHAINS.c.flags,
            SWEEPS.c.protocol.label("sweep_protocol"),
        )
        .join(SWEEPS, SWEEPS.c.id == TRIALS.c.sweep_id)
    )  # fmt: skip
    row = connection.execute(statement.where(TRIALS.c.id == trial_id)).one_or_none()
    if row is None:
        raise NotStored(f"there is no trial {trial_id}: {range_of(connection, TRIALS.c.id, 'trials')}")
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
        kernel=kernel_of(kernel),
        device=devices(connection, row.device_id)[0],
        toolchain=(words(row.tool), words(row.version), tuple(words(f) for f in plain_json(row.flags))),
        threads=whole(row.threads),
        cache=words(row.cache),
        finals=tuple(final_entry_of(e) for e in entries),
        timer=timer_of(row.sweep_protocol),
    )


def effective_status() -> ColumnElement[str]:
    """The status that a trial reads as, in a statement that joins `forgotten_trials` outside."""
    return case((FORGOTTEN.c.trial_id.is_not(None), str(Status.ENVIRONMENT)), else_=TRIALS.c.status)


def timer_of(protocol: Any) -> str:
    """Whose stopwatch a sweep's protocol names; read only where it names one, which few do."""
    return words(record(protocol).get("timer", "")) if '"timer"' in words(protocol) else ""


def between_of(protocol: Any) -> int:
    """Bytes that pass between two calls by a sweep's protocol; read only where it says so, which few do."""
    return whole(record(protocol).get("between_bytes", 0)) if '"between_bytes"' in words(protocol) else 0


def device_of(row: Any) -> DeviceInfo:
    """The device of a row with the columns of `devices`."""
    return DeviceInfo(
        fingerprint=words(row.fingerprint),
        name=words(row.name),
        kind=words(row.kind),
        target=words(row.target),
        facts=record(row.facts),
        limits=limits_of(row.limits),
        created_at=from_stamp(row.created_at),
    )


def kernel_of(row: Any) -> KernelInfo:
    """The kernel of a row with the columns of `kernels`."""
    return KernelInfo(words(row.name), words(row.digest), words(row.language), words(row.operator))


def limits_of(text: Any) -> dict[str, float]:
    """The column `devices.limits`."""
    return {name: real(value) for name, value in record(text).items()}


def devices(connection: Connection, device_id: int | None = None) -> list[DeviceInfo]:
    """All devices, or the one of an id."""
    statement = select(DEVICES).order_by(DEVICES.c.id)
    if device_id is not None:
        statement = statement.where(DEVICES.c.id == device_id)
    return [device_of(row) for row in connection.execute(statement)]


def device_limits(connection: Connection, fingerprint: str) -> dict[str, float]:
    """The measured limits of a device by its fingerprint; none where it is not stored."""
    wanted = select(DEVICES.c.limits).where(DEVICES.c.fingerprint == fingerprint)
    return limits_of(connection.execute(wanted).scalar() or "{}")


def sweeps(connection: Connection, where: Sequence[ColumnElement[bool]] = ()) -> list[StoredSweep]:
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
    counted = _counts(connection, [row.sweeps_id for row in rows])
    running = [words(row.sweeps_owner) for row in rows if row.sweeps_status == "running"]
    known = owners.look(connection, running)
    # A killed process leaves `running` behind.
    left = {row.sweeps_id for row in rows
            if row.sweeps_status == "running" and not known[words(row.sweeps_owner)].lives}  # fmt: skip
    found = [_sweep_of(row, counted[row.sweeps_id]) for row in rows]
    return [replace(each, status="interrupted") if each.id in left else each for each in found]


def _counts(connection: Connection, ids: Sequence[int]) -> Mapping[int, list[Row[Any]]]:
    """By sweep one row a status of what it measured, and one of what it reused; the former from an index."""
    counted: dict[int, list[Row[Any]]] = defaultdict(list)
    # Marks are rare, and to look for one a trial would cost more than all the rest.
    marked = connection.execute(select(FORGOTTEN.c.trial_id).limit(1)).first() is not None
    status: ColumnElement[str] = effective_status() if marked else TRIALS.c.status
    outcome = (
        status.label("status"), func.count().label("trials"), func.min(TRIALS.c.time_s).label("best_s"),
    )  # fmt: skip

    def with_marks(statement: Select[Any]) -> Select[Any]:
        return statement.outerjoin(FORGOTTEN, FORGOTTEN.c.trial_id == TRIALS.c.id) if marked else statement

    for part in chunks(ids):
        measured = (
            with_marks(select(TRIALS.c.sweep_id, *outcome, literal_column("0").label("reused")))
            .where(TRIALS.c.sweep_id.in_(part))
            .group_by(TRIALS.c.sweep_id, TRIALS.c.evidence, status)
        )
        reused = (
            with_marks(
                select(SWEEP_TRIALS.c.sweep_id, *outcome, literal_column("1").label("reused")).join(
                    TRIALS, TRIALS.c.id == SWEEP_TRIALS.c.trial_id
                )
            )
            # A literal: SQLite uses a partial index only where it can see the value.
            .where(SWEEP_TRIALS.c.sweep_id.in_(part), SWEEP_TRIALS.c.reused == literal_column("1"))
            .group_by(SWEEP_TRIALS.c.sweep_id, status)
        )
        for statement in (measured, reused):
            for row in connection.execute(statement):
                counted[row.sweep_id].append(row)
    return counted


class _Part:
    """The columns of one table in a row of several, by their own names."""

    def __init__(self, row: Any, prefix: str) -> None:
        self._row, self._prefix = row, prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, self._prefix + name)


def _sweep_of(row: Any, outcomes: Sequence[Row[Any]]) -> StoredSweep:
    statuses: Counter[str] = Counter()
    for c in outcomes:
        statuses[c.status] += c.trials
    best_s = [c.best_s for c in outcomes if c.status == Status.OK and c.best_s is not None]
    workload, device = workload_of(_Part(row, "workloads_")), device_of(_Part(row, "devices_"))
    kernel = kernel_of(_Part(row, "kernels_"))
    spec = SweepSpec(
        workload=workload,
        device=device,
        kernel=kernel,
        target=words(row.sweeps_target),
        searcher=words(row.sweeps_searcher),
        seed=whole(row.sweeps_seed),
        protocol=Protocol.from_dict(record(row.sweeps_protocol)),
        budget=record(row.sweeps_budget),
        note=words(row.sweeps_note),
    )
    return StoredSweep(
        id=row.sweeps_id,
        spec=spec,
        status=words(row.sweeps_status),  # type: ignore[arg-type]
        started_at=from_stamp(row.sweeps_started_at),
        finished_at=from_stamp(row.sweeps_finished_at) if row.sweeps_finished_at else None,
        summary=record(row.sweeps_summary),
        trials=sum(c.trials for c in outcomes),
        reused=sum(c.trials for c in outcomes if c.reused),
        statuses=dict(statuses.most_common()),
        best_s=min(best_s, default=None),
    )


def sweep(connection: Connection, sweep_id: int) -> StoredSweep:
    """One sweep.

    Raises:
        NotStored: there is none of this id.
    """
    found = sweeps(connection, [SWEEPS.c.id == sweep_id])
    if not found:
        raise NotStored(f"there is no sweep {sweep_id}: {range_of(connection, SWEEPS.c.id, 'sweeps')}")
    return found[0]


def sweep_started(connection: Connection, sweep_id: int) -> str:
    """When a sweep began, as stored.

    Raises:
        NotStored: there is none of this id.
    """
    found = connection.execute(select(SWEEPS.c.started_at).where(SWEEPS.c.id == sweep_id)).scalar()
    if found is None:
        raise NotStored(f"there is no sweep {sweep_id}: {range_of(connection, SWEEPS.c.id, 'sweeps')}")
    return str(found)
