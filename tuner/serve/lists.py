"""Lists cut to pages: sweeps, workloads and best ones from the catalogue, trials from their index."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Status
from tuner.serve.database import Look
from tuner.store.browse.catalogue import Catalogue, SweepEntry
from tuner.store.browse.trial_list import ORDERS, Key, TrialEntry, TrialQuery, trial_page

MOST = 500
"""Lines a page, at most."""
_LARGEST = 2**53


class BadQuestion(TunerError):
    """A filter, order or key that is none; answered with status 400."""


@dataclass(frozen=True)
class ListAsked:
    """What a list is asked for; every filter is a text as it stood in the address, empty for none.

    Attributes:
        filters: `operator`, `dtype`, `kernel`, `device`, `state`, `searcher`, `status`, `evidence`: exact.
        text: words that all have to occur in a line's names.
        sort: name of a column; a list has one of its own by default.
        descending: in reverse.
        after: the key of the last line of the page before.
        limit: lines.
    """

    filters: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    sort: str = ""
    descending: bool = False
    after: str = ""
    limit: int = 50

    @property
    def words(self) -> list[str]:
        """The words, in lower case."""
        return self.text.lower().split()

    def __getitem__(self, name: str) -> str:
        return self.filters.get(name, "")


def _page(total: int, matching: int, rows: Sequence[Mapping[str, Any]], after: str | None) -> dict[str, Any]:
    return {"total": total, "matching": matching, "rows": list(rows), "after": after}


def cut(
    ids: Sequence[Any],
    asked: ListAsked,
    total: int,
    made: Callable[[Sequence[Any]], Iterable[Mapping[str, Any]]],
) -> dict[str, Any]:
    """A page of a list whose keys are in memory; `after` is the text of the last line's key."""
    start = 0
    if asked.after:
        places = {str(key): i for i, key in enumerate(ids)}
        if asked.after not in places:
            raise BadQuestion(f"after={asked.after[:60]!r} is no line of this list: begin at its first page")
        start = places[asked.after] + 1
    part = ids[start : start + asked.limit]
    more = start + asked.limit < len(ids)
    return _page(total, len(ids), list(made(part)), str(part[-1]) if more else None)


_Id = TypeVar("_Id", int, str)


def in_order(
    ids: Collection[_Id], keys: Mapping[str, Callable[[_Id], Any]], asked: ListAsked, default: str
) -> list[_Id]:
    """Ids by a column; what has no value comes last either way."""
    name = asked.sort or default
    if name not in keys:
        raise BadQuestion(f"sort={name[:60]!r}: this list can be sorted by {', '.join(sorted(keys))}")
    key = keys[name]
    there = [(value, i) for i in ids if (value := key(i)) is not None]
    there.sort(reverse=asked.descending if asked.sort else True)
    return [i for _, i in there] + sorted(i for i in ids if key(i) is None)


# Sweeps


def names_of(catalogue: Catalogue, sweep: SweepEntry) -> tuple[str, str, str]:
    """Workload key, kernel name and device name of a sweep."""
    return (
        catalogue.workloads[sweep.workload].key,
        catalogue.kernels[sweep.kernel].name,
        catalogue.devices[sweep.device].name,
    )


def chosen_sweeps(
    catalogue: Catalogue, asked: ListAsked, words: Sequence[str] | None = None
) -> list[SweepEntry]:
    """The sweeps that meet the filters and whose names hold the words."""
    words = asked.words if words is None else words
    wanted_workload = _number(asked["workload"], "workload")
    wanted_sweep = _number(asked["sweep"], "sweep")
    found = []
    for sweep in catalogue.sweeps.values():
        workload, kernel = catalogue.workloads[sweep.workload], catalogue.kernels[sweep.kernel]
        device = catalogue.devices[sweep.device]
        exact = (
            (asked["operator"], workload.operator),
            (asked["dtype"], workload.dtype),
            (asked["kernel"], kernel.name),
            (asked["state"], sweep.state),
            (asked["searcher"], sweep.searcher),
        )
        if any(wanted and wanted != there for wanted, there in exact):
            continue
        if asked["device"] and asked["device"] not in (device.fingerprint, device.name):
            continue
        if wanted_workload not in (None, sweep.workload) or wanted_sweep not in (None, sweep.id):
            continue
        if words:
            names = (workload.key, kernel.name, device.name, sweep.searcher, sweep.state, f"s{sweep.id}")
            shown = "\n".join(names).lower()
            if not all(word in shown for word in words):
                continue
        found.append(sweep)
    return found


