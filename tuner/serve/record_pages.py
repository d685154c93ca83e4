"""The pages of single records: a workload, a sweep, a trial, a campaign."""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tuner.core.measurement import Evidence, Status
from tuner.report.records_json import trial_json
from tuner.report.text import seconds
from tuner.serve import charts, columns, rendering, views
from tuner.serve.database import Database, Look
from tuner.serve.rendering import html
from tuner.serve.requests import Id, Looking
from tuner.store.browse.curves import records as curve_records
from tuner.store.browse.curves import sample
from tuner.store.browse.final_list import finals_by_id, finals_of_trial

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/workload")
def workload_by_key(look: Looking, key: str = Query(max_length=2000)) -> Response:
    """The page of a workload by its key."""
    return RedirectResponse(f"/workloads/{views.workload_number(look, key)}", 303)


@router.get("/workloads/{number}")
def workload(look: Looking, number: Id) -> Response:
    """One workload: its kernels on each device, its finals, its sweeps."""
    found = views.workload_json(look, number)
    places: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in found["best"]:
        places.setdefault((row["device"], row["threads"], row["cache"]), []).append(row)
    groups = [
        {
            "device": device,
            "threads": threads,
            "cache": cache,
            "rows": sorted(rows, key=lambda r: r["shown_s"]),
            "chart": charts.bars(f"best-{i}", [_bar(row) for row in rows]),
        }
        for i, ((device, threads, cache), rows) in enumerate(places.items())
    ]
    only = {"workload": str(number)}
    return html(
        "workload.html",
        found["workload"],
        here="/workloads",
        charts=True,
        found=found,
        groups=groups,
        sweeps=columns.remote(
            columns.SWEEPS, "/api/sweeps", look, "sweeps", only, but=("workload",), limit=10
        ),
        trials=columns.remote(
            columns.TRIALS, "/api/trials", look, "trials", only, but=("workload",), sort="time_s", limit=20
        ),
    )


def _bar(row: dict[str, Any]) -> dict[str, Any]:
    label = "measured again in a final" if row["retimed"] else "as its sweep measured it"
    worth = "" if row["evidence"] == Evidence.MEASURED else f", {row['evidence']}"
    return {
        "kernel": row["kernel"],
        "trial": row["trial"],
        "shown_s": row["shown_s"],
        "baseline": False,
        "label": label + worth,
        "interval_s": row["interval_s"] if row["retimed"] else None,
    }


@router.get("/sweeps/{number}")
def sweep(look: Looking, number: Id) -> Response:
    """One sweep: how it went, and its trials."""
    entry = views.sweep_entry(look, number)
    stored = look.store.sweep(number)
    records = look.ask(curve_records, entry)
    chart = charts.sweep_chart(look.ask(sample, entry), records, entry.tally.trials)
    table = columns.remote(
        columns.TRIALS,
        "/api/trials",
        look,
        "trials",
        {"sweep": str(number)},
        but=("sweep", "workload", "kernel", "device"),
        sort="time_s" if records else "",
    )
    running = entry.state == "running"
    return html(
        "sweep.html",
        f"Sweep s{number}",
        here="/sweeps",
        charts=True,
        scripts=["live.js"] if running else (),
        entry=entry,
        stored=stored,
        chart=chart,
        table=table,
        running=running,
        newest=look.catalogue.last_trial,
        best=records[-1] if records else None,
        subtitle=f"{stored.spec.kernel.name} for {stored.spec.workload.key}",
    )


@router.get("/trials/{number}")
def trial(look: Looking, number: Id) -> Response:
    """One trial: its whole record."""
    detail = look.store.trial(number)
    found = trial_json(detail)
    finals = [views.final_json(look, final) for final in look.ask(finals_of_trial, number)]
    chart = charts.samples_chart(detail.trial.measurement.samples)
    return html(
        "trial.html",
        f"Trial t{number}",
        here="/trials",
        charts=True,
        found=found,
        detail=detail,
        finals=finals,
        chart=chart,
        subtitle=f"{found['kernel']} for {found['workload']}",
        workload=views.workload_number(look, found["workload"]),
        ok=str(Status.OK),
    )


