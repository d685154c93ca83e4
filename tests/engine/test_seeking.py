"""A searcher that fails ends its sweep in one line, in the store too; one that has tried all ends it well."""

import pytest

from tests.devices.test_replay import recorded
from tests.engine.planted import planted
from tests.searchers.test_sizes import NAMES
from tuner import registry
from tuner.core.protocol import Protocol
from tuner.core.recorded import RecordedSpace
from tuner.core.searcher import Searcher
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.recorded.exchange import import_recorded
from tuner.engine.recorded.replay_sweep import replay_sweep, stored_space
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.race import Race
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.seeking import SearcherFailed
from tuner.searchers.uniform import UniformSearcher
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("16x16x16")


class AskRaises(UniformSearcher):
    def propose(self, n, rng):
        if self._told >= 2:
            raise RuntimeError("no\nideas")
        return super().propose(n, rng)


class TellRaises(UniformSearcher):
    def observe(self, observation):
        raise RuntimeError("no ideas")


class MakeRaises(UniformSearcher):
    def __init__(self, problem):
        raise RuntimeError("no ideas")


class AsksForNothing(UniformSearcher):
    def ask(self, n):
        return ["the fastest one"]


BROKEN = {kind.__name__: kind for kind in (AskRaises, TellRaises, MakeRaises, AsksForNothing)}


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "results.db")) as made:
        yield made


@pytest.fixture
def broken(monkeypatch):
    known = registry.searcher

    def searcher(name: str) -> type[Searcher]:
        return BROKEN[name] if name in BROKEN else known(name)

    monkeypatch.setattr(registry, "searcher", searcher)


@pytest.fixture(scope="module")
def workshop():
    protocol = Protocol(threads=1, budget_s=0.01)
    with Workshop(campaign.default_device(), protocol, seed=3, jobs=1) as made:
        yield made


# Many times the other's work: with `give_up_after` the kernel of the searcher that works is given up.
SLOWER = "for (volatile int again = 0; again < 20; again = again + 1) right(A, B, D, m, n, k);"


def race(store, workshop, folder, searcher, give_up_after=None, trials=12):
    slower = planted(folder, "planted_0", SLOWER, values=[0, 1, 2])
    kernels = [slower, planted(folder, "planted_1", values=[0, 1, 2])]
    requests = [
        SweepRequest(k, WORKLOAD, name, 5, Budget(trials=trials))
        for k, name in zip(kernels, ("random", searcher), strict=True)
    ]
    return Race(requests, workshop, store, Observer(), None, give_up_after=give_up_after).run()


@pytest.mark.parametrize(("name", "give_up_after"), [*((n, None) for n in BROKEN), ("AskRaises", 2)])
@pytest.mark.sampled(3)
def test_a_failing_searcher_ends_the_sweep_and_those_that_wait(
    store, workshop, tmp_path, broken, name, give_up_after
):
    with pytest.raises(SearcherFailed, match=r"searcher .* failed: ") as caught:
        race(store, workshop, tmp_path, name, give_up_after)
    assert "\n" not in str(caught.value)
    assert {s.status for s in store.sweeps()} <= {"finished", "interrupted"}
    assert store.sweeps()[-1].status == "interrupted"


@pytest.mark.parametrize("name", BROKEN)
def test_a_failing_searcher_ends_a_replay(store, broken, name):
    import_recorded(store, recorded())
    with pytest.raises(SearcherFailed, match="failed: "):
        replay_sweep(store, stored_space(store, "k"), name, budget=Budget(trials=5))
    assert all(s.status != "running" for s in store.sweeps())


def test_three_configurations_and_twelve_trials(store, workshop, tmp_path):
    results = race(store, workshop, tmp_path, "optuna:BruteForceSampler")
    assert all(r.exhausted and len(r.trials) == 3 for r in results.values())
    assert {s.status for s in store.sweeps()} == {"finished"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.sampled(14)
def test_a_replay_of_fewer_configurations_than_trials(store, name, size):
    if reason := registry.searcher(name).unavailable():
        pytest.skip(reason)
    whole = recorded()
    few = RecordedSpace(whole.kernel, whole.device, whole.problem, whole.parameters, whole.trials[:size])
    import_recorded(store, few)
    result = replay_sweep(store, stored_space(store, "k"), name, budget=Budget(trials=12))
    assert result.exhausted and len(result.trials) == size
    assert store.sweep(result.sweep_id).status == "finished"
