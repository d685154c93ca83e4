"""The JSON API: what pages show, for programs. Its description is at `/api/openapi.json`."""

from typing import Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tuner.report.records_json import campaign_json, device_json, part_json, sweep_json, trial_json
from tuner.serve import best_lists, lists, views
from tuner.serve.requests import Asking, Id, Looking

router = APIRouter(
    prefix="/api",
    responses={
        404: {"description": "There is no such thing."},
        503: {"description": "The database cannot be read."},
    },
)


class Page(BaseModel):
    """One page of a list."""

    total: int = Field(description="lines without filters")
    matching: int = Field(description="lines that meet the filters, on all pages")
    after: str | None = Field(description="what the next page is asked with; null on the last one")
    rows: list[dict[str, Any]]


class Record(BaseModel):
    """A record with all its fields."""

    model_config = ConfigDict(extra="allow")


@router.get("/overview", response_model=Record, summary="What the database holds")
def overview(look: Looking) -> Any:
    """Counts, and the sweeps that run now."""
    return views.overview(look)


@router.get("/sweeps", response_model=Page, summary="Sweeps, the newest first")
def sweeps(look: Looking, asked: Asking) -> Any:
    """Sorted by sweep, state, workload, kernel, device, searcher, trials, right, best_s or started_at."""
    return lists.sweeps(look, asked)


@router.get("/sweeps/{sweep}", response_model=Record, summary="One sweep")
def sweep(look: Looking, sweep: Id) -> Any:
    """What was asked, how far it came, and its `records`: trials that were the fastest when stored."""
    entry = views.sweep_entry(look, sweep)
    return {
        **sweep_json(look.store.sweep(sweep)),
        "state": entry.state,
        "records": views.records(look, entry),
    }


@router.get("/trials", response_model=Page, summary="Trials, the newest first")
def trials(look: Looking, asked: Asking) -> Any:
    """Sorted by number (sweep, then number in it) or by time_s, which shows right ones only."""
    return lists.trials(look, asked)


@router.get("/trials/{trial}", response_model=Record, summary="One trial with its samples")
def trial(look: Looking, trial: Id) -> Any:
    """As `tuner show tN --json`."""
    return trial_json(look.store.trial(trial))


@router.get("/workloads", response_model=Page, summary="Workloads, the latest tuned first")
def workloads(look: Looking, asked: Asking) -> Any:
    """Sorted by workload, operator, dtype, sweeps, trials, newest or flops."""
    return best_lists.workloads(look, asked)


@router.get("/workloads/{workload}", response_model=Record, summary="One workload")
def workload(look: Looking, workload: Id) -> Any:
    """With the best configuration of each kernel, device, thread count and cache state."""
    return views.workload_json(look, workload)


@router.get("/best", response_model=Page, summary="The fastest configuration of each workload and device")
def best(look: Looking, asked: Asking) -> Any:
    """A line for each workload, device, thread count and cache state; `tuner best` prints the same."""
    return best_lists.best(look, asked)


@router.get("/campaigns", response_model=Page, summary="Campaigns and comparisons, the newest first")
def campaigns(look: Looking, asked: Asking) -> Any:
    """Only those of a kind or a workload, if asked."""
    return views.campaigns(look, asked)


@router.get("/campaigns/{campaign}", response_model=Record, summary="One campaign")
def campaign(look: Looking, campaign: Id) -> Any:
    """What was asked, and what each workload that was reached found."""
    from tuner.report.campaign_view import view

    found = look.store.campaign(campaign)
    parts = [part_json(view(found, part, look.store)) for part in found.reached]
    return {**campaign_json(found), "parts": parts}


@router.get("/devices", response_model=list[Record], summary="Devices with their measured peaks")
def devices(look: Looking) -> Any:
    """In the order they were first seen."""
    return [device_json(info, here=False) for info in look.catalogue.devices.values()]


@router.get("/search", response_model=Record, summary="Anything by its name or number")
def search(look: Looking, q: str = Query(max_length=200, description="words, or t42, s3, c2")) -> Any:
    """Workloads, kernels, devices and campaigns by words; a trial, sweep or campaign by its number."""
    return views.search(look, q)
