"""Sweeps of recorded spaces from the store: recorded cost, stored as replayed, resumable."""

import json

import pytest
from typer.testing import CliRunner

from tests.devices.test_replay import recorded
from tuner.cli import app
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence
from tuner.core.recorded import RecordedSpace
from tuner.engine.recorded.exchange import import_recorded
from tuner.engine.recorded.replay_sweep import replay_sweep, stored_space
from tuner.engine.tuning.budget import Budget
from tuner.interchange import write_recorded
from tuner.store.store import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "results.db")) as made:
        yield made


def elsewhere() -> RecordedSpace:
    own = recorded()
    return RecordedSpace(own.kernel, "Another GPU", own.problem, own.parameters, own.trials, {"sms": 20.0})


def test_every_trial_is_a_stored_replayed_one_at_its_recorded_cost(store):
    imported, *_ = import_recorded(store, recorded())
    before = store.count()
    result = replay_sweep(store, stored_space(store, "k"), "random", budget=Budget(trials=10))
    assert store.count() == before  # nothing is written twice
    assert len(result.trials) == 10 and {t.measurement.evidence for t in result.trials} == {Evidence.REPLAYED}
    # Two failures cost their compile time, eight successes compile and run.
    assert result.clock_s[-1] == 8 * 2.5 + 2 * 2.0
    # Of all ten the fastest: the median of 0.1, 0.2 and 0.9.
    assert result.best is not None and result.best.measurement.time_s == result.optimum_s == 0.2
    assert result.fraction(10) == 1.0 and 0 <= result.fraction(1) <= 1.0
    sweep = store.sweep(result.sweep_id)
    assert sweep.id != imported and sweep.spec.searcher == "random" and sweep.trials == sweep.reused == 10
    assert sweep.spec.device.kind == "replay" and sweep.summary["simulated_seconds"] == 24.0
    assert store.best() == []
    (row,) = store.best(evidence=["replayed"])
    assert row.evidence == "replayed"


def test_bounds_are_trials_and_simulated_seconds(store):
    import_recorded(store, recorded())
    space = stored_space(store, "k")
    timed = replay_sweep(store, space, "grid", budget=Budget(seconds=7))
    assert timed.clock_s[-2] < 7 <= timed.clock_s[-1] and not timed.exhausted
    everything = replay_sweep(store, space, "grid", budget=Budget(trials=100))
    assert everything.exhausted and len(everything.trials) == 10


def test_an_interrupted_replay_goes_on_where_it_stood(store, monkeypatch):
    import_recorded(store, recorded())
    space, budget = stored_space(store, "k"), Budget(trials=8)
    whole = replay_sweep(store, space, "random", 3, budget)
    real, calls = store.record_reuse, []

    def stop(*arguments):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(arguments)
        real(*arguments)

    monkeypatch.setattr(store, "record_reuse", stop)
    first = replay_sweep(store, space, "random", 3, budget)
    assert first.interrupted and len(first.trials) == 4
    monkeypatch.setattr(store, "record_reuse", real)
    resumed = replay_sweep(store, space, "random", 3, budget, resume=True)
    assert resumed.sweep_id == first.sweep_id and not resumed.interrupted
    assert [t.id for t in resumed.trials] == [t.id for t in whole.trials]
    assert resumed.clock_s == whole.clock_s


def test_other_recordings_of_the_kernel_are_history(store):
    import_recorded(store, recorded())
    import_recorded(store, elsewhere())
    with pytest.raises(TunerError, match=r"choose with --device: k/recorded/x64 on Some GPU; .* Another GPU"):
        stored_space(store, "k")
    with pytest.raises(TunerError, match="no recording of gemm is stored; there are: k/recorded/x64"):
        stored_space(store, "gemm")
    assert stored_space(store, "k", "another").recorded.device == "Another GPU"
    alone = replay_sweep(store, stored_space(store, "k", "some"), "surrogate", budget=Budget(trials=4))
    auto = replay_sweep(store, stored_space(store, "k", "some"), "auto", budget=Budget(trials=4))
    assert alone.why == "" and "surrogate" in auto.why and "only 8" in auto.why  # too few to learn from
    # Importing again finds the import, not a replay of it.
    assert import_recorded(store, recorded())[0] == 1


def test_the_command_imports_a_file_and_reports(tmp_path):
    write_recorded(recorded(), tmp_path / "k.json.gz", "kernel-tuner")
    db = ["--db", str(tmp_path / "r.db")]
    first = CliRunner().invoke(app, ["replay", str(tmp_path / "k.json.gz"), "--searcher", "random", *db])
    assert first.exit_code == 0, first.output
    assert "replayed from a recording, not measured" in first.output
    assert "every recorded configuration was tried" in first.output
    again = CliRunner().invoke(app, ["replay", "k", "--trials", "3", "--json", *db])
    content = json.loads(again.output)
    assert content["evidence"] == "replayed" and len(content["trials"]) == 3
    assert content["trials"][-1]["simulated_s"] == content["simulated_seconds"] > 0
