"""The best configuration of each kernel for each workload and device, in milliseconds on 100,000 trials.

Groups come from `sweeps` (a trial's workload, device, kernel, threads and cache state are its sweep's),
and one probe of the partial index `ix_trials_best` gives the fastest trial of each, so the cost grows
with the number of groups and not of trials.

Which trial is the best, where finals measured some again: search times are compared with search times
only (drift divided out, one protocol), and a trial that lost to another configuration of its kernel in
its latest final is out. So a lucky sample in a search does not outlive the interleaved re-measurement, and
a final taken on a slow day does not make an untested trial look better. Configurations that are one binary
were measured once and share that measurement: where one was in a final it stands for those that were not.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, literal_column, select

from tuner.core.measurement import Evidence
from tuner.core.protocol import CACHES
from tuner.core.workload import Workload
from tuner.store.checked import positive, scalars, whole, words
from tuner.store.convert import chunks, from_finite_json, from_stamp, workload_of
from tuner.store.finals import interval_of
from tuner.store.queries import between_of, device_of, kernel_of, timer_of
from tuner.store.records import BestRow, DeviceInfo, KernelInfo
from tuner.store.writes import (
    DEVICES,
    FINAL_ENTRIES,
    FINALS,
    KERNELS,
    SWEEPS,
    TOOLCHAINS,
    TRIALS,
    WORKLOADS,
)


def _winners(
    connection: Connection, where: Sequence[ColumnElement[bool]], evidence: Collection[Evidence]
) -> list[int]:
    """Ids of the best trial of each group of sweeps that meets the conditions."""
    same = ("workload_id", "device_id", "kernel_id", "threads", "cache", "protocol_digest")
    groups = (
        select(*(SWEEPS.c[name] for name in same))
        .join(WORKLOADS, WORKLOADS.c.id == SWEEPS.c.workload_id)
        .join(KERNELS, KERNELS.c.id == SWEEPS.c.kernel_id)
        .join(DEVICES, DEVICES.c.id == SWEEPS.c.device_id)
        .where(*where)
        .distinct()
        .subquery("groups")
    )
    entry, later, own = (FINAL_ENTRIES.alias(name) for name in ("entry", "later", "own"))
    twin, of_twin = TRIALS.alias("twin"), FINAL_ENTRIES.alias("of_twin")
    beaten = exists().where(
        entry.c.trial_id == TRIALS.c.id,
        entry.c.beaten == 1,
        ~exists().where(later.c.trial_id == entry.c.trial_id, later.c.final_id > entry.c.final_id),
    )
    # Trials of one binary have one time, by which the partial index finds them.
    stood_for = ~exists().where(own.c.trial_id == TRIALS.c.id) & exists().where(
        *(twin.c[name] == TRIALS.c[name] for name in same),
        twin.c.status == literal_column("'ok'"),
        twin.c.time_s == TRIALS.c.time_s,
        twin.c.artifact == TRIALS.c.artifact,
        twin.c.artifact != "",
        of_twin.c.trial_id == twin.c.id,
    )
    kinds = sorted(str(e) for e in evidence)
    fastest = (
        select(TRIALS.c.id)
        .where(
            *(TRIALS.c[name] == groups.c[name] for name in same),
            TRIALS.c.evidence == kinds[0] if len(kinds) == 1 else TRIALS.c.evidence.in_(kinds),
            # A literal: SQLite uses a partial index only where it can see the value.
            TRIALS.c.status == literal_column("'ok'"),
            TRIALS.c.time_s.is_not(None),
            ~beaten,
            ~stood_for,
        )
        .order_by(TRIALS.c.time_s, TRIALS.c.id)
        .limit(1)
        .scalar_subquery()
        .correlate(groups)
    )
    found = connection.execute(select(fastest).select_from(groups)).scalars()
    return [int(i) for i in found if i is not None]


def _with_kept(connection: Connection, winners: Sequence[int]) -> list[int]:
    """The winners, but where a final kept a kernel's previous best although another entry was faster by a
    hair: there a trial that was never in a final has to be faster than the entry that was not faster enough.
    """
    entry, kept, hair = FINAL_ENTRIES.alias("entry"), FINAL_ENTRIES.alias("kept"), FINAL_ENTRIES.alias("hair")
    winner, kept_trial, hair_trial = TRIALS.alias("winner"), TRIALS.alias("kept_trial"), TRIALS.alias("other")
    same = ("workload_id", "device_id", "kernel_id", "threads", "cache")
    found: dict[int, int] = {}
    for part in chunks(winners):
        statement = (
            select(winner.c.id, kept.c.trial_id)
            .join(FINALS, (FINALS.c.workload_id == winner.c.workload_id) & (FINALS.c.disturbed == ""))
            .join(kept, (kept.c.final_id == FINALS.c.id) & (kept.c.beaten == 0))
            .join(hair, (hair.c.final_id == FINALS.c.id) & (hair.c.beaten == 1))
            .join(kept_trial, kept_trial.c.id == kept.c.trial_id)
            .join(hair_trial, hair_trial.c.id == hair.c.trial_id)
            .where(
                winner.c.id.in_(part),
                ~exists().where(entry.c.trial_id == winner.c.id),
                *(kept_trial.c[name] == winner.c[name] for name in same),
                *(hair_trial.c[name] == winner.c[name] for name in same),
                hair.c.median_s < kept.c.median_s,
                hair_trial.c.time_s <= winner.c.time_s,
                winner.c.created_at <= FINALS.c.created_at,
            )
            .order_by(FINALS.c.id)
        )
        found.update({row.id: row.trial_id for row in connection.execute(statement)})
    return [found.get(i, i) for i in winners]


def best(
    connection: Connection,
    where: Sequence[ColumnElement[bool]],
    evidence: Collection[Evidence],
    current: Mapping[str, str] | None,
) -> list[BestRow]:
    """See `Store.best`."""
    if not evidence:
        return []
    winners = _with_kept(connection, _winners(connection, where, evidence))
    rows: list[Any] = []
    for part in chunks(winners):
        statement = (
            select(
                TRIALS.c.id, TRIALS.c.sweep_id, TRIALS.c.workload_id, TRIALS.c.device_id, TRIALS.c.kernel_id,
                TRIALS.c.threads, TRIALS.c.cache, TRIALS.c.config, TRIALS.c.target, TRIALS.c.evidence,
                TRIALS.c.time_s, TRIALS.c.median_s, TRIALS.c.low_s, TRIALS.c.high_s, TRIALS.c.artifact,
                TRIALS.c.metrics, TRIALS.c.created_at, TOOLCHAINS.c.digest.label("toolchain"),
                SWEEPS.c.protocol,
            )
            .join(TOOLCHAINS, TOOLCHAINS.c.id == TRIALS.c.toolchain_id)
            .join(SWEEPS, SWEEPS.c.id == TRIALS.c.sweep_id)
            .where(TRIALS.c.id.in_(part))
        )  # fmt: skip
        rows += connection.execute(statement).all()
    names = {row.id: kernel_of(row) for row in connection.execute(select(KERNELS))}
    rows = _one_source_each(rows, names, current)
    known_workloads = {row.id: workload_of(row) for row in connection.execute(select(WORKLOADS))}
    known_devices = {row.id: device_of(row) for row in connection.execute(select(DEVICES))}
    retimed = _finals_of(connection, [row.id for row in rows])
    result = [_best_row(row, retimed.get(row.id), known_workloads, known_devices, names) for row in rows]
    order = {workload.key: i for i, workload in known_workloads.items()}
    return sorted(
        result,
        key=lambda r: (
            r.workload.operator, order[r.workload.key], r.device.fingerprint, r.threads,
            CACHES.index(r.cache), r.shown_s,
        ),
    )  # fmt: skip


def _one_source_each(
    rows: Sequence[Any], names: Mapping[int, KernelInfo], current: Mapping[str, str] | None
) -> list[Any]:
    """Of several states of one kernel's source the current one, else the one stored last; and of several
    protocols (bursts, a load that lasts, a clock that is held) the one whose best was stored last."""
    chosen: dict[tuple[Any, ...], Any] = {}

    def rank(row: Any) -> tuple[bool, int, int]:
        kernel = names[row.kernel_id]
        mine = current is not None and current.get(kernel.name) == kernel.digest
        return mine, row.kernel_id, row.id

    for row in rows:
        kernel = names[row.kernel_id]
        key = (row.workload_id, row.device_id, kernel.operator, kernel.name, row.threads, row.cache)
        if key not in chosen or rank(row) > rank(chosen[key]):
            chosen[key] = row
    return list(chosen.values())


def _finals_of(connection: Connection, trials: Sequence[int]) -> dict[int, Any]:
    """The latest final entry of each trial, with the name of the final's baseline."""
    found: dict[int, Any] = {}
    reference, kernel = TRIALS.alias("reference"), KERNELS.alias("baseline")
    for part in chunks(trials):
        statement = (
            select(
                FINAL_ENTRIES.c.trial_id, FINAL_ENTRIES.c.final_id, FINAL_ENTRIES.c.median_s,
                FINAL_ENTRIES.c.low_s, FINAL_ENTRIES.c.high_s, FINAL_ENTRIES.c.speedup,
                FINAL_ENTRIES.c.speedup_low, FINAL_ENTRIES.c.speedup_high, FINAL_ENTRIES.c.winner,
                FINAL_ENTRIES.c.tie, FINALS.c.created_at, kernel.c.name.label("baseline"),
            )
            .join(FINALS, FINALS.c.id == FINAL_ENTRIES.c.final_id)
            .outerjoin(reference, reference.c.id == FINALS.c.baseline_id)
            .outerjoin(kernel, kernel.c.id == reference.c.kernel_id)
            .where(FINAL_ENTRIES.c.trial_id.in_(part), FINALS.c.disturbed == "")
            .order_by(FINAL_ENTRIES.c.final_id)
        )  # fmt: skip
        for row in connection.execute(statement):
            found[row.trial_id] = row
    return found


