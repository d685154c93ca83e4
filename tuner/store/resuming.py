"""Which sweep a new run goes on with, and whose sweeps it leaves alone."""

from typing import Any

from sqlalchemy import Connection, select

from tuner.store import owners
from tuner.store.checked import words
from tuner.store.records import Resumption, SweepSpec
from tuner.store.writes import DEVICES, KERNELS, SWEEPS, WORKLOADS


def resumption(connection: Connection, spec: SweepSpec) -> Resumption:
    """See `Store.resumption`."""
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
            # What another sweep had measured on this device is not a search of its own.
            SWEEPS.c.note.not_like(f"{owners.PART}%"),
        )
        .order_by(SWEEPS.c.id.desc())
    )
    rows = connection.execute(statement).all()
    known = owners.look(connection, [words(row.owner) for row in rows])
    remarks = []
    for row in rows:
        taken, remark = _fate(row, known[words(row.owner)])
        if remark:
            remarks.append(remark)
        if taken:
            return Resumption(int(row.id), tuple(remarks))
    return Resumption(None, tuple(remarks))


def _fate(row: Any, owner: owners.Owner) -> tuple[bool, str]:
    """Whether a sweep may be taken, and what a person should know of its owner."""
    if row.status != "running" or owner.mine:
        return True, ""
    if not owner.elsewhere:
        if not owner.lives:
            return True, ""
        return False, f"sweep s{row.id} is left alone: another process of this host runs it"
    host, wait = owner.elsewhere, f"{owners.SILENT_S / 60:.0f} minutes"
    if owner.silent_s is None:
        # Left by a lab that gave no signs of life.
        return True, f"sweep s{row.id} of host {host} is taken over: nothing says that it still runs"
    if not owner.lives:
        return True, (
            f"sweep s{row.id} is taken over: host {host} ran it and gave no sign of life for "
            f"{owner.silent_s / 60:.0f} minutes"
        )
    return False, (
        f"sweep s{row.id} is left alone: host {host} runs it and gave a sign of life "
        f"{owner.silent_s:.0f} s ago; after {wait} without one --resume takes it over"
    )
