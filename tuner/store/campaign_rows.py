"""Campaigns, into the database and out of it; writes run inside one write transaction of the caller's."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from tuner.core.protocol import Protocol
from tuner.core.workload import Workload
from tuner.store import campaign_models as models
from tuner.store import owners
from tuner.store.campaign_records import (
    CampaignKernel,
    CampaignLayer,
    CampaignPart,
    CampaignSpec,
    Exclusion,
    StoredCampaign,
)
from tuner.store.checked import plain_json, positive, real, record, whole, words
from tuner.store.convert import chunks, clean, from_stamp, to_json, workload_of
from tuner.store.errors import NotStored
from tuner.store.finals import range_of
from tuner.store.owner import this_process
from tuner.store.queries import devices
from tuner.store.records import DeviceInfo
from tuner.store.writes import DEVICES, WORKLOADS, _table, now, put_device, put_workload

CAMPAIGNS, PARTS = _table(models.CampaignRow), _table(models.CampaignPartRow)
KERNELS, EXCLUSIONS = _table(models.CampaignKernelRow), _table(models.CampaignExclusionRow)


def begin(connection: Connection, spec: CampaignSpec) -> int:
    """A new running campaign with its parts, all of them waiting; its id."""
    owners.beat(connection)
    values = {
        "kind": spec.kind,
        "experiment": spec.experiment,
        "title": spec.title,
        "command": spec.command,
        "asked": asked_json(spec),
        "device_id": put_device(connection, spec.device),
        "target": spec.target,
        "protocol": to_json(spec.protocol.as_dict()),
        "protocol_digest": spec.protocol.digest,
        "threads": spec.protocol.threads,
        "cache": spec.protocol.cache,
        "status": "running",
        "owner": this_process(),
        "started_at": now(),
        "facts": to_json(dict(spec.facts)),
    }
    number = int(
        connection.execute(insert(CAMPAIGNS).values(**values).returning(CAMPAIGNS.c.id)).scalar_one()
    )
    parts = [
        {"campaign_id": number, "number": i, "workload_id": put_workload(connection, workload),
         "status": "waiting", "limits": "{}", "peaks_disturbed": 0, "remarks": "[]"}
        for i, workload in enumerate(spec.workloads)
    ]  # fmt: skip
    connection.execute(insert(PARTS), parts)
    return number


def asked_json(spec: CampaignSpec) -> str:
    """The column `campaigns.asked`: what was asked, and the layers."""
    layers = [{"workload": each.workload, "model": each.model, "count": each.count} for each in spec.layers]
    return to_json({**spec.asked, "layers": layers})


def unfinished(connection: Connection, spec: CampaignSpec) -> int | None:
    """The latest campaign that asked the same and did not finish; `None` where a live process runs it."""
    device = func.coalesce(_device_id(connection, spec.device), -1)
    statement = (
        select(CAMPAIGNS.c.id, CAMPAIGNS.c.status, CAMPAIGNS.c.owner)
        .where(
            CAMPAIGNS.c.status != "finished",
            CAMPAIGNS.c.kind == spec.kind,
            CAMPAIGNS.c.experiment == spec.experiment,
            CAMPAIGNS.c.asked == asked_json(spec),
            CAMPAIGNS.c.device_id == device,
            CAMPAIGNS.c.target == spec.target,
            CAMPAIGNS.c.protocol_digest == spec.protocol.digest,
        )
        .order_by(CAMPAIGNS.c.id.desc())
    )
    wanted = [workload.key for workload in spec.workloads]
    for row in connection.execute(statement).all():
        keys = select(WORKLOADS.c.key).join(PARTS, PARTS.c.workload_id == WORKLOADS.c.id)
        found = connection.execute(keys.where(PARTS.c.campaign_id == row.id).order_by(PARTS.c.number))
        runs = row.status == "running" and owners.lives(connection, words(row.owner))
        if list(found.scalars()) == wanted and not runs:
            return int(row.id)
    return None


def _device_id(connection: Connection, device: DeviceInfo) -> int | None:
    wanted = select(DEVICES.c.id).where(DEVICES.c.fingerprint == device.fingerprint)
    return connection.execute(wanted).scalar()


def reopen(connection: Connection, campaign_id: int) -> None:
    """Marks a campaign as running again, by this process; parts that did not finish wait again."""
    owners.beat(connection)
    values = {"status": "running", "finished_at": None, "owner": this_process()}
    connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(**values))
    left = (PARTS.c.campaign_id == campaign_id) & (PARTS.c.status != "finished")
    waiting = {"status": "waiting", "started_at": None, "finished_at": None}
    connection.execute(update(PARTS).where(left).values(**waiting))


def end(connection: Connection, campaign_id: int, status: str) -> None:
    """Marks a campaign as finished or interrupted."""
    values = {"status": status, "finished_at": now()}
    connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign_id).values(**values))


def begin_part(
    connection: Connection, campaign_id: int, number: int, kernels: Sequence[CampaignKernel]
) -> None:
    """A part begins, with nothing known of it but its kernels; what an earlier try left is forgotten."""
    values = {"status": "running", "started_at": now(), "finished_at": None, "final_id": None,
              "limits": "{}", "peaks_disturbed": 0, "remarks": "[]"}  # fmt: skip
    connection.execute(update(PARTS).where(*_part(PARTS, campaign_id, number)).values(**values))
    for table in (KERNELS, EXCLUSIONS):
        connection.execute(delete(table).where(*_part(table, campaign_id, number)))
    put_kernels(connection, campaign_id, number, kernels)


def _part(table: Any, campaign_id: int, number: int) -> tuple[ColumnElement[bool], ...]:
    return (table.c.campaign_id == campaign_id, table.c.number == number)


def put_kernels(
    connection: Connection, campaign_id: int, number: int, kernels: Sequence[CampaignKernel]
) -> None:
    """The kernels of a part, in place of those stored."""
    connection.execute(delete(KERNELS).where(*_part(KERNELS, campaign_id, number)))
    rows = [
        {
            "campaign_id": campaign_id,
            "number": number,
            "kernel": kernel.name,
            "position": position,
            "digest": kernel.digest,
            "language": kernel.language,
            "baseline": int(kernel.baseline),
            "searcher": kernel.searcher,
            "skipped": clean(kernel.skipped),
            "sweep_id": kernel.sweep_id,
            "reused": int(kernel.reused),
            "best_id": kernel.best_id,
            "trials": kernel.trials,
            "disturbed": kernel.disturbed,
            "given_up": kernel.given_up,
            "given_up_at": kernel.given_up_at,
            "summary": to_json(dict(kernel.summary)),
        }
        for position, kernel in enumerate(kernels)
    ]
    if rows:
        connection.execute(insert(KERNELS), rows)


def note_sweep(connection: Connection, campaign_id: int, number: int, kernel: str, sweep_id: int) -> None:
    """A kernel's sweep has begun."""
    which = (*_part(KERNELS, campaign_id, number), KERNELS.c.kernel == kernel)
    connection.execute(update(KERNELS).where(*which).values(sweep_id=sweep_id))


