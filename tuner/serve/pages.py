"""The pages. Lists are tables whose rows the browser asks the API for; a record is a page of its own."""

from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tuner.serve import charts, columns, views
from tuner.serve.lists import ListAsked, trial_row
from tuner.serve.rendering import html
from tuner.serve.requests import Asking, Looking
from tuner.store.browse.news import trials_between

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
def overview(look: Looking) -> Response:
    """What the database holds, what runs, what came last."""
    found = views.overview(look)
    latest = views.campaigns(look, ListAsked(limit=8))["rows"]
    table = columns.remote(columns.BEST, "/api/best", look, "best configurations", limit=10)
    return html(
        "overview.html",
        "Kernel tuning lab",
        here="/",
        subtitle=found["database"],
        found=found,
        latest=latest,
        best=table,
    )


@router.get("/live")
def live(look: Looking) -> Response:
    """Running sweeps and the latest trials, kept up to date."""
    newest = look.catalogue.last_trial
    lines = look.ask(trials_between, max(0, newest - 20), newest, 20)
    rows = [trial_row(look.catalogue, line) for line in reversed(lines)]
    return html(
        "live.html",
        "Live",
        here="/live",
        charts=True,
        scripts=["live.js"],
        chart=charts.live_chart(),
        rows=rows,
        newest=newest,
    )


def _list(title: str, here: str, about: str, table: dict[str, Any]) -> Response:
    """A page that is one table, with a sentence on what its lines are."""
    return html("list.html", title, here=here, about=about, table=table)


@router.get("/best")
def best(look: Looking) -> Response:
    """The fastest configuration of each workload on each device."""
    table = columns.remote(columns.BEST, "/api/best", look, "best configurations")
    about = "The fastest kernel of each workload, device, thread count and cache state, by what was measured."
    return _list("Best configurations", "/best", about, table)


@router.get("/workloads")
def workloads(look: Looking) -> Response:
    """All workloads."""
    table = columns.remote(columns.WORKLOADS, "/api/workloads", look, "workloads")
    return _list("Workloads", "/workloads", "What was tuned.", table)


@router.get("/sweeps")
def sweeps(look: Looking) -> Response:
    """All sweeps."""
    table = columns.remote(columns.SWEEPS, "/api/sweeps", look, "sweeps")
    about = "A sweep is one run of a searcher over one kernel, workload and device."
    return _list("Sweeps", "/sweeps", about, table)


@router.get("/trials")
def trials(look: Looking, asked: Asking) -> Response:
    """All trials; those of a filter in the address, which a link may have set."""
    table = columns.remote(columns.TRIALS, "/api/trials", look, "trials", asked.filters)
    about = "A trial is one configuration, built and measured once. By time, only right ones are listed."
    if asked.filters:
        about += " Only: " + ", ".join(f"{name} {value}" for name, value in asked.filters.items()) + "."
    return _list("Trials", "/trials", about, table)


@router.get("/campaigns")
def campaigns(look: Looking) -> Response:
    """All campaigns."""
    table = columns.remote(columns.CAMPAIGNS, "/api/campaigns", look, "campaigns")
    about = "A campaign is one command that tuned: one workload, a comparison, the layers of a model."
    return _list("Campaigns", "/campaigns", about, table)


@router.get("/comparisons")
def comparisons(look: Looking) -> Response:
    """Campaigns that compared implementations."""
    table = columns.remote(columns.CAMPAIGNS, "/api/campaigns", look, "comparisons", {"kind": "comparison"})
    about = "What was compared with what: the campaigns of tuner compare, the newest first."
    return _list("Comparisons", "/comparisons", about, table)


@router.get("/devices")
def devices(look: Looking) -> Response:
    """The devices that trials ran on."""
    return html("devices.html", "Devices", here="/devices", devices=list(look.catalogue.devices.values()))


@router.get("/search")
def search(look: Looking, q: str = Query("", max_length=200)) -> Response:
    """What a text names; a number such as t42 leads straight to its page."""
    found = views.search(look, q)
    if found["exact"] is not None:
        return RedirectResponse(found["exact"]["page"], 303)
    return html("search.html", "Search", found=found, q=q)


@router.get("/api")
def api(request: Request) -> Response:
    """What the API answers."""
    described = request.app.openapi()
    routes = [
        {"path": path, "summary": of["get"].get("summary", ""), "about": of["get"].get("description", "")}
        for path, of in described["paths"].items()
    ]
    return html("api.html", "JSON API", here="/api", about=described["info"]["description"], routes=routes)