def _best_row(
    row: Any,
    final: Any | None,
    workloads: Mapping[int, Workload],
    devices: Mapping[int, DeviceInfo],
    kernels: Mapping[int, KernelInfo],
) -> BestRow:
    timed = final or row
    speedup = None
    if final is not None and final.speedup is not None:
        speedup = interval_of(final.speedup_low, final.speedup, final.speedup_high)
    return BestRow(
        workload=workloads[row.workload_id],
        device=devices[row.device_id],
        kernel=kernels[row.kernel_id],
        threads=whole(row.threads),
        cache=words(row.cache),
        trial_id=row.id,
        sweep_id=row.sweep_id,
        config=scalars(row.config),
        target=words(row.target),
        toolchain=words(row.toolchain),
        evidence=words(row.evidence),
        time_s=positive(row.time_s),
        interval=interval_of(timed.low_s, timed.median_s, timed.high_s),
        retimed=final is not None,
        measured_at=from_stamp(timed.created_at),
        artifact=words(row.artifact),
        metrics=from_finite_json(row.metrics),
        final_id=final.final_id if final else None,
        speedup=speedup,
        baseline=words(final.baseline) if final and final.baseline is not None else None,
        winner=bool(final.winner) if final else False,
        tie=bool(final.tie) if final else False,
        timer=timer_of(row.protocol),
        between_bytes=between_of(row.protocol),
    )
