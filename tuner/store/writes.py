"""Rows in: every function runs inside one write transaction of the caller's."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tuner.core.artifact import Toolchain
from tuner.core.stats import Interval
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.store.checked import record
from tuner.store.convert import measurement_columns, to_json, to_stamp, workload_columns
from tuner.store.errors import StoreRefused
from tuner.store.models import (
    Base,
    ClaimRow,
    DeviceRow,
    FinalEntryRow,
    FinalRow,
    ForgottenTrialRow,
    KernelRow,
    OwnerRow,
    SweepRow,
    SweepTrialRow,
    ToolchainRow,
    TrialRow,
    WorkloadRow,
)
from tuner.store.owner import this_process
from tuner.store.records import DeviceInfo, Final, FinalEntry, KernelInfo, SweepSpec


def _table(model: type[Base]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


WORKLOADS, DEVICES, TOOLCHAINS = _table(WorkloadRow), _table(DeviceRow), _table(ToolchainRow)
KERNELS, SWEEPS, TRIALS = _table(KernelRow), _table(SweepRow), _table(TrialRow)
FORGOTTEN = _table(ForgottenTrialRow)
SWEEP_TRIALS, FINALS, FINAL_ENTRIES = _table(SweepTrialRow), _table(FinalRow), _table(FinalEntryRow)
CLAIMS, OWNERS = _table(ClaimRow), _table(OwnerRow)

# What every trial executes is built once: SQLAlchemy takes longer to build a statement than SQLite to run it.
_ADD_TRIALS = insert(TRIALS).returning(TRIALS.c.id, sort_by_parameter_order=True)
_ADD_LINKS = insert(SWEEP_TRIALS)
_LAST_NUMBER = select(func.max(SWEEP_TRIALS.c.number)).where(SWEEP_TRIALS.c.sweep_id == bindparam("sweep"))


def now() -> str:
    """The present moment as a column."""
    return to_stamp(datetime.now(UTC))


def _id_of(connection: Connection, table: Table, unique: Sequence[str], values: Mapping[str, Any]) -> int:
    """The id of the row with these unique columns, inserted if there is none."""
    wanted = select(table.c.id).where(*(table.c[name] == values[name] for name in unique))
    found = connection.execute(wanted).scalar()
    if found is None:
        try:
            # On SQLite the write lock makes this certain; elsewhere another process may come between.
            with connection.begin_nested():
                found = connection.execute(insert(table).values(**values).returning(table.c.id)).scalar_one()
        except IntegrityError:
            found = connection.execute(wanted).scalar()
            if found is None:
                raise
    return int(found)


def put_workload(connection: Connection, workload: Workload) -> int:
    """The id of a workload."""
    return _id_of(connection, WORKLOADS, ["key"], workload_columns(workload))


def put_kernel(connection: Connection, kernel: KernelInfo) -> int:
    """The id of a kernel at this state of its source."""
    values = {
        "name": kernel.name,
        "digest": kernel.digest,
        "language": kernel.language,
        "operator": kernel.operator,
    }
    return _id_of(connection, KERNELS, ["name", "digest"], values)


def _stored(text: Any) -> dict[str, Any]:
    """What was stored of a device; nothing where that is not what the lab writes, and it is written anew."""
    try:
        return record(text)
    except (ValueError, RecursionError):
        return {}


def put_device(connection: Connection, device: DeviceInfo) -> int:
    """The id of a device; facts and measured limits are added to those stored, newer ones replace older."""
    values: dict[str, Any] = {"name": device.name, "kind": device.kind, "target": device.target}
    found = connection.execute(
        select(DEVICES).where(DEVICES.c.fingerprint == device.fingerprint)
    ).one_or_none()
    before = found._mapping if found else {"facts": "{}", "limits": "{}"}
    for name, more in (("facts", device.facts), ("limits", device.limits)):
        values[name] = to_json({**_stored(before[name]), **more})
    if found is None:
        values |= {"fingerprint": device.fingerprint, "created_at": now()}
        return _id_of(connection, DEVICES, ["fingerprint"], values)
    changed = {k: v for k, v in values.items() if v != before[k]}
    if changed:
        connection.execute(update(DEVICES).where(DEVICES.c.id == found.id).values(**changed))
    return int(found.id)


def put_toolchain(connection: Connection, toolchain: Toolchain | str) -> int:
    """The id of a toolchain, or of one of which only the digest is known so far."""
    if isinstance(toolchain, str):
        return _id_of(connection, TOOLCHAINS, ["digest"], {"digest": toolchain})
    values = {
        "digest": toolchain.digest,
        "name": toolchain.name,
        "version": toolchain.version,
        "flags": to_json(list(toolchain.flags)),
    }
    found = _id_of(connection, TOOLCHAINS, ["digest"], values)
    nameless = (TOOLCHAINS.c.id == found) & (TOOLCHAINS.c.name == "")
    connection.execute(update(TOOLCHAINS).where(nameless).values(**values))
    return found


def begin_sweep(connection: Connection, spec: SweepSpec) -> int:
    """A new running sweep; its workload, device and kernel are stored as needed."""
    values = {
        "workload_id": put_workload(connection, spec.workload),
        "device_id": put_device(connection, spec.device),
        "kernel_id": put_kernel(connection, spec.kernel),
        "target": spec.target,
        "searcher": spec.searcher,
        "seed": spec.seed,
        "protocol": to_json(spec.protocol.as_dict()),
        "protocol_digest": spec.protocol.digest,
        "threads": spec.protocol.threads,
        "cache": spec.protocol.cache,
        "budget": to_json(dict(spec.budget)),
        "status": "running",
        "owner": this_process(),
        "started_at": now(),
        "note": spec.note,
    }
    return int(connection.execute(insert(SWEEPS).values(**values).returning(SWEEPS.c.id)).scalar_one())


def end_sweep(connection: Connection, sweep_id: int, status: str, summary: Mapping[str, Any]) -> None:
    """Marks a sweep as finished or interrupted."""
    values = {"status": status, "finished_at": now(), "summary": to_json(dict(summary))}
    connection.execute(update(SWEEPS).where(SWEEPS.c.id == sweep_id).values(**values))


def reopen_sweep(connection: Connection, sweep_id: int, budget: Mapping[str, Any] | None) -> None:
    """Marks a sweep as running again, with another budget where one is given."""
    values: dict[str, Any] = {"status": "running", "finished_at": None, "owner": this_process()}
    if budget is not None:
        values["budget"] = to_json(dict(budget))
    connection.execute(update(SWEEPS).where(SWEEPS.c.id == sweep_id).values(**values))


def next_number(connection: Connection, sweep_id: int) -> int:
    """The number of a sweep's next proposal, from 0."""
    found = connection.execute(_LAST_NUMBER, {"sweep": sweep_id}).scalar()
    return 0 if found is None else int(found) + 1


