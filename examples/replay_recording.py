"""Compares searchers on a recorded space: every configuration was measured once, so no device is needed.

    python examples/replay_recording.py [FILE]

FILE is a recording in a form that `tuner import` reads (FAIR T4, Kernel Tuner's cache, KTT's results); by
default one of the lab's own. The times are the recorded ones, stored and shown as `replayed`, never as
measured.
"""

import sys
import tempfile
from pathlib import Path

from tuner.core.places import ROOT
from tuner.engine.recorded.exchange import import_recorded
from tuner.engine.recorded.replay_sweep import replay_sweep, stored_space
from tuner.engine.tuning.budget import Budget
from tuner.interchange import read_recorded
from tuner.interchange.trials import workload_of
from tuner.store.store import open_store

OWN = ROOT / "experiments" / "spaces" / "cpp_register-640.t4.json.gz"
SEARCHERS = ("random", "local", "surrogate")
STEPS = (5, 10, 20, 40)


def main(file: Path) -> None:
    """Prints how near to the optimum each searcher is after some trials."""
    recorded = read_recorded(file)
    print(f"{recorded.label}: {len(recorded.trials)} configurations, replayed")
    print(f"{'best time as a share of the optimum':38}", *(f"@{step:<5}" for step in STEPS))
    with tempfile.TemporaryDirectory() as folder, open_store(f"{folder}/replayed.db") as store:
        import_recorded(store, recorded)
        space = stored_space(store, workload_of(recorded).key, recorded.fingerprint)
        for searcher in SEARCHERS:
            result = replay_sweep(store, space, searcher, seed=1, budget=Budget(trials=STEPS[-1]))
            spent = f"{searcher}, {result.clock_s[-1]:.0f} simulated s"
            print(f"{spent:38}", *(f"{result.fraction(step):.3f} " for step in STEPS))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OWN)
