"""How well `tuner verify` holds on this machine. Run as `python -m tuner.lab.verify_figures`.

Makes a fresh result in a database of its own, verifies it a few times on the idle machine, then beside a busy
loop on one core. Two figures come of it: the share of numbers that reproduce (19 of 20 are asked for),
and how many were called reproduced or refuted beside the loop although the idle machine contradicts (none
may be).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tuner.core.environment import clean_environment
from tuner.core.reproduction import Mark
from tuner.core.scratch import Scratch

_EXPERIMENT = """
operator = "gemm"
shapes = ["256x256x256", "512x512x512"]
kernels = ["cpp_naive", "cpp_tiled", "cpp_register", "cpp_packed"]
searcher = "random"
threads = {threads}
[budget]
trials = 20
[final]
rounds = 25
finalists = 1
"""
_LOOP = "import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"


def _tuner(*arguments: str | Path) -> str:
    """What a command prints; it has processes of its own, so that the loop is none of them."""
    command = [sys.executable, "-m", "tuner", *map(str, arguments)]
    done = subprocess.run(command, env=clean_environment(), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


def _fresh(folder: Path, threads: int) -> Path:
    file = folder / f"threads{threads}.toml"
    file.write_text(_EXPERIMENT.format(threads=threads))
    _tuner("compare", file, "--db", folder / "r.db", "--output", folder / file.stem, "--json")
    return folder / file.stem / "result.json"


_Key = tuple[str, int, int, str]


def _verified(result: Path) -> dict[_Key, dict[str, Any]]:
    numbers = json.loads(_tuner("verify", result, "--json"))["numbers"]
    return {(n["workload"], n["threads"], n["trial"], n["over"] or ""): n for n in numbers}


def _beside_a_loop(result: Path, core: int) -> dict[_Key, dict[str, Any]]:
    loop = subprocess.Popen([sys.executable, "-c", _LOOP.format(core=core)])
    try:
        time.sleep(1.0)
        return _verified(result)
    finally:
        loop.kill()
        loop.wait()


def _counts(numbers: dict[_Key, dict[str, Any]]) -> str:
    counts = Counter(number["verdict"] for number in numbers.values())
    return ", ".join(f"{counts[mark]} {mark}" for mark in Mark if counts[mark])


def contradicted(busy: dict[_Key, dict[str, Any]], idle: dict[_Key, dict[str, Any]]) -> list[_Key]:
    """The numbers that were decided beside the loop as the idle machine did not decide them."""
    decided = (Mark.REPRODUCES, Mark.DIFFERS)
    return [k for k, n in busy.items() if n["verdict"] in decided and n["verdict"] != idle[k]["verdict"]]


def main() -> None:
    """See the module's text."""
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="verifications on the idle machine (3)")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, len(cores)}))
    told = parser.parse_args()
    reproduced = total = wrong = 0
    with Scratch("verify-") as folder:
        for threads in told.threads:
            result = _fresh(folder, threads)
            idle: dict[_Key, dict[str, Any]] = {}
            for run in range(1, told.runs + 1):
                idle = _verified(result)
                reproduced += sum(n["verdict"] == Mark.REPRODUCES for n in idle.values())
                total += len(idle)
                print(f"{threads} threads, idle, run {run}: {_counts(idle)}", flush=True)
                for key, number in idle.items():
                    if number["verdict"] != Mark.REPRODUCES:
                        print(f"  {key}: {number['verdict']} {number['now_over_then']} {number['why'] or ''}")
            for core in (cores[0], cores[-1]):
                busy = _beside_a_loop(result, core)
                bad = contradicted(busy, idle)
                wrong += len(bad)
                print(f"{threads} threads, busy loop on core {core}: {_counts(busy)}", flush=True)
                for key in bad:
                    print(f"  {key}: {busy[key]['verdict']}, idle it {idle[key]['verdict']}")
    print(f"{reproduced} of {total} numbers of fresh results reproduce on the idle machine")
    print(f"{wrong} numbers were decided beside a busy loop against what the idle machine says")


if __name__ == "__main__":
    main()
