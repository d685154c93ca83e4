"""Recorded spaces into the store and out again: nothing lost, nothing twice, never as measured."""

import json

import pytest

from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Parameter
from tuner.engine.recorded.exchange import import_recorded, recorded_from_store, stored_trials
from tuner.interchange import read_recorded, write_recorded
from tuner.interchange.tables import rows
from tuner.interchange.trials import workload_of
from tuner.store.store import open_store


@pytest.fixture
def recorded():
    return RecordedSpace(
        "Convolve", "NVIDIA Made Up", (64, 32), (Parameter("TILE", (1, 2, 4)), Parameter("PAD", (0, 1))),
        (
            RecordedTrial({"TILE": 1, "PAD": 0}, Status.OK, (2e-3, 2.2e-3), 2.1e-3, phases={"compile": 0.5},
                          timestamp="2024-01-02T03:04:05+00:00", metrics={"GFLOP/s": 12.0}),
            RecordedTrial({"TILE": 2, "PAD": 1}, Status.BUILD_ERROR, error="CompilationFailedConfig"),
            RecordedTrial({"TILE": 4, "PAD": 1}, Status.OK, (1e-3,), 1e-3, phases={"compile": 0.7},
                          timestamp="2024-01-02T03:04:06+00:00"),
        ),
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "results.db")) as made:
        yield made


def test_import_keeps_failures_and_raw_times_as_replayed(store, recorded):
    sweep, added, known = import_recorded(store, recorded)
    assert (added, known) == (3, 0)
    trials = store.sweep_history(sweep)
    assert {t.measurement.evidence for t in trials} == {Evidence.REPLAYED}
    by_tile = {t.key.config["TILE"]: t.measurement for t in trials}
    assert by_tile[1].samples == (2e-3, 2.2e-3)
    assert by_tile[2].status is Status.BUILD_ERROR and by_tile[2].error == "CompilationFailedConfig"
    assert by_tile[4].build_s == 0.7


def test_replayed_never_answers_best_unless_asked(store, recorded):
    import_recorded(store, recorded)
    assert store.best() == []
    (row,) = store.best(evidence=["replayed"])
    assert dict(row.config) == {"TILE": 4, "PAD": 1} and row.evidence == "replayed"


def test_importing_again_adds_nothing(store, recorded):
    first, *_ = import_recorded(store, recorded)
    assert import_recorded(store, recorded) == (first, 0, 3)
    assert store.count() == 3


@pytest.mark.parametrize("format", ["t4", "kernel-tuner"])
def test_export_of_an_import_is_the_recording(store, recorded, tmp_path, format):
    import_recorded(store, recorded)
    key = workload_of(recorded).key
    back = recorded_from_store(store, key)
    write_recorded(recorded, tmp_path / "a.json", format)
    write_recorded(back, tmp_path / "b.json", format)
    a, b = (read_recorded(tmp_path / name, "k", "d") for name in ("a.json", "b.json"))
    times = [
        {tuple(t.config.items()): (t.status, t.samples, t.objective_s, t.build_s) for t in r.trials}
        for r in (a, b)
    ]
    assert times[0] == times[1]
    assert back.device == recorded.device and back.problem == recorded.problem


def test_export_says_how_to_choose(store, recorded):
    import_recorded(store, recorded)
    other = RecordedSpace("Convolve", "Another", recorded.problem, recorded.parameters, recorded.trials)
    import_recorded(store, other)
    key = workload_of(recorded).key
    with pytest.raises(TunerError, match="--device"):
        recorded_from_store(store, key)
    assert recorded_from_store(store, key, device="another").device == "Another"
    with pytest.raises(TunerError, match="nothing stored of gemm"):
        recorded_from_store(store, "gemm/f32/m1-n1-k1")


def test_rows_are_complete(store, recorded):
    import_recorded(store, recorded)
    listed = rows(stored_trials(store))
    assert len(listed) == 3 and json.dumps(listed)
    failed = next(r for r in listed if r["status"] == "build_error")
    assert failed["time_s"] is None and failed["error"] and failed["evidence"] == "replayed"