@router.get("/trials/{number}/inspect")
async def inspect(request: Request, number: Id) -> Response:
    """The stages of a trial's candidate, built anew."""

    def state(look: Look) -> str:
        return str(look.store.trial(number).trial.key.digest)

    return await _made(request, "inspect", str(number), state)


@router.get("/campaigns/{number}/report")
async def campaign_report(request: Request, number: Id) -> Response:
    """The report of a campaign, as `tuner report` writes it."""

    def state(look: Look) -> str:
        return str(look.store.campaign(number))

    return await _made(request, "report", f"c{number}", state)


@router.get("/sweeps/{number}/report")
async def sweep_report(request: Request, number: Id) -> Response:
    """The report of a sweep."""
    return await _made(request, "report", f"s{number}", lambda look: str(views.sweep_entry(look, number)))


@router.get("/workloads/{number}/report")
async def workload_report(request: Request, number: Id) -> Response:
    """The report of a workload."""

    def key(look: Look) -> str:
        return str(views.workload_json(look, number)["workload"])

    database = request.app.state.database
    what = await asyncio.to_thread(_asked, database, key)
    return await _made(request, "report", what, lambda look: str(look.catalogue.last_trial))


async def _made(request: Request, kind: str, what: str, state: Callable[[Look], str]) -> Response:
    """A page that a process of its own makes, kept for as long as `state` says the same."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise HTTPException(403, "a page of another site may not have pages made here")
    known = await asyncio.to_thread(_asked, request.app.state.database, state)
    page = await request.app.state.maker.page(kind, what, known)
    return HTMLResponse(page, headers={"content-security-policy": rendering.ALONE})


def _asked(database: Database, question: Callable[[Look], str]) -> str:
    with database.look() as look:
        return question(look)


@router.get("/campaigns/{number}")
def campaign(look: Looking, number: Id) -> Response:
    """One campaign: what was asked, and what each workload found."""
    found = look.store.campaign(number)
    ids = [part.final_id for part in found.parts if part.final_id is not None]
    finals = look.ask(finals_by_id, ids)
    parts = []
    for part in found.parts:
        final = views.final_json(look, finals[part.final_id]) if part.final_id in finals else None
        # Of the forty layers of a model a line each says enough; the chart of each is on its workload's page.
        chart = None
        if final is not None and len(found.parts) <= 4:
            chart = charts.bars(f"part-{part.number}", [_entry(entry) for entry in final["entries"]])
        answer, unsure = _answer(final)
        parts.append({"part": part, "final": final, "chart": chart, "answer": answer, "unsure": unsure})
    return html(
        "campaign.html",
        found.spec.title or f"Campaign c{number}",
        here="/campaigns",
        charts=True,
        found=found,
        parts=parts,
        subtitle=f"campaign c{number}, {found.state}",
    )


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    label = "winner" if entry["winner"] else "shares the first place" if entry["tie"] else ""
    return {
        "kernel": entry["kernel"],
        "trial": entry["trial"],
        "shown_s": entry["interval_s"][1],
        "interval_s": entry["interval_s"],
        "baseline": entry["baseline"],
        "label": label,
    }


def _answer(final: dict[str, Any] | None) -> tuple[str, bool]:
    """What a final found, in a sentence; whether it leaves the question open."""
    if final is None or not final["entries"]:
        return "", True
    first = final["entries"][0]
    time_s = seconds(first["interval_s"][1])
    if final["disturbed"]:
        return f"{first['kernel']} took {time_s}, but this final declares nothing.", True
    over = next((each["kernel"] for each in final["entries"] if each["reference"]), None)
    gain = ""
    if first["speedup"] and over not in (None, first["kernel"]):
        low, mid, high = first["speedup"]
        gain = f", {mid:.3g}x as fast as {over} (95% interval {low:.3g} to {high:.3g})"
    tied = [each["kernel"] for each in final["entries"] if each["tie"]]
    if len(tied) > 1:
        return f"{', '.join(tied)} share the first place: they are not told apart. {time_s}{gain}.", True
    return f"{first['kernel']} is the fastest with {time_s}{gain}.", False