def add_trials(
    connection: Connection,
    sweep: Mapping[str, Any],
    trials: Sequence[Trial],
    numbers: Sequence[int] | None,
    toolchains: Mapping[str, int],
) -> list[int]:
    """Trials of one sweep with their places in it; their ids.

    Args:
        connection: in a write transaction.
        sweep: columns of the sweep, with `key`, `kernel_name`, `kernel_digest`, `fingerprint`.
        trials: measured in this sweep.
        numbers: of the proposals; consecutive from the sweep's last one where `None`.
        toolchains: ids by digest, of all that the trials name.

    Raises:
        ValueError: a trial belongs to another workload, kernel, device, target or protocol, or the
            numbers are not as many as the trials.
    """
    rows = []
    for trial in trials:
        key = trial.key
        theirs = (key.workload.key, key.kernel, key.kernel_digest, key.device, key.target, key.protocol)
        ours = tuple(sweep[n] for n in _IDENTITY)
        if theirs != ours:
            # A row of another device in this sweep would answer `best` for the wrong one.
            wrong = next(n for n, a, b in zip(_IDENTITY, theirs, ours, strict=True) if a != b)
            raise ValueError(f"a trial of sweep {sweep['id']} has another {wrong} than the sweep")
        rows.append(
            {
                "identity": key.digest,
                "workload_id": sweep["workload_id"],
                "kernel_id": sweep["kernel_id"],
                "device_id": sweep["device_id"],
                "toolchain_id": toolchains[key.toolchain],
                "sweep_id": sweep["id"],
                "config": to_json(dict(key.config)),
                "target": key.target,
                "protocol_digest": key.protocol,
                "threads": sweep["threads"],
                "cache": sweep["cache"],
                "created_at": to_stamp(trial.created_at),
                "host": trial.host,
                **measurement_columns(trial.measurement),
            }
        )
    if not rows:
        return []
    ids = [int(i) for i in connection.execute(_ADD_TRIALS, rows).scalars()]
    if numbers is None:
        first = next_number(connection, sweep["id"])
        numbers = range(first, first + len(ids))
    link(connection, sweep["id"], numbers, ids, reused=False)
    return ids


_IDENTITY = ("key", "kernel_name", "kernel_digest", "fingerprint", "target", "protocol_digest")


