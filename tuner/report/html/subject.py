"""What a report is about: a campaign, an experiment, a workload or a sweep, found in the store."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.errors import TunerError, nearest
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
        campaigns: it is a report of: one, or all that an experiment was run as.
        sweep: it is a report of.
        remarks: what is to be said before anything else: an unfinished campaign, a newer one.
        kind: what it is, in a word: `campaign`, `workload`, `sweep`.
    """

    title: str
    sections: Sequence[Section]
    kind: str
    campaigns: Sequence[StoredCampaign] = ()
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
        # The last campaign of an experiment that was run as several says only its part.
        name, _, variant = campaigns[-1].spec.experiment.partition("@")
        return of_experiment(name, store) if variant else of_campaign(campaigns[-1], store)
    if (match := re.fullmatch(r"([cs])([0-9]{1,18})", what.strip().lower())) is not None:
        number = int(match[2])
        return (
            of_campaign(store.campaign(number), store)
            if match[1] == "c"
            else of_sweep(store.sweep(number), store)
        )
    if sweeps := store.sweeps(workload_key=what):
        return of_workload(what, sweeps, store)
    return of_experiment(what, store)


def of_campaign(campaign: StoredCampaign, store: "Store", remarks: Sequence[str] = ()) -> Subject:
    """Of a campaign: a section a workload that was reached."""
    return of_campaigns([campaign], store, remarks)


def of_campaigns(campaigns: Sequence[StoredCampaign], store: "Store", remarks: Sequence[str] = ()) -> Subject:
    """Of what one experiment was run as: a section a campaign and workload, those on paper last.

    What was only compiled of a workload stands in its first measured section too.
    """
    told = [*remarks, *(line for campaign in campaigns if (line := state_line(campaign)))]
    parts = [(campaign, part) for campaign in campaigns for part in campaign.reached]
    rooms = shares([sum(k.trials for k in part.kernels) or MOST_LINES for _, part in parts], MOST_LINES)
    sections = [
        of_part(campaign, part, store, room) for (campaign, part), room in zip(parts, rooms, strict=True)
    ]
    if len(campaigns) > 1:
        sections = _named([*(s for s in sections if s.measured), *(s for s in sections if not s.measured)])
    return Subject(campaigns[0].spec.title, sections, "campaign", campaigns, remarks=told)


def _named(sections: Sequence[Section]) -> list[Section]:
    """Sections of several campaigns, with what sets each apart, and those on paper beside the measured."""
    threads = {section.context.threads for section in sections if section.measured}
    paper = {section.context.workload: section for section in sections if section.paper}
    found = []
    for section in sections:
        count = section.context.threads
        of = f"{count} thread{'s' if count != 1 else ''}" if len(threads) > 1 else ""
        if not section.measured:
            of = f"on paper for {section.paper[0].target}" if section.paper else "on paper"
        beside = paper.pop(section.context.workload, None) if section.measured else None
        found.append(replace(section, variant=of, beside=beside.paper if beside is not None else ()))
    return found


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


def of_experiment(what: str, store: "Store") -> Subject:
    """Of an experiment, by its name or file: the latest finished campaign of each that it was run as.

    Raises:
        TunerError: there is none; says what there is.
    """
    name = PurePath(what).name.removesuffix(".toml")
    campaigns = _run_as(name, store)
    if not campaigns:
        raise TunerError(_nothing_of(what, store))
    latest, newer = [], []
    for each in campaigns.values():
        finished = [campaign for campaign in each if campaign.state == "finished"]
        latest.append((finished or each)[-1])
        if latest[-1] is not each[-1]:
            newer.append(f"Campaign c{each[-1].id} is newer and did not finish.")
    return of_campaigns(latest, store, newer)


def _nothing_of(what: str, store: "Store") -> str:
    """What a name was taken for, what could be meant by it, and what there is."""
    first = what.partition("/")[0]
    operators = registry.operators()
    if first in operators and "/" in what and not what.endswith(".toml"):
        keys = list(dict.fromkeys(sweep.spec.workload.key for sweep in store.sweeps(operator=first)))
        near = nearest(what, keys)
        there = f"; it has {_few(keys)}" if keys else ""
        meant = f"did you mean {near}? " if near else ""
        return (
            f"{store.name} has no sweep of the workload {what}: {meant}a workload is named "
            f"OPERATOR/TYPE/SIZES, as gemm/f32/m64-n64-k64{there}"
        )
    known = sorted({c.spec.experiment.partition("@")[0] for c in store.campaigns() if c.spec.experiment})
    near = nearest(PurePath(what).name.removesuffix(".toml"), known)
    meant = f"did you mean {near}? " if near else ""
    there = f"; experiments with campaigns: {_few(known)}" if known else ""
    return (
        f"{store.name} has no experiment {what}: {meant}name a campaign (c2), a sweep (s3), a workload "
        f"(gemm/f32/m64-n64-k64) or an experiment by its name or file{there}"
    )


def _few(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _run_as(name: str, store: "Store") -> dict[str, list[StoredCampaign]]:
    """The campaigns of an experiment by what they are in the store, oldest first: `NAME`, `NAME@threads2`,
    `NAME@cuda:sm_90`. Where its file had one number of threads at one time and several at another, those of
    the last time; likewise those of the device that ran last."""
    found: dict[str, list[StoredCampaign]] = {}
    for campaign in store.campaigns():
        of = campaign.spec.experiment
        if of and (of == name or of.startswith(f"{name}@")):
            found.setdefault(of, []).append(campaign)
    measured = {of: each for of, each in found.items() if each[-1].measured}
    if not measured:
        return found
    last = max((each[-1] for each in measured.values()), key=lambda campaign: campaign.id)
    alike, device = last.spec.experiment == name, last.spec.device.fingerprint
    for of, each in measured.items():
        here = [campaign for campaign in each if campaign.spec.device.fingerprint == device]
        if (of == name) != alike or not here:
            del found[of]
        else:
            found[of] = here
    return dict(
        sorted(found.items(), key=lambda item: (not item[1][-1].measured, item[1][-1].spec.protocol.threads))
    )
