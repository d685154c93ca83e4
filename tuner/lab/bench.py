"""`make bench`: the lab's own figures, each beside what it has to reach. Run as `python -m tuner.lab.bench`.

Speeds are ratios taken in one interleaved run with nothing else running; the raw samples go into
`results/bench.db`, the figures into `results/bench.json`. Takes about ten minutes; `--only dispatch` takes an
hour, and has to be asked for.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.places import ROOT
from tuner.core.scratch import Scratch
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer, TrialEvent
from tuner.lab import bench_autotune, bench_dispatch, bench_library
from tuner.lab.bench_serve import GOAL_MEDIAN_MS, GOAL_P95_MS
from tuner.lab.figures import Figure
from tuner.store.store import open_store

if TYPE_CHECKING:
    from tuner.store.store import Store

_USUAL = ("cli", "store", "pages", "serve", "autotune", "rate", "gemm", "library")


class _Overheads(Observer):
    """Collects what the engine itself costs a trial."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def trial_done(self, event: TrialEvent) -> None:
        """Keeps the overhead of trials that were measured."""
        if not event.reused:
            self.seconds.append(event.overhead_s)


def gemm(store: "Store", threads: int, trials: int) -> list[Figure]:
    """The best tuned 1024^3 GEMM against the better of OpenBLAS and MKL, and against the peak."""
    workload = registry.operator("gemm").parse("1024x1024x1024")
    device = campaign.default_device()
    protocol = campaign.default_protocol(device, threads=threads)
    kernels, skipped = campaign.choose_kernels(
        workload, device, protocol, ["cpp_packed", "tir_packed"], baselines=True
    )
    plan = campaign.Plan(
        "auto", 0, Budget(trials=trials), resume=True, reuse=True, refresh_limits=True, finalists=3, rounds=40
    )
    outcome = campaign.run_campaign(workload, kernels, campaign.Setting(device, protocol, plan, store))
    ranking = outcome.ranking
    what = f"gemm f32 1024^3, {threads} thread{'s' if threads > 1 else ''}"
    if ranking is None:
        return [Figure(what, None, "x", 1.0, note="no final was held")]
    if ranking.disturbed:
        return [Figure(what, None, "x", 1.0, note=f"disturbed: {ranking.disturbed}")]
    lines = []
    timed = sorted(
        ((e.interval.mid, i, e) for i, e in enumerate(ranking.entries) if e.interval), key=lambda t: t[:2]
    )
    mid, _, ours = next(t for t in timed if not t[2].finalist.baseline)
    for _, _, entry in timed:
        if not entry.finalist.baseline:
            continue
        speed = entry.turns.over(ours.turns)
        note = f"{ours.finalist.label} t{ours.finalist.trial_id}, 95% [{speed.low:.3f}, {speed.high:.3f}]"
        goal = 1.0 if entry.finalist.label in ("numpy", "torch") else None
        lines.append(Figure(f"{what}: speed over {entry.finalist.label}", speed.mid, "x", goal, note=note))
    rate = registry.operator("gemm").flops(workload) / mid
    peak = outcome.limits["peak_flops_f32"]
    note = f"{rate / 1e9:.1f} of {peak / 1e9:.1f} GFLOP/s measured in this run"
    lines.append(Figure(f"{what}: share of the FMA peak", rate / peak, "", 0.6, note=note))
    lines += [Figure(f"{what}: {name}", None, "x", note=reason) for name, reason in skipped.items()]
    return lines


def trial_rate(store: "Store", trials: int) -> list[Figure]:
    """TensorIR trials a minute at 512^3, verification and timing included, and the engine's own cost."""
    workload = registry.operator("gemm").parse("512x512x512")
    device = campaign.default_device()
    protocol = campaign.default_protocol(device)
    kernels, _ = campaign.choose_kernels(workload, device, protocol, ["tir_packed"], baselines=False)
    plan = campaign.Plan("random", 1, Budget(trials=trials), remeasure=True, rounds=0)
    watch = _Overheads()
    began = time.monotonic()
    outcome = campaign.run_campaign(workload, kernels, campaign.Setting(device, protocol, plan, store, watch))
    seconds = time.monotonic() - began
    (result,) = outcome.sweeps.values()
    note = (
        f"{len(result.trials)} random trials in {seconds:.1f} s, start-up of TVM included: {result.statuses}"
    )
    overhead = statistics.median(watch.seconds)
    return [
        Figure("tir_packed gemm 512^3: trials", 60 * len(result.trials) / seconds, "a minute", 60, note=note),
        Figure("engine overhead a trial (median)", 1e3 * overhead, "ms", 15, True,
               note="wall clock less compiling and running the candidate"),
    ]  # fmt: skip


def command_line() -> list[Figure]:
    """Start-up of the command line."""
    times = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tuner", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    return [Figure("tuner --help", statistics.median(times), "s", 0.5, True, "median of 7 fresh processes")]