def link(
    connection: Connection, sweep_id: int, numbers: Sequence[int], trials: Sequence[int], reused: bool
) -> None:
    """Gives trials their places among the proposals of a sweep."""
    rows = [
        {"sweep_id": sweep_id, "number": n, "trial_id": t, "reused": int(reused)}
        for n, t in zip(numbers, trials, strict=True)
    ]
    try:
        connection.execute(_ADD_LINKS, rows)
    except IntegrityError as error:
        if "UNIQUE" not in str(error.orig).upper():
            raise
        raise StoreRefused(
            f"sweep {sweep_id} already has a proposal of number {numbers[0]} or later: "
            "is another process running the same sweep?"
        ) from None


def _interval(entry: FinalEntry) -> Interval:
    if (interval := entry.turns.interval) is None:
        raise ValueError(f"the entry of trial {entry.trial_id} has no samples")
    return interval


def _beaten_before(connection: Connection, trials: Sequence[int]) -> dict[int, bool]:
    """Of each trial that was in a final: whether it was beaten in its latest one."""
    found = connection.execute(
        select(FINAL_ENTRIES.c.trial_id, FINAL_ENTRIES.c.beaten)
        .where(FINAL_ENTRIES.c.trial_id.in_(trials))
        .order_by(FINAL_ENTRIES.c.final_id)
    )
    return {row.trial_id: bool(row.beaten) for row in found}


def _entry_rows(
    entries: Sequence[FinalEntry], kernels: Mapping[int, str], before: Mapping[int, bool] | None
) -> list[dict[str, Any]]:
    """The rows of a final's entries.

    Args:
        entries: of the final.
        kernels: the kernel of each entry's trial.
        before: which trials earlier finals found beaten, where this one finds nothing.
    """
    intervals = [_interval(entry) for entry in entries]
    fastest: dict[str, float] = {}
    for entry, interval in zip(entries, intervals, strict=True):
        name = kernels[entry.trial_id]
        fastest[name] = min(interval.mid, fastest.get(name, interval.mid))
    rows = []
    for entry, interval in zip(entries, intervals, strict=True):
        speedup = entry.speedup
        beaten = interval.mid > fastest[kernels[entry.trial_id]] if entry.beaten is None else entry.beaten
        rows.append(
            {
                "trial_id": entry.trial_id,
                "role": entry.role,
                "median_s": interval.mid,
                "low_s": interval.low,
                "high_s": interval.high,
                "samples": to_json([float(s) for s in entry.turns.samples]),
                "processes": to_json(list(entry.turns.processes)),
                "speedup": speedup.mid if speedup else None,
                "speedup_low": speedup.low if speedup else None,
                "speedup_high": speedup.high if speedup else None,
                "winner": int(entry.winner),
                "tie": int(entry.tie),
                "beaten": int(beaten if before is None else before.get(entry.trial_id, False)),
            }
        )
    return rows


def record_final(connection: Connection, final: Final) -> int:
    """A final with its entries; computes intervals, and which entries their own kernel's others beat."""
    ids = [entry.trial_id for entry in final.entries]
    found = connection.execute(
        select(TRIALS.c.id, KERNELS.c.name).join(KERNELS).where(TRIALS.c.id.in_(ids))
    ).all()
    kernels: dict[int, str] = {row.id: row.name for row in found}
    missing = [i for i in ids if i not in kernels]
    if missing or not ids or len(set(ids)) != len(ids):
        what = f"trial {missing[0]} is not stored" if missing else "entries are distinct, and one at least"
        raise ValueError(f"a final's {what}")
    device = connection.execute(select(DEVICES.c.id).where(DEVICES.c.fingerprint == final.device)).scalar()
    if device is None:
        raise ValueError(f"device {final.device} is not stored")
    values = {
        "sweep_id": final.sweep_id,
        "workload_id": put_workload(connection, final.workload),
        "device_id": device,
        "baseline_id": final.baseline,
        "protocol": to_json(final.protocol.as_dict()),
        "protocol_digest": final.protocol.digest,
        "threads": final.protocol.threads,
        "cache": final.protocol.cache,
        "created_at": to_stamp(final.created_at) if final.created_at else now(),
        "disturbed": final.disturbed,
    }
    final_id = int(connection.execute(insert(FINALS).values(**values).returning(FINALS.c.id)).scalar_one())
    # A final that declares nothing leaves standing what earlier ones found.
    before = _beaten_before(connection, ids) if final.disturbed else None
    rows = [{"final_id": final_id, **row} for row in _entry_rows(final.entries, kernels, before)]
    connection.execute(insert(FINAL_ENTRIES), rows)
    return final_id
