"""A sweep takes outcomes as they come: in any order, from other hosts, one lost, one twice."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.planted import planted
from tuner import registry
from tuner.core.artifact import Toolchain
from tuner.core.errors import MachineFault
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.engine.candidate.evaluator import Evaluated, Place, Standing, TrialJob
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.sweep import Sweep
from tuner.store.owner import this_host
from tuner.store.records import DeviceInfo
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")
VALUES = list(range(60))


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "results.db")) as made:
        yield made


def outcome(job: TrialJob) -> Measurement:
    """The same for a configuration whenever it is asked for; some fail."""
    value = int(job.request.config["UNUSED"])
    if value % 7 == 3:
        return Measurement(Status.CRASH, Evidence.MEASURED, error="it crashed")
    seconds = 1.0 + 0.01 * ((value * 37) % 60)
    return Measurement(Status.OK, Evidence.MEASURED, (seconds,), artifact=f"binary-{value}")


class Scripted:
    """An evaluator that answers at once, in an order of its own; builds and runs nothing."""

    def __init__(self, order: int | None = None, lose: Sequence[int] = (), twice: Sequence[int] = ()) -> None:
        self.device = campaign.default_device()
        self.protocol, self.target, self.jobs = Protocol(threads=1), self.device.target, 4
        self.order, self.lose, self.twice = order, list(lose), twice
        self.asked: list[int] = []

    def prepare(self, operator: Any, workload: Any, companions: bool = True) -> None:
        pass

    def stop(self) -> None:
        pass

    def place(self, job: TrialJob) -> Place | None:
        return None

    def evaluate(self, jobs: Sequence[TrialJob], standing: Standing) -> Iterator[Evaluated]:
        self.asked += [job.ticket for job in jobs]
        todo = list(jobs)
        if self.order is not None:
            random.Random(f"{self.order}/{jobs[0].ticket}").shuffle(todo)
        for job in todo:
            if job.ticket in self.lose:
                self.lose.remove(job.ticket)
                continue
            found = Evaluated(job.ticket, outcome(job), self.place(job))
            yield found
            if job.ticket in self.twice:
                yield replace(found, measurement=Measurement(Status.OK, Evidence.MEASURED, (1e-6,)))


class Notes(Observer):
    def __init__(self, stop_after: int | None = None) -> None:
        self.notes: list[str] = []
        self.numbers: list[int] = []
        self.stop_after = stop_after

    def note(self, text: str) -> None:
        self.notes.append(text)

    def trial_done(self, event: Any) -> None:
        self.numbers.append(event.number)
        if len(self.numbers) == self.stop_after:
            raise KeyboardInterrupt


def sweep(store, kernel, evaluator, searcher="surrogate", trials=40, observer=None, **more):
    request = SweepRequest(kernel, WORKLOAD, searcher, 5, Budget(trials=trials), **more)
    return Sweep(request, evaluator, store, observer or Notes(), None).run()


def proposals(result) -> list[int]:
    return [t.key.config["UNUSED"] for t in result.trials]


@pytest.mark.parametrize("searcher", ["surrogate", "annealing", "genetic"])
def test_proposals_do_not_depend_on_the_order_of_the_outcomes(tmp_path, searcher):
    kernel = planted(tmp_path, "ordered", values=VALUES)
    found = []
    for order in (None, 1, 2):
        with open_store(str(tmp_path / f"{order}.db")) as store:
            watch = Notes()
            result = sweep(store, kernel, Scripted(order), searcher, observer=watch)
            assert (watch.numbers == sorted(watch.numbers)) == (order is None)
            stored = store.sweep_history(result.sweep_id)
            assert [t.id for t in stored] == [t.id for t in result.trials]
            found.append((proposals(result), result.best.key.config, result.statuses))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0][0])) == 40


def test_patience_counts_proposals_and_not_arrivals(tmp_path):
    kernel = planted(tmp_path, "patient", values=VALUES)
    found = set()
    for order in (None, 1, 2, 3):
        with open_store(str(tmp_path / f"{order}.db")) as store:
            request = SweepRequest(kernel, WORKLOAD, "random", 5, Budget(patience=6))
            found.add(tuple(proposals(Sweep(request, Scripted(order), store, Notes(), None).run())))
    assert len(found) == 1
    assert len(found.pop()) < 60


def test_a_lost_outcome_is_asked_for_again_and_a_second_one_dropped(store, tmp_path):
    kernel = planted(tmp_path, "lossy", values=VALUES)
    with open_store(str(tmp_path / "whole.db")) as other:
        whole = sweep(other, kernel, Scripted())
    evaluator, watch = Scripted(7, lose=[2, 11], twice=[4]), Notes()
    result = sweep(store, kernel, evaluator, observer=watch)
    assert proposals(result) == proposals(whole)
    assert result.best.measurement.time_s == whole.best.measurement.time_s
    assert evaluator.asked.count(2) == evaluator.asked.count(11) == 2
    assert evaluator.asked.count(3) == 1
    assert sum("asked for again" in note for note in watch.notes) == 2
    assert sum("second outcome of proposal 4 " in note for note in watch.notes) == 1
    assert store.count() == 40


def test_an_outcome_that_never_comes_is_the_machine_s_failure_and_tried_later(store, tmp_path):
    kernel = planted(tmp_path, "gone", values=list(range(8)))
    result = sweep(store, kernel, Scripted(lose=[5, 5]), "random", 8)
    (lost,) = [t for t in result.trials if t.measurement.status is Status.ENVIRONMENT]
    assert "no outcome came back" in lost.measurement.error
    again = sweep(store, kernel, Scripted(), "random", 8)
    assert store.sweep(again.sweep_id).reused == 7
    with pytest.raises(MachineFault, match="3 candidates in a row"):
        sweep(store, kernel, Scripted(lose=[0, 0, 1, 1, 2, 2]), "random", 8, remeasure=True)


def test_an_interrupted_sweep_goes_on_from_outcomes_with_gaps(store, tmp_path):
    kernel = planted(tmp_path, "gaps", values=VALUES)
    cut = sweep(store, kernel, Scripted(3), observer=Notes(stop_after=11))
    assert cut.interrupted and len(cut.trials) == 11
    numbers = [number for number, _ in store.numbered_history(cut.sweep_id)]
    assert numbers != list(range(11))  # the test is of outcomes out of order
    resumed = sweep(store, kernel, Scripted(4), resume=True)
    assert resumed.sweep_id == cut.sweep_id
    assert proposals(resumed)[:11] == proposals(cut)
    assert len(set(proposals(resumed))) == 40
    assert [t.id for t in store.sweep_history(cut.sweep_id)] == [t.id for t in resumed.trials]
    curve = store.best_so_far(cut.sweep_id)
    assert len(curve) == 40 and curve[-1].best_s == resumed.best.measurement.time_s


# --- where a trial ran --------------------------------------------------------------------------------------


class TwoDevices(Scripted):
    """The sweep's own device on a host of its own with another compiler, and a second device."""

    def place(self, job: TrialJob) -> Place:
        own = DeviceInfo.of(self.device)
        chain = Toolchain("g++", "99.1", ("-O9",))
        if job.ticket % 2 == 0:
            return Place("alpha", own, chain)
        return Place("beta", replace(own, fingerprint="cpu-beta", name="Beta"), chain)