def database() -> list[Figure]:
    """Queries and inserts on 100,000 trials."""
    done = subprocess.run(
        [sys.executable, "-m", "tuner.lab.bench_store"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    wanted = {
        "best_process_s": ("tuner best on 100,000 trials", "s", 1.0, True),
        "best_query_ms": ("its query", "ms", 50.0, True),
        "insert_batch_per_s": ("trials inserted in batches", "a second", 1000.0, False),
        "insert_single_ms": ("one trial committed", "ms", None, False),
    }
    return [
        Figure(name, found.get(key), unit, goal, at_most)
        for key, (name, unit, goal, at_most) in wanted.items()
    ]


def pages() -> list[Figure]:
    """The report of a campaign of 10,000 trials, alone and in a database of a million."""
    done = subprocess.run(
        [sys.executable, "-m", "tuner.lab.bench_report"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    return [
        Figure("report of 10,000 trials", found["report_s"], "s", 10, True, "a whole process"),
        Figure("its page", found["page_mb"], "MB", 6, True),
        Figure("the same among a million trials", found["report_among_s"], "s", 20, True, "a whole process"),
    ]


def served() -> list[Figure]:
    """Pages and lists of `tuner serve` on a million trials, asked for by four clients at once."""
    done = subprocess.run(
        [sys.executable, "-m", "tuner.lab.bench_serve"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    note = "of the slowest page or list, a million trials, 4 clients"
    return [
        Figure("tuner serve: median", found["serve_worst_median_ms"], "ms", GOAL_MEDIAN_MS, True, note),
        Figure("tuner serve: 95th percentile", found["serve_worst_p95_ms"], "ms", GOAL_P95_MS, True, note),
        Figure("a trial's event after its commit", found["serve_live_event_ms"], "ms", 2000, True),
    ]


def dispatch(store: "Store", trials: int, shapes: int, reuse: Path | None) -> list[Figure]:
    """One rule for GEMMs that nobody tuned: on this machine, and on the recorded spaces."""
    files = sorted((ROOT / "experiments" / "spaces").glob("*.gz"))
    with Scratch("bench-recorded-") as folder, open_store(folder / "recorded.db") as empty:
        figures = bench_dispatch.recorded(files, empty)
    if reuse is None:
        return [*figures, *bench_dispatch.dispatch(store, trials, shapes)]
    with open_store(str(reuse), read_only=True) as stored:
        return [*figures, *bench_dispatch.dispatch(stored, trials, shapes, reuse=True)]


def main() -> int:
    """Measures everything, prints a table, writes JSON; 1 where a goal is missed or a part failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=120, help="a kernel in the GEMM sweeps")
    parser.add_argument(
        "--output", type=Path, default=Path("results"), help="folder of bench.json and bench.db"
    )
    parser.add_argument("--only", choices=[*_USUAL, "dispatch"], action="append")
    parser.add_argument("--shapes", type=int, default=60, help="GEMMs of dispatch, half of them tuned")
    parser.add_argument(
        "--reuse", type=Path, metavar="DATABASE",
        help="dispatch tunes nothing: what its rule picks is timed beside the winners stored there",
    )  # fmt: skip
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    chosen = arguments.only or list(_USUAL)
    figures: list[Figure] = []
    failed: list[str] = []
    with open_store(str(arguments.output / "bench.db")) as store:
        device = campaign.default_device()
        cores = int(device.target.limits["cores"])
        parts: dict[str, list[Callable[[], list[Figure]]]] = {
            "cli": [command_line],
            "store": [database],
            "pages": [pages],
            "serve": [served],
            "rate": [lambda: trial_rate(store, 80)],
            "autotune": [lambda: bench_autotune.cached_call(device.fingerprint)],
            "library": [lambda: bench_library.library(store, max(1, arguments.trials // 2))],
            "dispatch": [
                lambda: dispatch(store, max(1, arguments.trials // 3), arguments.shapes, arguments.reuse)
            ],
            "gemm": [partial(gemm, store, t, arguments.trials) for t in dict.fromkeys([min(2, cores), 1])],
        }
        for name in chosen:
            for part in parts[name]:
                try:
                    measured = part()
                except (TunerError, subprocess.CalledProcessError) as error:
                    measured = [Figure(name, None, "", note=str(error))]
                    failed.append(name)
                for figure in measured:
                    print(_line(figure), flush=True)
                figures += measured
    path = arguments.output / "bench.json"
    path.write_text(json.dumps([{**asdict(f), "reached": f.reached} for f in figures], indent=2) + "\n")
    missed = [f.name for f in figures if f.reached is False] + [f"{name} (not measured)" for name in failed]
    print(f"figures in {path}; " + (f"missed: {', '.join(missed)}" if missed else "every goal is reached"))
    return 1 if missed else 0


def _line(figure: Figure) -> str:
    value = "-" if figure.value is None else f"{figure.value:.3g}"
    goal = ""
    if figure.goal is not None:
        goal = f"(goal: at {'most' if figure.at_most else 'least'} {figure.goal:g})"
    mark = {True: "ok  ", False: "MISS", None: "    "}[figure.reached]
    return f"{mark} {figure.name}: {value} {figure.unit} {goal} {figure.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
