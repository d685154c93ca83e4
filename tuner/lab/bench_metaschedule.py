"""Our MetaSchedule against the stock one, side by side. Run as `python -m tuner.lab.bench_metaschedule`.

Both tune the same program for the same target, each in a process of its own, from its start to its end.
Trials a minute count all of that time: imports, the search, and for ours the device's peaks and calibration.
Then the best kernels of both, each built as its own side builds it, are verified and timed interleaved.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuner import registry
from tuner.core.environment import clean_environment
from tuner.core.kernel import Kernel
from tuner.core.scratch import Scratch
from tuner.core.stats import Interval
from tuner.core.trace_space import PARAMETER, TraceSpace
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.finals import Finalist, run_final

_FINALISTS = 3
_STOCK = """
import json, sys
import tvm, tvm.script.parser
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.tir_integration import tune_tir

if __name__ == "__main__":
    told = json.load(open(sys.argv[1]))
    trials = told["trials"]
    tune_tir(tvm.script.from_source(told["program"]), tvm.target.Target(told["target"]), told["work_dir"],
             max_trials_global=trials, num_trials_per_iter=min(64, trials), seed=told["seed"])
"""


@dataclass(frozen=True)
class Contender:
    """What one side did.

    Attributes:
        trials: records it made, failures included.
        failed: of them, those without a time.
        seconds: from the start of its process to its end.
        complete: whether it ended by itself.
        best: traces of its fastest, by its own times.
    """

    trials: int
    failed: int
    seconds: float
    complete: bool
    best: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Trials a minute."""
        return 60 * self.trials / self.seconds


