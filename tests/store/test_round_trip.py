"""What is stored comes back as it was, and what contradicts itself is refused, by the database too."""

import math
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.core.artifact import Toolchain
from tuner.core.errors import StoreError
from tuner.core.measurement import (
    TIMED_EVIDENCE,
    TIMED_STATUSES,
    Calibration,
    Evidence,
    Measurement,
    Status,
)
from tuner.core.protocol import Protocol
from tuner.core.workload import Workload
from tuner.store.store import Store, open_store

times = st.floats(1e-9, 1e3)
# Of a kernel of milliseconds; a drift of 1e-9 would make a second 31 years, which the store refuses.
clocks = st.floats(1e-4, 1.0)

NO_TIME = "samples = '[]', time_s = NULL, median_s = NULL, low_s = NULL, high_s = NULL"


@st.composite
def measurements(draw: st.DrawFn, status: Status, evidence: Evidence) -> Measurement:
    timed = status in TIMED_STATUSES and evidence in TIMED_EVIDENCE
    return Measurement(
        status,
        evidence,
        tuple(draw(st.lists(times, min_size=1, max_size=9))) if timed else (),
        "" if status is Status.OK else draw(st.text(st.characters(codec="utf-8", exclude_characters="\0"),
                                                    min_size=1)),
        draw(st.none() | st.builds(Calibration, clocks, clocks, clocks)),
        draw(st.floats(0, 1e4)),
        draw(st.floats(0, 1e4)),
        draw(st.none() | st.floats(0, 1 if status in TIMED_STATUSES else None, allow_nan=False)),
        draw(st.dictionaries(st.text(max_size=8), st.floats(allow_nan=False) | st.integers(0, 2**62))),
        draw(st.text("0123456789abcdef", max_size=16)),
    )  # fmt: skip


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("evidence", Evidence)
@pytest.mark.sampled(20)
def test_every_outcome_comes_back_as_it_was(
    store: Store, make: Any, status: Status, evidence: Evidence
) -> None:
    sweep = store.begin_sweep(make.spec)

    @settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(measurements(status, evidence))
    def check(measurement: Measurement) -> None:
        trial = make.trial(measurement, MC=3, order="mnk", pack=True, alpha=0.5)
        (trial_id,) = store.add_trials(sweep, [trial])
        found = store.trial(trial_id).trial
        assert found == replace(trial, id=trial_id)
        assert found.key.digest == trial.key.digest
        assert found.measurement.time_s == measurement.time_s

    check()


def test_a_trial_brings_its_surroundings(store: Store, make: Any) -> None:
    tool = Toolchain("g++", "14.2", ("-O3",))
    moment = datetime(2026, 2, 3, 4, 5, 6, 70, tzinfo=UTC)
    trial = make.timed(0.5)
    trial = replace(trial, key=replace(trial.key, toolchain=tool.digest), created_at=moment)
    maker = make.with_(protocol=make.protocol)
    sweep = store.begin_sweep(maker.spec)
    (trial_id,) = store.add_trials(sweep, [trial], toolchain=tool)
    detail = store.trial(trial_id)
    assert detail.trial.created_at == moment
    assert (detail.sweep, detail.kernel, detail.threads, detail.cache) == (sweep, make.kernel, 1, "warm")
    assert detail.toolchain == ("g++", "14.2", ("-O3",))
    assert detail.device.facts == {"cores": 2}


def test_a_toolchain_known_by_digest_only_gets_its_name_later(store: Store, make: Any) -> None:
    tool = Toolchain("g++", "14.2")
    trial = make.timed(0.5)
    trial = replace(trial, key=replace(trial.key, toolchain=tool.digest))
    (trial_id,) = store.add_trials(store.begin_sweep(make.spec), [trial])
    assert store.trial(trial_id).toolchain == ("", "", ())
    store.put_toolchain(tool)
    assert store.trial(trial_id).toolchain == ("g++", "14.2", ())


