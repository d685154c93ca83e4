"""Resuming, reuse of known identities, histories and curves."""

import os
import pickle
import platform
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.store.owner import is_alive, this_process
from tuner.store.store import Store


def test_an_interrupted_sweep_is_resumed_and_a_finished_one_is_not(store: Store, make: Any) -> None:
    first = store.begin_sweep(make.spec)
    store.finish_sweep(first, "interrupted")
    assert store.resumable(make.spec) == first
    store.reopen_sweep(first, {"trials": 9})
    found = store.sweep(first)
    assert (found.status, found.finished_at, found.spec.budget) == ("running", None, {"trials": 9})
    store.finish_sweep(first)
    assert store.resumable(make.spec) is None
    second = store.begin_sweep(make.spec)
    third = store.begin_sweep(make.spec)
    store.finish_sweep(second, "interrupted")
    store.finish_sweep(third, "interrupted")
    assert store.resumable(make.spec) == third


@pytest.mark.parametrize(
    "change",
    [
        {"workload": Workload("gemm", "f32", (("m", 2), ("n", 2), ("k", 2)))},
        {"searcher": "tpe"},
        {"seed": 1},
        {"protocol": Protocol(threads=2)},
        {"kernel": {"digest": "edited"}},
        {"kernel": {"name": "naive"}},
        {"device": {"fingerprint": "other"}},
    ],
    ids=str,
)
def test_another_search_is_not_resumed(store: Store, make: Any, change: dict[str, Any]) -> None:
    store.finish_sweep(store.begin_sweep(make.spec), "interrupted")
    change = {k: replace(getattr(make, k), **v) if isinstance(v, dict) else v for k, v in change.items()}
    assert store.resumable(make.with_(**change).spec) is None


