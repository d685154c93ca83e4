"""The columns of the lists, and what their filters offer."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from tuner.core.measurement import Evidence, Status
from tuner.report.html.table_data import Column, head
from tuner.serve.database import Look

BEST = (
    Column("workload", "workload", href="/workload?key="),
    Column("kernel", "fastest kernel", facet=True, unsorted=True),
    Column("shown_s", "time", "time", unsorted=True, words="of the final where one measured it again"),
    Column(
        "rate", "rate", "quantity", unsorted=True, unit="FLOP/s", words="as the definition counts operations"
    ),
    Column("speed", "speed-up", unsorted=True, words="over the fastest library of its final"),
    Column("evidence", "evidence", facet=True, unsorted=True),
    Column("device", "device", facet=True),
    Column("threads", "threads", "count"),
    Column("trial", "trial", unsorted=True, href="/trials/", prefix="t"),
    Column("config", "configuration", wide=True, unsorted=True),
)
WORKLOADS = (
    Column("workload", "workload", href="/workload?key="),
    Column("operator", "operator", facet=True),
    Column("dtype", "type", facet=True),
    Column("flops", "operations", "quantity", unit="FLOP"),
    Column("best_kernel", "fastest kernel", unsorted=True),
    Column("best_s", "time", "time", unsorted=True),
    Column("rate", "rate", "quantity", unsorted=True, unit="FLOP/s"),
    Column("sweeps", "sweeps", "count"),
    Column("trials", "trials", "count"),
    Column("newest", "latest sweep", "date"),
)
SWEEPS = (
    Column("sweep", "sweep", href="/sweeps/", prefix="s"),
    Column("state", "state", facet=True),
    Column("workload", "workload", href="/workload?key="),
    Column("kernel", "kernel", facet=True),
    Column("best_s", "best time", "time", words="drift divided out"),
    Column("evidence", "evidence", unsorted=True, words="what the times of its trials are worth"),
    Column("trials", "trials", "count", words="proposals, those served from other sweeps included"),
    Column("right", "right", "count"),
    Column("device", "device", facet=True),
    Column("searcher", "searcher", facet=True),
    Column("started_at", "began (UTC)", "date"),
)
TRIALS = (
    Column("trial", "trial", unsorted=True, href="/trials/", prefix="t"),
    Column("status", "status", facet=True, unsorted=True),
    Column("time_s", "time", "time", words="drift divided out; what trials are ranked by"),
    Column("evidence", "evidence", facet=True, unsorted=True),
    Column("sweep", "sweep", unsorted=True, href="/sweeps/", prefix="s"),
    Column("number", "number", "count", words="its place among the proposals of its sweep"),
    Column("kernel", "kernel", facet=True, unsorted=True),
    Column("workload", "workload", unsorted=True, href="/workload?key="),
    Column("device", "device", facet=True, unsorted=True),
    Column("config", "configuration", wide=True, unsorted=True),
    Column("error", "error", wide=True, unsorted=True),
)
CAMPAIGNS = (
    Column("campaign", "campaign", unsorted=True, href="/campaigns/", prefix="c"),
    Column("title", "title", unsorted=True),
    Column("kind", "kind", facet=True, unsorted=True),
    Column("state", "state", unsorted=True),
    Column("done", "done", "count", unsorted=True),
    Column("workloads", "workloads", "count", unsorted=True),
    Column("experiment", "experiment", unsorted=True),
    Column("device", "device", unsorted=True),
    Column("started_at", "began (UTC)", "date", unsorted=True),
)
_KINDS = ("comparison", "network", "sweep")


def remote(
    columns: Sequence[Column],
    url: str,
    look: Look,
    label: str,
    only: Mapping[str, str] | None = None,
    *,
    but: Collection[str] = (),
    sort: str = "",
    limit: int = 50,
) -> dict[str, Any]:
    """A table whose rows the browser asks a list of the API for.

    Args:
        columns: all there are.
        url: of the list.
        look: for the values that filters offer.
        label: what the rows are.
        only: filters that are set, and cannot be taken back on the page.
        but: columns that are left out: they would say the same in each row.
        sort: the column that rows are sorted by at first.
        limit: rows a page.
    """
    left = [column for column in columns if column.name not in {*but, *(only or {})}]
    offered = _offered(look)
    options: dict[str, Any] = {"label": label, "page": limit, "sort": sort or None}
    asked = f"?{urlencode(only)}" if only else ""
    return {
        "columns": [head(column, offered.get(column.name, ())) for column in left],
        "url": url + asked,
        "options": options,
    }


def _offered(look: Look) -> dict[str, Sequence[str]]:
    catalogue = look.catalogue
    sweeps = catalogue.sweeps.values()
    return {
        "operator": sorted({w.operator for w in catalogue.workloads.values()}),
        "dtype": sorted({w.dtype for w in catalogue.workloads.values()}),
        "kernel": sorted({k.name for k in catalogue.kernels.values()}),
        "device": sorted({d.name for d in catalogue.devices.values()}),
        "state": sorted({s.state for s in sweeps}),
        "searcher": sorted({s.searcher for s in sweeps}),
        "status": _in_order(Status, {status for s in sweeps for status in s.tally.statuses}),
        "evidence": _in_order(Evidence, {kind for s in sweeps for kind in s.tally.kinds}),
        "kind": list(_KINDS),
    }


def _in_order(known: Any, there: Collection[str]) -> list[str]:
    return [str(each) for each in known if str(each) in there]
