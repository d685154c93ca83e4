"""Which sweep a new run goes on with, and whose sweeps it leaves alone."""

from typing import Any

from sqlalchemy import Connection, select

from tuner.store import owners
from tuner.store.checked import words
from tuner.store.owner import host_of, is_alive, on_this_host
from tuner.store.records import Resumption, SweepSpec
from tuner.store.writes import DEVICES, KERNELS, OWNERS, SWEEPS, WORKLOADS


def resumption(connection: Connection, spec: SweepSpec) -> Resumption:
    """See `Store.resumption`."""
    statement = (
        select(SWEEPS.c.id, SWEEPS.c.status, SWEEPS.c.owner, OWNERS.c.seen_at)
        .join(WORKLOADS, WORKLOADS.c.id == SWEEPS.c.workload_id)
        .join(KERNELS, KERNELS.c.id == SWEEPS.c.kernel_id)
        .join(DEVICES, DEVICES.c.id == SWEEPS.c.device_id)
        .outerjoin(OWNERS, OWNERS.c.owner == SWEEPS.c.owner)
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
            # What another sweep had measured on this device is not a search of its own.
            SWEEPS.c.note.not_like(f"{owners.PART}%"),
        )
        .order_by(SWEEPS.c.id.desc())
    )
    remarks = []
    for row in connection.execute(statement):
        taken, remark = _fate(row)
        if remark:
            remarks.append(remark)
        if taken:
            return Resumption(int(row.id), tuple(remarks))
    return Resumption(None, tuple(remarks))


def _fate(row: Any) -> tuple[bool, str]:
    """Whether a sweep may be taken, and what a person should know of its owner."""
    owner = words(row.owner)
    if row.status != "running":
        return True, ""
    if on_this_host(owner) or not host_of(owner):
        if not is_alive(owner):
            return True, ""
        return False, f"sweep s{row.id} is left alone: another process of this host runs it"
    silent_s = owners.silent_s(words(row.seen_at)) if row.seen_at is not None else None
    host, wait = host_of(owner), f"{owners.SILENT_S / 60:.0f} minutes"
    if silent_s is None:
        # Left by a lab that gave no signs of life.
        return True, f"sweep s{row.id} of host {host} is taken over: nothing says that it still runs"
    if silent_s > owners.SILENT_S:
        return True, (
            f"sweep s{row.id} is taken over: host {host} ran it and gave no sign of life for "
            f"{silent_s / 60:.0f} minutes"
        )
    return False, (
        f"sweep s{row.id} is left alone: host {host} runs it and gave a sign of life {silent_s:.0f} s ago; "
        f"after {wait} without one --resume takes it over"
    )
