"""A kernel whose processes are ended each time, by itself or for its memory, spoils nobody else's result."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.calm import CalmCpu
from tests.engine.planted import planted
from tuner import registry
from tuner.core.errors import MachineFault
from tuner.core.protocol import Protocol
from tuner.core.source_kernel import SourceKernel
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.finals import Finalist, run_final
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.race import Race
from tuner.engine.tuning.request import SweepRequest
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")
QUICK = Protocol(threads=1, budget_s=0.02, run_timeout_s=5.0)


def killer(folder: Path, after: int = 0) -> SourceKernel:
    """Ends its process after so many calls."""
    body = f"static int calls = 0; right(A, B, D, m, n, k); if (calls++ >= {after}) kill(getpid(), SIGKILL);"
    return planted(folder, "killer", body, "[0, 1, 2, 3]", "#include <csignal>\n#include <unistd.h>")


@pytest.fixture
def workshop() -> Any:
    with Workshop(CalmCpu(), QUICK, seed=3) as made:
        made.prepare(GEMM, WORKLOAD)
        yield made


def race(workshop: Workshop, store: Any, kernels: list[SourceKernel]) -> Race:
    requests = [SweepRequest(kernel, WORKLOAD, "random", 5, Budget(trials=4)) for kernel in kernels]
    return Race(requests, workshop, store, Observer(), workshop.calibrate()[0])


def test_it_is_given_up_and_the_others_are_swept(workshop: Workshop, tmp_path: Path) -> None:
    with open_store(str(tmp_path / "results.db")) as store:
        running = race(
            workshop, store, [killer(tmp_path), planted(tmp_path, "honest", values="[0, 1, 2, 3]")]
        )
        results = running.run()
        assert results["honest"].best is not None and len(results["honest"].trials) == 4
        assert results["killer"].best is None
        assert "3 candidates in a row" in running.given_up["killer"].reason
        assert {s.spec.kernel.name: s.status for s in store.sweeps()} == {
            "killer": "interrupted", "honest": "finished",
        }  # fmt: skip
        with pytest.raises(MachineFault, match="3 candidates in a row"):
            race(workshop, store, [killer(tmp_path)]).run()


def test_it_is_thrown_out_of_a_final_that_the_others_go_on_with(workshop: Workshop, tmp_path: Path) -> None:
    kernels = [planted(tmp_path, "one"), planted(tmp_path, "two"), killer(tmp_path, after=40)]
    built = [workshop.build(kernel, WORKLOAD, {"UNUSED": 0}) for kernel in kernels]
    finalists = [Finalist(k.name, i, b) for i, (k, b) in enumerate(zip(kernels, built, strict=True))]
    ranking = run_final(workshop, WORKLOAD, finalists, rounds=8)
    one, two, dead = ranking.entries
    assert one.interval and two.interval and ranking.winner is not None and not ranking.disturbed
    assert dead.interval is None and "sittings were lost by it alone" in dead.error
