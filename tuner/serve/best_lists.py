"""Lists of workloads and of best configurations, cut to pages."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.measurement import Evidence, Status
from tuner.core.workload import Workload
from tuner.report.records_json import best_json
from tuner.report.text import ratio
from tuner.serve.database import Look
from tuner.serve.lists import BadQuestion, ListAsked, chosen_sweeps, cut, in_order
from tuner.serve.sources import digests
from tuner.store.browse.catalogue import Catalogue, SweepEntry
from tuner.store.browse.final_list import last_final_id
from tuner.store.records import BestRow

_REMEMBERED = 5000


@dataclass(frozen=True)
class _Reached:
    sweeps: int
    trials: int
    newest: str


def _reached(catalogue: Catalogue) -> dict[int, _Reached]:
    found: dict[int, _Reached] = {}
    for sweep in catalogue.sweeps.values():
        old = found.get(sweep.workload, _Reached(0, 0, ""))
        newest = max(old.newest, sweep.started_at)
        found[sweep.workload] = _Reached(old.sweeps + 1, old.trials + sweep.tally.trials, newest)
    return found


def workloads(look: Look, asked: ListAsked) -> dict[str, Any]:
    """A page of workloads, each with the fastest kernel of all that was measured."""
    catalogue = look.catalogue
    reached = _reached(catalogue)
    found = [
        i
        for i, w in catalogue.workloads.items()
        if asked["operator"] in ("", w.operator)
        and asked["dtype"] in ("", w.dtype)
        and all(word in w.key.lower() for word in asked.words)
    ]
    none = _Reached(0, 0, "")
    keys: dict[str, Callable[[int], Any]] = {
        "workload": lambda i: catalogue.workloads[i].key,
        "operator": lambda i: catalogue.workloads[i].operator,
        "dtype": lambda i: catalogue.workloads[i].dtype,
        "sweeps": lambda i: reached.get(i, none).sweeps,
        "trials": lambda i: reached.get(i, none).trials,
        "newest": lambda i: reached.get(i, none).newest or None,
        "flops": lambda i: work(catalogue.workloads[i]),
    }

    def made(part: Sequence[int]) -> Iterable[dict[str, Any]]:
        best = _best_by_workload(look, [catalogue.workloads[i] for i in part])
        for i in part:
            workload, of = catalogue.workloads[i], reached.get(i, none)
            rows = best.get(workload.key, [])
            first = min(rows, key=shown_time, default=None)
            yield {
                "id": i,
                **workload_facts(workload),
                "sweeps": of.sweeps,
                "trials": of.trials,
                "newest": of.newest or None,
                "best_kernel": first.kernel.name if first else None,
                "best_s": shown_time(first) if first else None,
                "rate": rate(workload, shown_time(first)) if first else None,
                "best_trial": first.trial_id if first else None,
                "device": first.device.name if first else None,
            }

    return cut(in_order(found, keys, asked, "newest"), asked, len(catalogue.workloads), made)


def shown_time(row: BestRow) -> float:
    """Seconds that `tuner best` shows: of the final where one measured it again, else of the sweep."""
    return row.interval.mid if row.retimed else row.time_s


def workload_facts(workload: Workload) -> dict[str, Any]:
    """What a workload's own record and its line in a list begin with."""
    return {
        "workload": workload.key,
        "operator": workload.operator,
        "dtype": workload.dtype,
        "dims": dict(workload.dims),
        "options": dict(workload.options),
        "flops": work(workload),
    }


def work(workload: Workload) -> int | None:
    """Operations of a stored workload; `None` where its operator is not here or does not take it."""
    from tuner import registry

    operator = registry.operators().get(workload.operator)
    try:
        return operator.flops(workload) if operator else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None  # a database of something else named it so


def rate(workload: Workload, time_s: float) -> float | None:
    """Operations a second, as the definition counts them."""
    flops = work(workload)
    return None if flops is None else flops / time_s