def test_a_trial_has_the_host_device_and_toolchain_of_where_it_ran(store, tmp_path):
    kernel = planted(tmp_path, "placed", values=VALUES)
    evaluator = TwoDevices(2)
    result = sweep(store, kernel, evaluator, "random", 20)
    stored = store.numbered_history(result.sweep_id)
    assert [n for n, _ in stored] == list(range(20))
    for number, trial in stored:
        detail = store.trial(trial.id)
        here = number % 2 == 0
        assert detail.trial.host == ("alpha" if here else "beta")
        assert detail.device.fingerprint == (evaluator.device.fingerprint if here else "cpu-beta")
        assert trial.key.device == detail.device.fingerprint
        assert detail.toolchain == ("g++", "99.1", ("-O9",))
        assert (detail.sweep == result.sweep_id) == here
    # Each device has a best of its own, and the sweep's is of its own device.
    rows = {row.device.fingerprint: row for row in store.best()}
    assert rows.keys() == {evaluator.device.fingerprint, "cpu-beta"}
    assert result.best.id == rows[evaluator.device.fingerprint].trial_id
    main, part = store.sweeps()
    assert (main.trials, main.reused, part.trials) == (20, 10, 10)
    assert part.spec.note == f"part of sweep {main.id} on beta" and part.status == "finished"


def test_a_trial_of_this_host_says_so(store, tmp_path):
    result = sweep(store, planted(tmp_path, "here", values=VALUES), Scripted(), "random", 2)
    assert {t.host for t in store.sweep_history(result.sweep_id)} == {this_host()}


def test_leaving_the_stream_early_removes_what_was_built(store, tmp_path):
    kernel = planted(tmp_path, "left", "right(A, B, D, m, n, k); D[0] += 0 * UNUSED;", values=list(range(3)))
    protocol = Protocol(threads=1, budget_s=0.02)
    with Workshop(campaign.default_device(), protocol, seed=3, jobs=3) as workshop:
        result = sweep(store, kernel, workshop, "random", 3, observer=Notes(stop_after=1))
        assert result.interrupted and len(result.trials) == 1
        assert not list(workshop._folder.glob("build-*"))