def _run(command: list[str], limit_s: float) -> tuple[float, bool]:
    """Seconds a process took, and whether it ended by itself within the limit."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=clean_environment(), stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return time.monotonic() - began, False
        if code != 0:
            log.seek(0)
            raise SystemExit(f"it failed with code {code}: {log.read()[-2000:].decode(errors='replace')}")
    return time.monotonic() - began, True


def run_ours(
    operator: str, shape: str, kernel: str, trials: int, seed: int, folder: Path, limit_s: float
) -> Contender:
    """A sweep into a database of its own."""
    from tuner.store.store import open_store

    db = folder / "ours.db"
    command = [
        sys.executable, "-m", "tuner", "sweep", operator, "--shape", shape, "--kernel", kernel,
        "--trials", str(trials), "--seed", str(seed), "--no-baselines", "--rounds", "0", "--db", str(db),
    ]  # fmt: skip
    seconds, complete = _run(command, limit_s)
    with open_store(str(db), read_only=True) as store:
        found = store.sweep_history(store.sweeps()[-1].id)
    right = sorted((t for t in found if t.measurement.ok), key=lambda t: t.measurement.time_s or 0.0)
    best = tuple(str(t.key.config[PARAMETER]) for t in right[:_FINALISTS])
    failed = sum(t.measurement.time_s is None for t in found)
    return Contender(len(found), failed, seconds, complete, best)


def run_stock(space: TraceSpace, trials: int, seed: int, folder: Path, limit_s: float) -> Contender:
    """`tune_tir` as it comes: its builder, its runner, its database."""
    from tuner.interchange.metaschedule import read_database

    told = {"program": space.program, "target": space.target, "work_dir": str(folder / "stock"),
            "trials": trials, "seed": seed}  # fmt: skip
    (folder / "stock").mkdir()
    (folder / "told.json").write_text(json.dumps(told))
    (folder / "stock.py").write_text(_STOCK)
    seconds, complete = _run([sys.executable, str(folder / "stock.py"), str(folder / "told.json")], limit_s)
    lines = (folder / "stock" / "database_tuning_record.json").read_text().splitlines()
    if not lines:
        raise SystemExit(f"stock tune_tir has no record after {seconds:.0f} s: give it more with --limit")
    records = read_database(folder / "stock")
    timed = sorted((r for r in records if r.samples), key=lambda r: statistics.median(r.samples))
    best = tuple(r.trace for r in timed[:_FINALISTS])
    return Contender(len(lines), len(records) - len(timed), seconds, complete, best)


def final(
    workload: Workload, kernel: Kernel, ours: Contender, stock: Contender, rounds: int
) -> dict[str, Any]:
    """The fastest of both sides in one interleaved run, and how many times faster ours is.

    Stock kernels are built with LLVM's switches and level as they are by default, as stock builds them.
    """
    device = campaign.default_device()
    plain: Any = type(kernel)()
    plain.name, plain.llvm, plain.llvm_level = "stock", (), 3
    with Workshop(device, campaign.default_protocol(device), campaign.fresh_seed()) as workshop:
        workshop.warm([kernel])
        workshop.prepare(registry.operator(workload.operator), workload, companions=False)
        entries = [(kernel, trace, "ours") for trace in ours.best]
        entries += [(plain, trace, "stock") for trace in stock.best]
        finalists = []
        for number, (built_by, trace, label) in enumerate(entries):
            built = workshop.build(built_by, workload, {PARAMETER: trace})
            if built.artifact is not None:
                finalists.append(Finalist(label, number, built, baseline=label == "stock"))
            else:
                print(f"{label} {number} does not build: {built.error.splitlines()[0]}")
        ranking = run_final(workshop, workload, finalists, rounds, budget_s=60.0)
    flops = registry.operator(workload.operator).flops(workload)
    fastest: dict[str, tuple[float, Turns]] = {}
    for entry in ranking.entries:
        label = entry.finalist.label
        if entry.interval and entry.interval.mid < fastest.get(label, (math.inf,))[0]:
            fastest[label] = entry.interval.mid, entry.turns
        elif entry.error:
            print(f"{label} is out of the final: {entry.error}")
    report: dict[str, Any] = {
        f"{label}_gflops": flops / time_s / 1e9 for label, (time_s, _) in fastest.items()
    }
    if len(fastest) == 2:
        report["speedup"] = asdict(fastest["stock"][1].over(fastest["ours"][1]))
    return report


def main() -> int:
    """Runs both sides and the final; prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", default="512x512x512")
    parser.add_argument("--operator", default="gemm")
    parser.add_argument("--trials", type=int, default=256, help="of ours")
    parser.add_argument("--stock-trials", type=int, help="of stock; default as many. 0: do not run it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=3 * 3600.0, help="seconds a side may take")
    parser.add_argument("--rounds", type=int, default=40, help="of the final")
    parser.add_argument("--output", type=Path, help="JSON file")
    told = parser.parse_args()
    workload = registry.operator(told.operator).parse(told.shape)
    device = campaign.default_device()
    (kernel,) = (k for k in registry.kernels_of(told.operator, device.target.kind) if k.searcher)
    space = kernel.space(workload, device.target_for(campaign.default_protocol(device).threads))
    assert isinstance(space, TraceSpace)
    stock_trials = told.trials if told.stock_trials is None else told.stock_trials
    report: dict[str, Any] = {"workload": workload.key, "device": device.facts().get("model")}
    with Scratch("bench-") as folder:
        sides = {
            "ours": run_ours(
                told.operator, told.shape, kernel.name, told.trials, told.seed, folder, told.limit
            )
        }
        print(_line("ours", sides["ours"]), flush=True)
        if stock_trials:
            sides["stock"] = run_stock(space, stock_trials, told.seed, folder, told.limit)
            print(_line("stock tune_tir", sides["stock"]), flush=True)
    report |= {label: {**asdict(side), "rate": side.rate} for label, side in sides.items()}
    if stock_trials:
        report["rate_ratio"] = sides["ours"].rate / sides["stock"].rate
        print(f"trials a minute: {report['rate_ratio']:.1f} times stock's (goal: at least 10)")
        report |= final(workload, kernel, sides["ours"], sides["stock"], told.rounds)
        if "speedup" in report:
            found = Interval(**report["speedup"])
            print(
                f"best kernel: {report['ours_gflops']:.0f} GFLOP/s, stock's {report['stock_gflops']:.0f}: "
                f"{found.mid:.3f}x [{found.low:.3f}, {found.high:.3f}] (goal: at least 1)"
            )
    if told.output is not None:
        told.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _line(label: str, side: Contender) -> str:
    ended = "" if side.complete else " (cut off)"
    return (
        f"{label}: {side.trials} trials ({side.failed} failed) in {side.seconds:.1f} s{ended}, start-up "
        f"included: {side.rate:.1f} a minute"
    )


if __name__ == "__main__":
    sys.exit(main())