def test_longer_timeouts_still_resume(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    store.finish_sweep(sweep, "interrupted")
    assert store.resumable(make.with_(protocol=Protocol(run_timeout_s=999)).spec) == sweep


def test_a_sweep_that_another_process_runs_is_left_alone(store: Store, make: Any, file: Path) -> None:
    """A killed process leaves `running` behind, just as a live one does; only the former is resumed."""
    code = f"""
import pickle, sys, time
from tuner.store.store import open_store
spec = pickle.loads(sys.stdin.buffer.read())
with open_store({str(file)!r}) as store:
    print(store.begin_sweep(spec), flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(pickle.dumps(make.spec))
        child.stdin.close()
        sweep = int(child.stdout.readline())
        assert store.resumable(make.spec) is None
        assert store.sweep(sweep).status == "running"
    finally:
        child.kill()
        child.wait()
    assert store.sweep(sweep).status == "interrupted"
    assert store.resumable(make.spec) == sweep


def test_owners() -> None:
    mine = this_process()
    assert not is_alive(mine)  # it is me: nobody else runs it
    assert not is_alive("")
    assert not is_alive(f"elsewhere:{os.getppid()}:1")
    # The number of a dead process, given to another one since.
    assert not is_alive(f"{platform.node()}:{os.getppid()}:1")


def test_known_identities_are_found_with_their_latest_outcome(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    trials = [make.timed(1.0, MC=1), make.failed(Status.CRASH, MC=2), make.failed(Status.BUILD_ERROR, MC=3)]
    ids = store.add_trials(sweep, [*trials, make.timed(0.8, MC=1)])
    wanted = [t.key.digest for t in trials] + [make.key({"MC": 99}).digest]
    found = store.find_identities(wanted)
    assert {d: t.id for d, t in found.items()} == dict(zip(wanted, [ids[3], ids[1], ids[2]], strict=False))
    assert found[wanted[0]].measurement.samples == (0.8,)
    assert found[wanted[1]].measurement.status is Status.CRASH
    assert store.find_identities([]) == {}


def test_more_identities_than_a_statement_has_variables(store: Store, make: Any) -> None:
    trials = [make.timed(1.0, MC=i) for i in range(1200)]
    store.add_trials(store.begin_sweep(make.spec), trials)
    digests = [t.key.digest for t in trials]
    assert store.find_identities(digests * 40).keys() == set(digests)


def test_a_prediction_is_no_known_outcome(store: Store, make: Any) -> None:
    trial = make.timed(1.0, Evidence.PREDICTED)
    store.add_trials(store.begin_sweep(make.spec), [trial])
    assert store.find_identities([trial.key.digest]) == {}
    assert store.find_identities([trial.key.digest], evidence=[Evidence.PREDICTED]).keys() == {
        trial.key.digest
    }


@pytest.mark.parametrize(
    ("status", "asked", "known"),
    [
        (Status.RUN_TIMEOUT, Protocol(run_timeout_s=10), True),
        (Status.RUN_TIMEOUT, Protocol(run_timeout_s=11), False),
        (Status.BUILD_TIMEOUT, Protocol(build_timeout_s=5), True),
        (Status.BUILD_TIMEOUT, Protocol(build_timeout_s=50, run_timeout_s=1), False),
        (Status.CRASH, Protocol(run_timeout_s=999), True),
    ],
)
def test_a_timeout_under_a_shorter_limit_is_tried_again(
    store: Store, make: Any, status: Status, asked: Protocol, known: bool
) -> None:
    maker = make.with_(protocol=Protocol(run_timeout_s=10, build_timeout_s=10))
    trial = maker.failed(status)
    store.add_trials(store.begin_sweep(maker.spec), [trial])
    assert bool(store.find_identities([trial.key.digest], asked)) is known
    assert store.find_identities([trial.key.digest])


def test_a_pruned_trial_is_tried_again_where_nothing_is_pruned(store: Store, make: Any) -> None:
    trial = make.trial(Measurement(Status.PRUNED, Evidence.MEASURED, (9.0,)))
    store.add_trials(store.begin_sweep(make.spec), [trial])
    assert store.find_identities([trial.key.digest], Protocol())
    assert not store.find_identities([trial.key.digest], Protocol(prune_factor=0))


def test_a_history_is_in_the_order_of_proposals_with_reused_ones(store: Store, make: Any) -> None:
    early = store.begin_sweep(make.spec)
    (old,) = store.add_trials(early, [make.timed(2.0, MC=5)])
    sweep = store.begin_sweep(make.spec)
    store.add_trials(sweep, [make.timed(3.0, MC=1)], [0])
    store.record_reuse(sweep, 1, old)
    store.add_trials(sweep, [make.failed(MC=2)], [2])
    history = store.sweep_history(sweep)
    assert [dict(t.key.config) for t in history] == [{"MC": 1}, {"MC": 5}, {"MC": 2}]
    assert (store.sweep(sweep).trials, store.sweep(sweep).reused) == (3, 1)
    # What was measured earlier belongs to the sweep that measured it.
    assert store.trial(old).sweep == early


def test_best_so_far(store: Store, make: Any) -> None:
    (old,) = store.add_trials(store.begin_sweep(make.spec), [make.timed(0.5, MC=9)])
    sweep = store.begin_sweep(make.spec)
    began = store.sweep(sweep).started_at
    pruned = make.trial(Measurement(Status.PRUNED, Evidence.MEASURED, (0.1,)), MC=4)
    trials = [make.failed(MC=1), make.timed(3.0, MC=2), pruned, make.timed(4.0, MC=3), make.timed(1.0, MC=5)]
    placed = [
        Trial(t.key, t.measurement, None, began + timedelta(seconds=i + 1)) for i, t in enumerate(trials)
    ]
    store.add_trials(sweep, placed)
    store.record_reuse(sweep, 5, old)
    points = store.best_so_far(sweep)
    assert [p.best_s for p in points] == [None, 3.0, 3.0, 3.0, 1.0, 0.5]
    assert [p.elapsed_s for p in points] == [1, 2, 3, 4, 5, 5]
    assert [p.number for p in points] == [0, 1, 2, 3, 4, 5]


def test_history_for_transfer_is_grouped_and_keeps_failures(store: Store, make: Any) -> None:
    gpu = make.with_(device=replace(make.device, fingerprint="gpu-1", facts={"sms": 68}))
    other = make.with_(kernel=replace(make.kernel, name="naive"))
    for maker in (make, gpu, other):
        store.add_trials(
            store.begin_sweep(maker.spec),
            [
                maker.timed(1.0, MC=1), maker.failed(MC=2), maker.timed(2.0, Evidence.PREDICTED, MC=3),
                maker.timed(0.9, MC=1), maker.timed(5.0, MC=4),
            ],
        )  # fmt: skip
    groups = store.history("cpp_packed", "gemm")
    assert [(g.device.fingerprint, dict(g.device.facts)) for g in groups] == [
        ("cpu-1", {"cores": 2}), ("gpu-1", {"sms": 68}),
    ]  # fmt: skip
    for group in groups:
        assert [(dict(o.config), o.value) for o in group.observations] == [
            ({"MC": 2}, None), ({"MC": 1}, 0.9), ({"MC": 4}, 5.0),
        ]  # fmt: skip
        assert (group.threads, group.cache, group.workload) == (1, "warm", make.workload)
    (limited, _) = store.history("cpp_packed", "gemm", limit=1)
    assert [dict(o.config) for o in limited.observations] == [{"MC": 4}]
    assert store.history("cpp_packed", "conv2d") == []


def test_a_history_says_which_times_are_of_a_busy_machine(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    busy = Measurement(
        Status.OK, Evidence.MEASURED, (2.0,), metrics={"disturbed_share": 0.4, "registers": 3.0}
    )
    store.add_trials(sweep, [make.timed(1.0, MC=1), make.trial(busy, MC=2), make.failed(MC=3)])
    (group,) = store.history("cpp_packed", "gemm")
    assert [(o.config["MC"], o.disturbed) for o in group.observations] == [(1, False), (2, True), (3, False)]