def end_part(connection: Connection, campaign_id: int, part: CampaignPart) -> None:
    """How a part ended: all that the record holds but its workload and its beginning."""
    values = {
        "status": part.status,
        "finished_at": now(),
        "final_id": part.final_id,
        "limits": to_json(dict(part.limits)),
        "peaks_disturbed": int(part.peaks_disturbed),
        "remarks": to_json([clean(remark) for remark in part.remarks]),
    }
    connection.execute(update(PARTS).where(*_part(PARTS, campaign_id, part.number)).values(**values))
    put_kernels(connection, campaign_id, part.number, part.kernels)
    connection.execute(delete(EXCLUSIONS).where(*_part(EXCLUSIONS, campaign_id, part.number)))
    rows = [
        {"campaign_id": campaign_id, "number": part.number, "trial_id": each.trial_id, "kernel": each.kernel,
         "stage": each.stage, "reason": clean(each.reason)}
        for each in part.exclusions
    ]  # fmt: skip
    if rows:
        connection.execute(insert(EXCLUSIONS), rows)


def leave_part(connection: Connection, campaign_id: int, number: int) -> None:
    """Nobody works on a part any more that is not finished."""
    running = (*_part(PARTS, campaign_id, number), PARTS.c.status == "running")
    connection.execute(update(PARTS).where(*running).values(status="interrupted", finished_at=now()))


def campaigns(connection: Connection, where: Sequence[ColumnElement[bool]] = ()) -> list[StoredCampaign]:
    """Campaigns that meet the conditions, oldest first, with all their parts."""
    rows = connection.execute(select(CAMPAIGNS).where(*where).order_by(CAMPAIGNS.c.id)).all()
    ids = [row.id for row in rows]
    known = {i: devices(connection, i)[0] for i in {row.device_id for row in rows}}
    running = {row.id: words(row.owner) for row in rows if row.status == "running"}
    owner = owners.look(connection, running.values())
    alive = {row.id: row.id in running and owner[running[row.id]].lives for row in rows}
    parts = _parts(connection, ids, alive)
    return [_campaign_of(r, known[r.device_id], parts.get(r.id, []), alive[r.id]) for r in rows]


def campaign(connection: Connection, campaign_id: int) -> StoredCampaign:
    """One campaign.

    Raises:
        NotStored: there is none of this id.
    """
    found = campaigns(connection, [CAMPAIGNS.c.id == campaign_id])
    if not found:
        there = range_of(connection, CAMPAIGNS.c.id, "campaigns")
        raise NotStored(f"there is no campaign {campaign_id}: {there}")
    return found[0]


