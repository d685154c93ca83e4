"""Sweeps side by side on one database: no configuration is built and measured twice."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from tests.engine.planted import planted
from tests.engine.unwatched import UnwatchedCpu
from tuner import registry
from tuner.core.protocol import Protocol
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.claiming import Claims
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.sweep import Sweep
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import open_store

VALUES = list(range(8))
# Argument: a folder. Sweeps all of the space of a kernel there, in the same order as every other process.
SWEEP = """
import sys
from pathlib import Path
from tests.engine.test_claiming import whole_sweep
whole_sweep(Path(sys.argv[1]))
"""


def whole_sweep(folder: Path) -> None:
    kernel = planted(folder, "side_by_side", values=VALUES)
    workload = registry.operator("gemm").parse("32x32x32")
    protocol = Protocol(threads=1, budget_s=0.02, run_timeout_s=20.0)
    with open_store(folder / "results.db") as store, Workshop(UnwatchedCpu(), protocol, 3) as shop:
        request = SweepRequest(kernel, workload, "random", 5, Budget(trials=len(VALUES)))
        Sweep(request, shop, store, Observer(), shop.calibrate()[0]).run()


def test_two_processes_measure_each_configuration_once(tmp_path: Path) -> None:
    planted(tmp_path, "side_by_side", values=VALUES)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    children = [
        subprocess.Popen([sys.executable, "-c", SWEEP, str(tmp_path)], env=environment) for _ in range(2)
    ]
    assert [child.wait(150) for child in children] == [0, 0]
    with open_store(tmp_path / "results.db") as store:
        sweeps = store.sweeps()
        assert [s.trials for s in sweeps] == [len(VALUES)] * 2
        # Each of the two has an outcome of every configuration, and every one was measured by one of them.
        assert store.count() == len(VALUES)
        assert sum(s.reused for s in sweeps) == len(VALUES)


def test_a_sweep_waits_for_what_another_measures(tmp_path: Path) -> None:
    from tests.store.conftest import Maker

    make = Maker()
    trial = make.timed(1.0, MC=1)
    notes: list[str] = []
    with open_store(tmp_path / "results.db") as store:
        first, second = store.begin_sweep(make.spec), store.begin_sweep(make.spec)
        ahead, behind = (Claims(store, s, make.protocol, True) for s in (first, second))
        assert ahead.split([trial.key])[1:] == ([trial.key], [])
        assert behind.split([trial.key])[1:] == ([], [trial.key])
        later = threading.Timer(0.4, lambda: store.add_trials(first, [trial]))
        later.start()
        behind.wait([trial.key], notes.append)
        known, here, elsewhere = behind.split([trial.key])
        assert (list(known), here, elsewhere) == ([trial.key.digest], [trial.key], [])


def test_an_interrupted_batch_gives_its_claims_up(tmp_path: Path) -> None:
    class Interrupted(Observer):
        def trial_done(self, event):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

    kernel = planted(tmp_path, "given_up", values=VALUES)
    workload = registry.operator("gemm").parse("32x32x32")
    protocol = Protocol(threads=1, budget_s=0.02)
    device = campaign.default_device()
    with open_store(tmp_path / "results.db") as store:
        with Workshop(device, protocol, 3) as shop:
            request = SweepRequest(kernel, workload, "random", 5, Budget(trials=len(VALUES)))
            sweep = Sweep(request, shop, store, Interrupted(), shop.calibrate()[0])
            assert sweep.run().interrupted
        digests = [sweep.key({"UNUSED": value}).digest for value in VALUES]
        spec = SweepSpec(
            workload, DeviceInfo.of(device), KernelInfo.of(kernel), shop.target.name, "random", 1, protocol
        )
        other = store.begin_sweep(spec)
        assert not store.claim(other, digests, protocol, 60).elsewhere
