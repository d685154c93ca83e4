"""Measures `tuner serve` on a large database: `python -m tuner.lab.bench_serve` prints JSON.

The database is `bench_store`'s, of a million trials in 600 sweeps with a final each, made once and kept in
the cache. Every page and list is asked for by four clients at once; figures are the median and the 95th
percentile of each, in milliseconds, as a client sees them. Made apart, and not in these figures: reports and
inspect pages, which fit models and run compilers.
"""

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tuner.core.cache import cache_folder
from tuner.core.errors import TunerError
from tuner.lab.bench_store import fill, specs, trials
from tuner.store.store import open_store

TRIALS, CLIENTS, ROUNDS = 1_000_000, 4, 20
GOAL_MEDIAN_MS, GOAL_P95_MS = 200.0, 500.0
"""What each page has to keep to."""

PAGES = (
    "/", "/live", "/best", "/workloads", "/sweeps", "/trials", "/campaigns", "/comparisons", "/devices",
    "/search?q=gemm+{workload}", "/api", "/workloads/{workload}", "/sweeps/{sweep}", "/trials/{trial}",
)  # fmt: skip
LISTS = (
    "/api/overview", "/api/best", "/api/best?sort=workload&limit=50", "/api/workloads", "/api/sweeps",
    "/api/sweeps?sort=best_s", "/api/sweeps?text=kernel_3+device", "/api/sweeps/{sweep}", "/api/trials",
    "/api/trials?sort=time_s", "/api/trials?sort=time_s&descending=true", "/api/trials?status=build_error",
    "/api/trials?workload={workload}&sort=time_s", "/api/trials?sweep={sweep}&status=ok",
    "/api/trials?after={sweep}.0:{number}", "/api/trials/{trial}", "/api/workloads/{workload}",
    "/api/campaigns",
)  # fmt: skip


def made(total: int) -> Path:
    """The database, from the cache or made now, which takes minutes for a million trials."""
    path = cache_folder() / f"bench_serve-{total}.db"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        print(f"making a database of {total:,} trials: {path}", file=sys.stderr)
        with open_store(fresh) as store:
            fill(store, total)
        fresh.rename(path)
    with open_store(path):  # brings one of an older schema up to date: the server only reads
        return path


@contextmanager
def served(path: Path) -> Iterator[tuple[str, int]]:
    """A server's host and port."""
    command = [sys.executable, "-m", "tuner", "serve", "--port", "0", "--db", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        found = re.search(r"http://\S+", line)
        if found is None:
            raise TunerError("tuner serve did not begin: it says why when it is run by itself")
        address = urlsplit(found[0])
        yield str(address.hostname), int(address.port or 0)
    finally:
        process.terminate()
        process.wait()


def asked(rng: random.Random, template: str, total: int) -> str:
    """An address with ids drawn at random, so that no page is asked for twice in a row."""
    sweep = rng.randint(1, 600)
    ids = {"sweep": sweep, "trial": rng.randint(1, total), "workload": rng.randint(1, 40)}
    return template.format(**ids, number=rng.randint(1, max(1, total // 600)))


def client(place: tuple[str, int], seed: int, total: int) -> dict[str, list[float]]:
    """Asks for everything in an order of its own; seconds by address template.

    Raises:
        TunerError: the server answers with an error.
    """
    rng = random.Random(seed)
    spent: dict[str, list[float]] = defaultdict(list)
    connection = http.client.HTTPConnection(*place, timeout=60)
    for _ in range(ROUNDS):
        for template in rng.sample(PAGES + LISTS, len(PAGES + LISTS)):
            address = asked(rng, template, total)
            began = time.perf_counter()
            connection.request("GET", address)
            answer = connection.getresponse()
            body = answer.read()
            spent[template].append(time.perf_counter() - began)
            if answer.status != 200:
                raise TunerError(f"{address} answered {answer.status}: {body[:200]!r}")
    return spent


def load(place: tuple[str, int], total: int) -> dict[str, list[float]]:
    """Seconds of every request of all clients, by address template."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        # `list` raises what a client raised: figures of the requests before it would look like all.
        shares = list(clients.map(lambda seed: client(place, seed, total), range(CLIENTS)))
    return {name: [s for share in shares for s in share[name]] for name in PAGES + LISTS}


def quantile(values: list[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def news(place: tuple[str, int], path: Path, times: int = 15) -> float:
    """Median seconds from the commit of a trial to its event at a listener; changes the database."""
    spec = next(specs())
    connection = http.client.HTTPConnection(*place, timeout=60)
    connection.request("GET", "/api/events")
    stream = connection.getresponse()
    while not stream.readline().startswith(b"event: running"):
        pass
    spent = []
    with open_store(path) as store:
        sweep = store.begin_sweep(spec)
        for trial in trials(spec, times, -2):
            (number,) = store.add_trials(sweep, [trial])
            began = time.perf_counter()
            while stream.readline().strip() != f"id: {number}".encode():
                pass
            spent.append(time.perf_counter() - began)
        store.finish_sweep(sweep)
    connection.close()
    return quantile(spent, 0.5)


def measure(total: int) -> dict[str, float]:
    """All figures: of each page and list, and the worst of all."""
    path = made(total)
    with served(path) as place:
        first = http.client.HTTPConnection(*place, timeout=120)
        began = time.perf_counter()
        first.request("GET", "/")
        first.getresponse().read()
        figures = {"trials": float(total), "serve_first_page_ms": 1e3 * (time.perf_counter() - began)}
        time.sleep(5)  # what it does once at its start is done
        spent = load(place, total)
        figures["serve_live_event_ms"] = 1e3 * news(place, path)
    medians = {name: 1e3 * quantile(values, 0.5) for name, values in spent.items()}
    tails = {name: 1e3 * quantile(values, 0.95) for name, values in spent.items()}
    figures["serve_worst_median_ms"] = max(medians.values())
    figures["serve_worst_p95_ms"] = max(tails.values())
    for name in PAGES + LISTS:
        figures[f"median_ms {name}"] = medians[name]
        figures[f"p95_ms {name}"] = tails[name]
    return figures


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description="Measures tuner serve.")
    parser.add_argument("--trials", type=int, default=TRIALS)
    figures = measure(parser.parse_args().trials)
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