def test_options_keep_their_types(store: Store, make: Any) -> None:
    workload = Workload(
        "gemm", "f32", (("k", 1), ("a", 2)), (("alpha", 1.0), ("batch", 1), ("layout", "1"), ("relu", True))
    )
    maker = make.with_(workload=workload)
    (trial_id,) = store.add_trials(store.begin_sweep(maker.spec), [maker.timed(1.0)])
    found = store.trial(trial_id).trial.key.workload
    assert found == workload
    assert [type(v) for _, v in found.options] == [float, int, str, bool]


def test_hostile_error_texts_are_kept_readable(store: Store, make: Any) -> None:
    text = "bad \0 byte, lone \udc80 surrogate, " + "x" * 1_000_000 + " the end"
    trial = make.trial(Measurement(Status.CRASH, Evidence.MEASURED, error=text, max_error=math.nan))
    (trial_id,) = store.add_trials(store.begin_sweep(make.spec), [trial])
    found = store.trial(trial_id).trial.measurement
    assert found.error.startswith("bad \\x00 byte, lone \\udc80 surrogate")
    assert found.error.endswith(" the end")
    assert len(found.error) < 100_000
    # A NaN deviation must not read as "not checked".
    assert found.max_error == math.inf


def test_sweep_and_device_come_back(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(replace(make.spec, budget={"trials": 7}, note="a note"))
    store.add_trials(sweep, [make.timed(2.0, MC=1), make.timed(1.0, MC=2), make.failed(MC=3)])
    store.record_reuse(sweep, 3, 1)
    store.finish_sweep(sweep, "finished", {"seconds": 1.5})
    found = store.sweep(sweep)
    assert found.spec.protocol == make.protocol
    assert found.spec.workload == make.workload
    assert (found.spec.budget, found.spec.note, found.summary) == ({"trials": 7}, "a note", {"seconds": 1.5})
    assert (found.trials, found.reused, found.best_s) == (4, 1, 1.0)
    assert found.statuses == {"ok": 3, "crash": 1}
    assert found.status == "finished"
    assert found.finished_at is not None and found.finished_at >= found.started_at
    assert [s.id for s in store.sweeps("gemm")] == [sweep]
    assert store.sweeps("conv2d") == []


def test_limits_of_a_device_are_added_to(store: Store, make: Any) -> None:
    assert store.device_limits("cpu-1") == {}
    store.update_device(replace(make.device, limits={"peak_flops_f32": 1e11, "bandwidth_bytes_per_s": 1e10}))
    store.update_device(replace(make.device, limits={"peak_flops_f32": 2e11}))
    store.begin_sweep(make.spec)  # a sweep that has not measured limits does not forget them
    assert store.device_limits("cpu-1") == {"peak_flops_f32": 2e11, "bandwidth_bytes_per_s": 1e10}
    (device,) = store.devices()
    assert device.facts == {"cores": 2}


def test_people_can_read_the_tables_with_any_tool(store: Store, make: Any, file: Path) -> None:
    store.add_trials(store.begin_sweep(make.spec), [make.timed(0.25, MC=48), make.failed(Status.RUN_TIMEOUT)])
    with sqlite3.connect(file) as plain:
        rows = plain.execute(
            "SELECT w.operator, json_extract(w.dims, '$.m'), k.name, t.status,"
            " json_extract(t.config, '$.MC'), t.time_s, datetime(t.created_at) IS NOT NULL FROM trials t"
            " JOIN workloads w ON w.id = t.workload_id JOIN kernels k ON k.id = t.kernel_id ORDER BY t.id"
        ).fetchall()
    assert rows == [
        ("gemm", 64, "cpp_packed", "ok", 48, 0.25, 1),
        ("gemm", 64, "cpp_packed", "run_timeout", 1, None, 1),
    ]


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        (f"status = 'fine', error = 'x', {NO_TIME}", "ck_trials_status"),
        (f"evidence = 'guessed', {NO_TIME}", "ck_trials_evidence"),
        ("status = 'crash', error = 'x'", "ck_trials_timed"),
        ("evidence = 'emulated'", "ck_trials_timed"),
        (NO_TIME, "ck_trials_timed"),
        ("samples = '[]'", "ck_trials_samples"),
        ("median_s = NULL", "ck_trials_times"),
        ("time_s = 0", "ck_trials_times"),
        ("time_s = 1e10", "ck_trials_interval"),
        ("high_s = 9e999", "ck_trials_interval"),
        ("low_s = median_s * 2", "ck_trials_interval"),
        ("reference_s = 1.0", "ck_trials_calibration"),
        ("error = 'slow'", "ck_trials_error"),
        (f"status = 'crash', {NO_TIME}", "ck_trials_error"),  # a failure without a reason
        ("status = 'pruned', threads = 0", "ck_trials_protocol"),
        ("max_error = 1.01", "ck_trials_max_error"),
        ("cache = 'hot'", "ck_trials_protocol"),
    ],
)
def test_the_database_refuses_contradictions(
    store: Store, make: Any, file: Path, change: str, constraint: str
) -> None:
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
    with sqlite3.connect(file) as plain:
        columns = [row[1] for row in plain.execute("PRAGMA table_info(trials)") if row[1] != "id"]
        # A copy with the change: what an importer with a defect would write.
        plain.execute(f"CREATE TEMP TABLE copy AS SELECT {', '.join(columns)} FROM trials")
        plain.execute(f"UPDATE copy SET {change}")
        with pytest.raises(sqlite3.IntegrityError, match=constraint):
            plain.execute(f"INSERT INTO trials ({', '.join(columns)}) SELECT * FROM copy")
    assert store.count() == 1


