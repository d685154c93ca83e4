"""What a report is about: a campaign, an experiment, a workload or a sweep, found in the store."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from tuner.core.errors import TunerError
from tuner.report.html.section import MOST_LINES, Section, of_part, of_sweeps, shares
from tuner.report.present import state_line
from tuner.store.campaign_records import CampaignPart, StoredCampaign
from tuner.store.records import StoredSweep

if TYPE_CHECKING:
    from tuner.store.store import Store


@dataclass(frozen=True)
class Subject:
    """What a page reports.

    Attributes:
        title: of the page.
        sections: one a workload and device.
        campaign: it is a report of; `None` for workloads and sweeps.
        sweep: it is a report of.
        remarks: what is to be said before anything else: an unfinished campaign, a newer one.
        kind: what it is, in a word: `campaign`, `workload`, `sweep`.
    """

    title: str
    sections: Sequence[Section]
    kind: str
    campaign: StoredCampaign | None = None
    sweep: StoredSweep | None = None
    remarks: Sequence[str] = ()


def subject(what: str | None, store: "Store") -> Subject:
    """Finds what a report is about and reads it.

    Args:
        what: `c2`, `s3`, the key of a workload (`gemm/f32/m64-n64-k64`), an experiment by its name or file;
            `None` for the latest campaign.
        store: holds it.

    Raises:
        TunerError: there is none such; says what there is.
        UnknownName: an operator is not registered here.
    """
    if what is None:
        campaigns = store.campaigns()
        if not campaigns:
            raise TunerError(f"{store.name} has no campaign: 'tuner sweep' and 'tuner compare' make them")
        return of_campaign(campaigns[-1], store)
    if (match := re.fullmatch(r"([cs])([0-9]{1,18})", what.strip().lower())) is not None:
        number = int(match[2])
        return (
            of_campaign(store.campaign(number), store)
            if match[1] == "c"
            else of_sweep(store.sweep(number), store)
        )
    if sweeps := store.sweeps(workload_key=what):
        return of_workload(what, sweeps, store)
    return _of_experiment(what, store)


def of_campaign(campaign: StoredCampaign, store: "Store", remarks: Sequence[str] = ()) -> Subject:
    """Of a campaign: a section a workload that was reached."""
    told = [*remarks, *([line] if (line := state_line(campaign)) else [])]
    rooms = shares(
        [sum(k.trials for k in part.kernels) or MOST_LINES for part in campaign.reached], MOST_LINES
    )
    sections = [
        of_part(campaign, part, store, room) for part, room in zip(campaign.reached, rooms, strict=True)
    ]
    return Subject(campaign.spec.title, sections, "campaign", campaign, remarks=told)


def of_sweep(sweep: StoredSweep, store: "Store") -> Subject:
    """Of one sweep."""
    title = f"{sweep.spec.kernel.name} for {sweep.spec.workload.key}"
    remarks = (
        [] if sweep.status == "finished" else [f"Sweep s{sweep.id} is {sweep.status}: it has no end yet."]
    )
    section = of_sweeps([sweep], title, store, MOST_LINES)
    return Subject(title, [section], "sweep", sweep=sweep, remarks=remarks)


def of_workload(key: str, sweeps: Sequence[StoredSweep], store: "Store") -> Subject:
    """Of a workload: for each device, thread count and cache state its latest campaign, else its sweeps."""
    groups: dict[tuple[str, int, str], list[StoredSweep]] = {}
    for sweep in sweeps:
        protocol = sweep.spec.protocol
        groups.setdefault((sweep.spec.device.fingerprint, protocol.threads, protocol.cache), []).append(sweep)
    parts: dict[tuple[str, int, str], tuple[StoredCampaign, CampaignPart]] = {}
    for campaign in store.campaigns():  # oldest first: a later one, and one with a final, goes before
        protocol = campaign.spec.protocol
        place = (campaign.spec.device.fingerprint, protocol.threads, protocol.cache)
        for part in campaign.reached:
            known = parts.get(place)
            if part.workload.key == key and (
                part.final_id is not None or known is None or known[1].final_id is None
            ):
                parts[place] = (campaign, part)
    rooms = shares([sum(s.trials for s in group) for group in groups.values()], MOST_LINES)
    sections, remarks = [], []
    for (place, group), room in zip(groups.items(), rooms, strict=True):
        if place in parts:
            campaign, part = parts[place]
            sections.append(of_part(campaign, part, store, room))
            remarks.append(
                f"{campaign.spec.device.name}, {place[1]} threads: the latest campaign, c{campaign.id}."
            )
        else:
            sections.append(of_sweeps(group, key, store, room))
    return Subject(key, sections, "workload", remarks=remarks)


def _of_experiment(what: str, store: "Store") -> Subject:
    name = PurePath(what).name.removesuffix(".toml")
    campaigns = store.campaigns(name)
    if not campaigns:
        known = sorted({c.spec.experiment for c in store.campaigns() if c.spec.experiment})
        there = f"; experiments with campaigns: {', '.join(known)}" if known else ""
        raise TunerError(
            f"{store.name} has no campaign of {name}, and no workload of that key: name a campaign (c2), "
            f"a sweep (s3), a workload (gemm/f32/m64-n64-k64) or an experiment{there}"
        )
    finished = [c for c in campaigns if c.state == "finished"]
    found = (finished or campaigns)[-1]
    newer = [] if found is campaigns[-1] else [f"Campaign c{campaigns[-1].id} is newer and did not finish."]
    return of_campaign(found, store, newer)