def _campaign_of(row: Any, device: DeviceInfo, parts: Sequence[CampaignPart], alive: bool) -> StoredCampaign:
    asked = record(row.asked)
    layers = [
        CampaignLayer(words(each["workload"]), words(each["model"]), whole(each["count"]))
        for each in asked.pop("layers", [])
    ]
    spec = CampaignSpec(
        kind=words(row.kind),  # type: ignore[arg-type]
        title=words(row.title),
        device=device,
        target=words(row.target),
        protocol=Protocol.from_dict(record(row.protocol)),
        workloads=[part.workload for part in parts],
        asked=asked,
        layers=layers,
        experiment=words(row.experiment),
        command=words(row.command),
        facts=record(row.facts),
    )
    return StoredCampaign(
        id=row.id,
        spec=spec,
        status=words(row.status),  # type: ignore[arg-type]
        alive=alive,
        started_at=from_stamp(row.started_at),
        finished_at=from_stamp(row.finished_at) if row.finished_at else None,
        parts=parts,
    )


def _parts(
    connection: Connection, ids: Sequence[int], alive: Mapping[int, bool]
) -> Mapping[int, list[CampaignPart]]:
    """Parts by campaign; one that is `running` where nobody runs the campaign reads as interrupted."""
    found: dict[int, list[CampaignPart]] = defaultdict(list)
    kernels: dict[tuple[int, int], list[CampaignKernel]] = defaultdict(list)
    exclusions: dict[tuple[int, int], list[Exclusion]] = defaultdict(list)
    workloads: dict[int, Workload] = {}
    for some in chunks(ids):
        of_kernels = select(KERNELS).where(KERNELS.c.campaign_id.in_(some)).order_by(KERNELS.c.position)
        for row in connection.execute(of_kernels):
            kernels[row.campaign_id, row.number].append(_kernel_of(row))
        out = select(EXCLUSIONS).where(EXCLUSIONS.c.campaign_id.in_(some)).order_by(EXCLUSIONS.c.trial_id)
        for row in connection.execute(out):
            exclusions[row.campaign_id, row.number].append(
                Exclusion(whole(row.trial_id), words(row.kernel), words(row.stage), words(row.reason))  # type: ignore[arg-type]
            )
        statement = (
            select(PARTS, WORKLOADS.c.operator, WORKLOADS.c.dtype, WORKLOADS.c.dims, WORKLOADS.c.options)
            .join(WORKLOADS, WORKLOADS.c.id == PARTS.c.workload_id)
            .where(PARTS.c.campaign_id.in_(some))
            .order_by(PARTS.c.campaign_id, PARTS.c.number)
        )
        for row in connection.execute(statement):
            if row.workload_id not in workloads:
                workloads[row.workload_id] = workload_of(row)
            place = row.campaign_id, row.number
            part = _part_of(row, workloads[row.workload_id], kernels[place], exclusions[place])
            if part.status == "running" and not alive[row.campaign_id]:
                part = replace(part, status="interrupted")
            found[row.campaign_id].append(part)
    return found


def _kernel_of(row: Any) -> CampaignKernel:
    return CampaignKernel(
        name=words(row.kernel),
        digest=words(row.digest),
        language=words(row.language),
        baseline=bool(row.baseline),
        searcher=words(row.searcher),
        skipped=words(row.skipped),
        sweep_id=_number(row.sweep_id),
        reused=bool(row.reused),
        best_id=_number(row.best_id),
        trials=whole(row.trials),
        disturbed=whole(row.disturbed),
        given_up=words(row.given_up),
        given_up_at=_number(row.given_up_at),
        summary=_summary_of(row.summary),
    )


def _number(value: Any) -> int | None:
    return None if value is None else whole(value)


def _summary_of(text: Any) -> dict[str, Any]:
    found = record(text)
    if "statuses" in found:
        found["statuses"] = {words(name): whole(count) for name, count in found["statuses"].items()}
    if "seconds" in found:
        found["seconds"] = real(found["seconds"])
    return found


def _part_of(
    row: Any, workload: Workload, kernels: Sequence[CampaignKernel], exclusions: Sequence[Exclusion]
) -> CampaignPart:
    return CampaignPart(
        number=whole(row.number),
        workload=workload,
        status=words(row.status),  # type: ignore[arg-type]
        kernels=kernels,
        exclusions=exclusions,
        final_id=_number(row.final_id),
        limits={name: positive(value) for name, value in record(row.limits).items()},
        peaks_disturbed=bool(row.peaks_disturbed),
        remarks=[words(remark) for remark in plain_json(row.remarks)],
        started_at=from_stamp(row.started_at) if row.started_at else None,
        finished_at=from_stamp(row.finished_at) if row.finished_at else None,
    )
