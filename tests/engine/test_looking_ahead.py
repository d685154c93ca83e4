"""Where builds disturb nothing, what a sweep begins with is built while the one before it is measured."""

import copy
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engine.planted import planted
from tests.engine.test_stream import VALUES, WORKLOAD, Scripted
from tuner.core.kernel import Kernel
from tuner.core.protocol import Protocol
from tuner.engine.building.build_stage import BuildRequest, BuildStage
from tuner.engine.candidate.evaluator import Evaluated, Evaluator, Standing, TrialJob
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.race import Race
from tuner.engine.tuning.request import SweepRequest
from tuner.store.store import Store, open_store

FIRST, TRIALS = 3, 6


class Beside(Scripted):
    """Has a device that builds do not disturb, or one that they do; notes what it is asked, in order."""

    def __init__(self, disturbed: bool = False, interrupt: str = "") -> None:
        super().__init__()
        self.device = copy.copy(self.device)
        setattr(self.device, "shares_cpu", disturbed)  # noqa: B010 - a class' own, of this one another
        self.interrupt, self.stopped = interrupt, False
        self.log: list[tuple[str, str, int]] = []

    def build_ahead(self, requests: Sequence[BuildRequest]) -> None:
        self.log += [("built", r.kernel.name, int(r.config["UNUSED"])) for r in requests]
        if self.interrupt in {request.kernel.name for request in requests}:
            raise KeyboardInterrupt

    def evaluate(self, jobs: Sequence[TrialJob], standing: Standing) -> Iterator[Evaluated]:
        asked = [job.request for job in jobs]
        self.log += [("measured", r.kernel.name, int(r.config["UNUSED"])) for r in asked]
        yield from super().evaluate(jobs, standing)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[Kernel]:
    folder = tmp_path_factory.mktemp("kernels")
    return [planted(folder, name, values=str(VALUES)) for name in ("one", "two")]


def raced(kernels: Sequence[Kernel], evaluator: Evaluator, store: Store, searcher: str = "surrogate") -> Race:
    requests = [SweepRequest(k, WORKLOAD, searcher, 5, Budget(trials=TRIALS)) for k in kernels]
    return Race(requests, evaluator, store, Observer(), None, give_up_after=FIRST)


@pytest.mark.parametrize("searcher", ["random", "surrogate", "annealing"])
def test_the_next_sweep_is_built_first_and_proposes_what_it_would_have(
    searcher: str, kernels: list[Kernel], tmp_path: Path
) -> None:
    found: list[dict[str, Any]] = []
    logs = []
    for disturbed in (True, False):
        evaluator = Beside(disturbed)
        with open_store(str(tmp_path / f"{disturbed}.db")) as store:
            results = raced(kernels, evaluator, store, searcher).run()
        found.append({name: [t.key.config for t in r.trials] for name, r in results.items()})
        logs.append(evaluator.log)
    assert found[0] == found[1] and all(len(trials) == TRIALS for trials in found[0].values())
    assert not [each for each in logs[0] if each[0] == "built"]
    for name in ("one", "two"):
        built, measured = (
            [n for did, who, n in logs[1] if (did, who) == (d, name)] for d in ("built", "measured")
        )
        assert built[:FIRST] == measured[:FIRST] and set(built) <= set(measured)
    order = [(did, who) for did, who, _ in logs[1]]
    assert order.index(("built", "one")) < order.index(("built", "two")) < order.index(("measured", "one"))


def test_what_is_known_is_not_built(kernels: list[Kernel], tmp_path: Path) -> None:
    with open_store(str(tmp_path / "results.db")) as store:
        for again in (False, True):
            evaluator = Beside()
            raced(kernels, evaluator, store).run()
            assert bool(evaluator.log) is not again


def test_ctrl_c_meanwhile_leaves_sweeps_that_can_be_gone_on_with(
    kernels: list[Kernel], tmp_path: Path
) -> None:
    with open_store(str(tmp_path / "results.db")) as store:
        evaluator = Beside(interrupt="two")
        race = raced(kernels, evaluator, store)
        race.run()
        assert race.interrupted and evaluator.stopped
        assert [(each.spec.kernel.name, each.status) for each in store.sweeps()] == [
            ("one", "interrupted"), ("two", "interrupted"),
        ]  # fmt: skip
        assert not store.count()


def test_no_build_is_under_way_while_the_cpu_measures(
    kernels: list[Kernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever would begin a build ahead of its time on a device that it disturbs fails here."""
    lock, building, measuring, beside = threading.Lock(), set(), set(), []
    one, run_once = BuildStage._one, Workshop._run_once

    def noting(mine: set[object], others: set[object], does: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            who = object()
            with lock:
                mine.add(who)
                beside.extend(others)
            try:
                return does(*arguments)
            finally:
                with lock:
                    mine.discard(who)

        return noted

    monkeypatch.setattr(BuildStage, "_one", noting(building, measuring, one))
    monkeypatch.setattr(Workshop, "_run_once", noting(measuring, building, run_once))
    protocol = Protocol(threads=1, budget_s=0.02)
    with (
        open_store(str(tmp_path / "results.db")) as store,
        Workshop(campaign.default_device("cpu"), protocol, seed=3, jobs=2) as workshop,
    ):
        results = raced(kernels, workshop, store, "random").run()
    assert [len(each.trials) for each in results.values()] == [TRIALS, TRIALS] and not beside