@pytest.mark.parametrize("statement", ["UPDATE trials SET time_s = 1e-9", "DELETE FROM trials"])
def test_what_was_measured_stays(store: Store, make: Any, file: Path, statement: str) -> None:
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
    with sqlite3.connect(file) as plain, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        plain.execute(statement)


def test_a_trial_of_another_device_does_not_get_into_a_sweep(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    for stranger in (
        make.with_(device=replace(make.device, fingerprint="gpu-1")),
        make.with_(kernel=replace(make.kernel, digest="source2")),
        make.with_(protocol=Protocol(threads=2)),
        make.with_(workload=Workload("gemm", "f32", (("m", 1), ("n", 1), ("k", 1)))),
    ):
        with pytest.raises(ValueError, match="has another"):
            store.add_trials(sweep, [make.timed(1.0), stranger.timed(1.0)])
    assert store.count() == 0


def test_a_batch_is_stored_whole_or_not_at_all(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    assert store.add_trials(sweep, []) == []
    store.add_trials(sweep, [make.timed(1.0)], [3])
    with pytest.raises(StoreError, match="already has a proposal of number 2 or later"):
        store.add_trials(sweep, [make.timed(2.0), make.timed(3.0)], [2, 3])
    assert store.count() == 1
    ids = store.add_trials(sweep, [make.timed(4.0), make.timed(5.0)])
    history = store.sweep_history(sweep)
    assert [t.measurement.time_s for t in history] == [1.0, 4.0, 5.0]
    assert [t.id for t in history][1:] == ids


def test_unknown_ids_say_what_there_is(store: Store, make: Any) -> None:
    with pytest.raises(StoreError, match=r"there is no trial 5: the database has no trials"):
        store.trial(5)
    store.begin_sweep(make.spec)
    for call in (store.sweep, store.sweep_history, store.best_so_far, store.finish_sweep, store.reopen_sweep):
        with pytest.raises(StoreError, match=r"there is no sweep 9: the database has sweeps 1 to 1"):
            call(9)
    with pytest.raises(StoreError, match="there is no sweep 9"):
        store.add_trials(9, [make.timed(1.0)])


def test_everything_is_there_after_reopening(path: Path, make: Any) -> None:
    with open_store(path) as store:
        sweep = store.begin_sweep(make.spec)
        store.add_trials(sweep, [make.timed(1.0), make.failed()])
    with open_store(path, read_only=True) as store:
        assert [t.measurement.status for t in store.sweep_history(sweep)] == [Status.OK, Status.CRASH]