def _number(text: str, what: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadQuestion(f"{what}={text[:60]!r} is no number")
    return int(text)


def sweep_row(catalogue: Catalogue, sweep: SweepEntry) -> dict[str, Any]:
    """A sweep as lists and events say it."""
    workload, kernel, device = names_of(catalogue, sweep)
    tally = sweep.tally
    budget = sweep.budget.get("trials")
    return {
        "sweep": sweep.id,
        "state": sweep.state,
        "workload": workload,
        "workload_id": sweep.workload,
        "kernel": kernel,
        "device": device,
        "target": sweep.target,
        "threads": sweep.threads,
        "cache": sweep.cache,
        "searcher": sweep.searcher,
        "trials": tally.trials,
        "right": tally.of("ok", None),
        "reused": tally.reused,
        "best_s": tally.best_s,
        "evidence": sorted(tally.kinds),
        "statuses": tally.statuses,
        "budget_trials": budget if isinstance(budget, int) else None,
        "started_at": sweep.started_at,
        "finished_at": sweep.finished_at,
    }


def sweeps(look: Look, asked: ListAsked) -> dict[str, Any]:
    """A page of sweeps."""
    catalogue = look.catalogue
    found = {s.id: s for s in chosen_sweeps(catalogue, asked)}
    keys: dict[str, Callable[[int], Any]] = {
        "sweep": lambda i: i,
        "state": lambda i: found[i].state,
        "workload": lambda i: catalogue.workloads[found[i].workload].key,
        "kernel": lambda i: catalogue.kernels[found[i].kernel].name,
        "device": lambda i: catalogue.devices[found[i].device].name,
        "searcher": lambda i: found[i].searcher,
        "trials": lambda i: found[i].tally.trials,
        "right": lambda i: found[i].tally.of("ok", None),
        "best_s": lambda i: found[i].tally.best_s,
        "started_at": lambda i: found[i].started_at,
    }
    ids = in_order(found, keys, asked, "sweep")
    return cut(ids, asked, len(catalogue.sweeps), lambda part: (sweep_row(catalogue, found[i]) for i in part))


# Trials


def trials(look: Look, asked: ListAsked) -> dict[str, Any]:
    """A page of trials, `sort` being `number` (by sweep and number in it) or `time_s`."""
    for name, known in (("status", Status), ("evidence", Evidence)):
        if asked[name] and asked[name] not in set(known):
            raise BadQuestion(f"{name}={asked[name][:60]!r}: there is {', '.join(known)}")
    if asked.sort not in ("", "number", "time_s"):
        raise BadQuestion(f"sort={asked.sort[:60]!r}: trials can be sorted by number, time_s")
    order = ORDERS[(2 if asked.sort == "time_s" else 0) + (asked.descending == (asked.sort == "time_s"))]
    if not asked.sort or asked["status"] not in ("", str(Status.OK)):
        order = "newest"  # what failed has no time
    scope = chosen_sweeps(
        look.catalogue, ListAsked({k: v for k, v in asked.filters.items() if k in ("sweep", "workload")})
    )
    found = chosen_sweeps(look.catalogue, asked)
    query = TrialQuery(
        asked["status"] or None, asked["evidence"] or None, order, _key(asked.after), asked.limit
    )
    page = look.ask(trial_page, found, query)
    rows = [trial_row(look.catalogue, line) for line in page.lines]
    after = None if page.after is None else f"{page.after[0]!r}:{page.after[1]}"
    return _page(sum(s.tally.trials for s in scope), page.total, rows, after)


def _key(text: str) -> Key | None:
    if not text:
        return None
    first, _, second = text.partition(":")
    try:
        key = float(first), int(second)
    except ValueError:
        key = math.nan, 0
    if not (abs(key[0]) < _LARGEST and abs(key[1]) < _LARGEST):  # nor is it where the first is no number
        raise BadQuestion(f"after={text[:60]!r} is no line of this list: begin at its first page")
    return key


def trial_row(catalogue: Catalogue, line: TrialEntry) -> dict[str, Any]:
    """A trial as lists and events say it."""
    sweep = catalogue.sweeps.get(line.sweep)
    workload, kernel, device = names_of(catalogue, sweep) if sweep else (None, None, None)
    return {
        "trial": line.id,
        "sweep": line.sweep,
        "number": line.number,
        "reused": line.reused,
        "workload": workload,
        "kernel": kernel,
        "device": device,
        "status": line.status,
        "evidence": line.evidence,
        "time_s": line.time_s,
        "median_s": line.median_s,
        "low_s": line.low_s,
        "high_s": line.high_s,
        "config": dict(line.config),
        "error": line.error or None,
        "created_at": line.created_at,
    }
