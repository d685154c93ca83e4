"""What single pages and their JSON say: the whole database, a sweep, a workload, campaigns, a search."""

import re
from collections.abc import Mapping
from typing import Any

from tuner.report.records_json import campaign_json, interval_list
from tuner.serve.best_lists import best_row, best_rows, workload_facts
from tuner.serve.database import Look
from tuner.serve.lists import BadQuestion, ListAsked, sweep_row, trial_row
from tuner.serve.sources import digests
from tuner.store.browse.campaign_list import campaign_count, campaign_page
from tuner.store.browse.catalogue import SweepEntry
from tuner.store.browse.curves import records as curve_records
from tuner.store.browse.final_list import FinalLine, ListedFinal, finals_of_workload
from tuner.store.campaign_records import StoredCampaign
from tuner.store.errors import NotStored

_FOUND = 20


def overview(look: Look) -> dict[str, Any]:
    """Counts, and the sweeps that run now."""
    catalogue = look.catalogue
    statuses: dict[str, int] = {}
    for sweep in catalogue.sweeps.values():
        for status, count in sweep.tally.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return {
        "database": look.store.name,
        "trials": catalogue.trials,
        "sweeps": len(catalogue.sweeps),
        "workloads": len(catalogue.workloads),
        "kernels": len({kernel.name for kernel in catalogue.kernels.values()}),
        "devices": len(catalogue.devices),
        "campaigns": look.ask(campaign_count),
        "statuses": dict(sorted(statuses.items(), key=lambda item: -item[1])),
        "running": [sweep_row(catalogue, sweep) for sweep in catalogue.running],
    }


# Sweeps


def sweep_entry(look: Look, number: int) -> SweepEntry:
    """A sweep of the catalogue; raises `NotStored` where there is none."""
    sweeps = look.catalogue.sweeps
    if number not in sweeps:
        there = f"the database has sweeps 1 to {max(sweeps)}" if sweeps else "the database has no sweeps"
        raise NotStored(f"there is no sweep {number}: {there}")
    return sweeps[number]


def records(look: Look, entry: SweepEntry) -> list[dict[str, Any]]:
    """The trials of a sweep that were the fastest when they were stored."""
    return [trial_row(look.catalogue, line) for line in look.ask(curve_records, entry)]


# Workloads


def workload_number(look: Look, key: str) -> int:
    """The id of a workload by its key; raises `NotStored` where there is none."""
    for number, workload in look.catalogue.workloads.items():
        if workload.key == key:
            return number
    raise NotStored(f"there is no workload {key[:200]!r} in the database")


def workload_json(look: Look, number: int) -> dict[str, Any]:
    """A workload with the best configuration of each kernel on each device, and its latest finals.

    Raises:
        NotStored: there is none of this id.
    """
    catalogue = look.catalogue
    if number not in catalogue.workloads:
        raise NotStored(f"there is no workload {number} in the database")
    workload = catalogue.workloads[number]
    present = digests()
    sweeps = [s for s in catalogue.sweeps.values() if s.workload == number]
    return {
        "id": number,
        **workload_facts(workload),
        "sweeps": len(sweeps),
        "trials": sum(s.tally.trials for s in sweeps),
        "best": [best_row(row, number, present) for row in best_rows(look, [workload])],
        "finals": [final_json(look, final) for final in look.ask(finals_of_workload, number)],
    }


def final_json(look: Look, final: ListedFinal) -> dict[str, Any]:
    """A final with its entries, the fastest first."""
    return {
        "final": final.id,
        "device": look.catalogue.devices[final.device].name,
        "threads": final.threads,
        "cache": final.cache,
        "created_at": final.created_at,
        "disturbed": final.disturbed or None,
        "entries": [_entry_json(entry) for entry in final.entries],
    }


def _entry_json(entry: FinalLine) -> dict[str, Any]:
    return {
        "trial": entry.trial,
        "kernel": entry.kernel,
        "language": entry.language,
        "baseline": entry.baseline,
        "config": dict(entry.config),
        "interval_s": interval_list(entry.interval),
        "speedup": interval_list(entry.speedup),
        "reference": entry.reference,
        "winner": entry.winner,
        "tie": entry.tie,
    }


# Campaigns


def campaigns(look: Look, asked: ListAsked) -> dict[str, Any]:
    """A page of campaigns, the newest first."""
    for name in ("after", "workload"):
        value = asked.after if name == "after" else asked["workload"]
        if value and not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise BadQuestion(f"{name}={value[:60]!r} is no number")
    if asked.sort not in ("", "campaign"):
        raise BadQuestion(f"sort={asked.sort[:60]!r}: campaigns come the newest first")
    workload = int(asked["workload"]) if asked["workload"] else None
    after = int(asked.after) if asked.after else None
    page = look.ask(campaign_page, asked["kind"], asked.text, workload, after, asked.limit)
    return {
        "total": look.ask(campaign_count),
        "matching": page.total,
        "rows": [campaign_row(found) for found in page.campaigns],
        "after": None if page.after is None else str(page.after),
    }


def campaign_row(campaign: StoredCampaign) -> dict[str, Any]:
    """A campaign as lists say it."""
    whole = campaign_json(campaign)
    named = (
        "campaign",
        "state",
        "kind",
        "title",
        "experiment",
        "device",
        "target",
        "started_at",
        "finished_at",
    )
    done = sum(part.status == "finished" for part in campaign.parts)
    return {**{name: whole[name] for name in named}, "done": done, "workloads": len(campaign.parts)}


# Search


def search(look: Look, text: str) -> dict[str, Any]:
    """What a text names: `t42`, `s3`, `c2` by their number, else whatever has all its words in its name."""
    words = text.lower().split()
    found: dict[str, Any] = {
        "query": text,
        "exact": exact(look, text.strip()),
        "workloads": [],
        "kernels": [],
        "devices": [],
        "campaigns": [],
    }
    if not words:
        return found
    catalogue = look.catalogue

    def holds(name: str) -> bool:
        return all(word in name.lower() for word in words)

    found["workloads"] = [
        {"id": i, "workload": w.key} for i, w in catalogue.workloads.items() if holds(w.key)
    ][:_FOUND]
    kernels = {k.name: k for k in catalogue.kernels.values()}
    found["kernels"] = [
        {"kernel": k.name, "operator": k.operator, "language": k.language}
        for k in kernels.values()
        if holds(f"{k.name} {k.operator} {k.language}")
    ][:_FOUND]
    found["devices"] = [
        {"device": d.name, "fingerprint": d.fingerprint, "target": d.target}
        for d in catalogue.devices.values()
        if holds(f"{d.name} {d.fingerprint} {d.target}")
    ][:_FOUND]
    page = look.ask(campaign_page, None, text.strip(), None, None, _FOUND)
    found["campaigns"] = [campaign_row(campaign) for campaign in page.campaigns]
    return found


def exact(look: Look, text: str) -> Mapping[str, Any] | None:
    """Where a number such as `t42` leads; `None` for another text, and for what is not there."""
    match = re.fullmatch(r"([tsc])([0-9]{1,18})", text.lower())
    if match is None:
        return None
    kind, number = match[1], int(match[2])
    places = {"t": "trials", "s": "sweeps", "c": "campaigns"}
    try:
        if kind == "s":
            sweep_entry(look, number)
        elif kind == "t":
            look.store.trial(number)
        else:
            look.store.campaign(number)
    except NotStored:
        return None
    return {"kind": places[kind].removesuffix("s"), "id": number, "page": f"/{places[kind]}/{number}"}