def best_rows(
    look: Look, chosen: Sequence[Workload], evidence: str = str(Evidence.MEASURED)
) -> list[BestRow]:
    """The best configurations of workloads, read again only of those of which something was stored since."""
    present, last_final = digests(), look.ask(last_final_id)
    sources = frozenset(present.items())
    trials: dict[int, int] = defaultdict(int)
    for sweep in look.catalogue.sweeps.values():
        trials[sweep.workload] += sweep.tally.trials
    numbers = {w.key: i for i, w in look.catalogue.workloads.items()}
    states = {w.key: (trials[numbers[w.key]], last_final, sources) for w in chosen}
    memo, known = look.memo, dict[str, list[BestRow]]()
    for key, state in states.items():
        # Once: other requests change it meanwhile.
        before, rows = memo.get((key, evidence), (None, []))
        if before == state:
            known[key] = rows
    fresh: dict[str, list[BestRow]] = {key: [] for key in states if key not in known}
    for row in look.store.best_of(fresh, present, [evidence]) if fresh else ():
        fresh[row.workload.key].append(row)
    if len(memo) > _REMEMBERED:
        memo.clear()
    memo.update({(key, evidence): (states[key], rows) for key, rows in fresh.items()})
    known |= fresh
    return [row for key in states for row in known[key]]


def _best_by_workload(look: Look, chosen: Sequence[Workload]) -> dict[str, list[BestRow]]:
    found: dict[str, list[BestRow]] = defaultdict(list)
    for row in best_rows(look, chosen):
        found[row.workload.key].append(row)
    return found


def best(look: Look, asked: ListAsked) -> dict[str, Any]:
    """A page of workloads on a device, thread count and cache state, each with its fastest configuration."""
    catalogue = look.catalogue
    evidence = asked["evidence"] or str(Evidence.MEASURED)
    if evidence not in set(Evidence):
        raise BadQuestion(f"evidence={evidence[:60]!r}: there is {', '.join(Evidence)}")

    def places(sweeps: Iterable[SweepEntry]) -> dict[str, SweepEntry]:
        return {
            f"{s.workload}.{s.device}.{s.threads}.{s.cache}": s
            for s in sweeps
            if s.tally.of(str(Status.OK), evidence)
        }

    found = places(chosen_sweeps(catalogue, asked))
    keys: dict[str, Callable[[str], Any]] = {
        "workload": lambda k: catalogue.workloads[found[k].workload].key,
        "device": lambda k: catalogue.devices[found[k].device].name,
        "threads": lambda k: found[k].threads,
        "newest": lambda k: found[k].id,
    }

    def made(part: Sequence[str]) -> Iterable[dict[str, Any]]:
        chosen = [catalogue.workloads[found[k].workload] for k in part]
        rows: dict[str, BestRow] = {}
        for row in best_rows(look, chosen, evidence):
            if asked["kernel"] in ("", row.kernel.name):
                place = _place(catalogue, row)
                rows[place] = min(rows.get(place, row), row, key=shown_time)
        present = digests()
        return [best_row(rows[k], found[k].workload, present) for k in part if k in rows]

    return cut(in_order(found, keys, asked, "newest"), asked, len(places(catalogue.sweeps.values())), made)


def _place(catalogue: Catalogue, row: BestRow) -> str:
    workload = next(i for i, w in catalogue.workloads.items() if w.key == row.workload.key)
    device = next(i for i, d in catalogue.devices.items() if d.fingerprint == row.device.fingerprint)
    return f"{workload}.{device}.{row.threads}.{row.cache}"


def best_row(row: BestRow, workload: int, present: Mapping[str, str]) -> dict[str, Any]:
    """A best configuration as lists say it: `best_json` with what pages show besides."""
    time_s = shown_time(row)
    return {
        **best_json(row),
        "workload_id": workload,
        "shown_s": time_s,
        "rate": rate(row.workload, time_s),
        "speed": f"{ratio(row.speedup)} vs {row.baseline}" if row.speedup and row.baseline else None,
        "changed": present.get(row.kernel.name, row.kernel.digest) != row.kernel.digest,
    }
