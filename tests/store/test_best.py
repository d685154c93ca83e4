"""`best` picks right: by drift-free time, by evidence, by re-measurement, by source."""

from dataclasses import replace
from typing import Any

import pytest

from tuner.core.errors import StoreError
from tuner.core.measurement import Calibration, Evidence, Measurement, Status
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.store.records import Final, FinalEntry
from tuner.store.store import Store


def test_an_empty_database_has_no_best(store: Store) -> None:
    assert store.best() == []


def test_the_fastest_right_trial_wins(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    pruned = make.trial(Measurement(Status.PRUNED, Evidence.MEASURED, (1e-3,)), MC=7)
    trials = [make.timed(3.0, MC=1), make.timed(1.0, MC=2), make.timed(2.0, MC=3), make.failed(MC=4), pruned]
    ids = store.add_trials(sweep, trials)
    (row,) = store.best()
    assert (row.trial_id, row.config, row.time_s, row.sweep_id) == (ids[1], {"MC": 2}, 1.0, sweep)
    assert row.kernel == make.kernel
    assert row.workload == make.workload
    assert not row.retimed
    assert row.speedup is None


def test_drift_is_divided_out_before_trials_are_ranked(store: Store, make: Any) -> None:
    # Twice as slow a machine: 1.5 s then are 0.75 s at the reference speed.
    slow = Measurement(Status.OK, Evidence.MEASURED, (1.5,), calibration=Calibration(1.0, 2.0, 2.0))
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0, MC=1), make.trial(slow, MC=2)])
    (row,) = store.best()
    assert row.config == {"MC": 2}
    assert row.time_s == 0.75
    assert row.interval == Interval(1.5, 1.5, 1.5)


def test_rows_stand_in_the_order_of_the_times_that_are_shown(store: Store, make: Any) -> None:
    # Its raw median of 1.5 s is more than the other's 1.0 s, its drift-free time of 0.75 s less.
    slow = Measurement(Status.OK, Evidence.MEASURED, (1.5,), calibration=Calibration(1.0, 2.0, 2.0))
    other = make.with_(kernel=replace(make.kernel, name="other"))
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
    store.add_trials(store.begin_sweep(other.spec), [other.trial(slow)])
    assert [(row.kernel.name, row.shown_s) for row in store.best()] == [
        ("other", 0.75), (make.kernel.name, 1.0),
    ]  # fmt: skip


def test_one_row_for_each_workload_device_kernel_threads_and_cache(store: Store, make: Any) -> None:
    small = Workload("gemm", "f32", (("m", 1), ("n", 1), ("k", 1)))
    makers = [
        make,
        make.with_(workload=small),
        make.with_(device=replace(make.device, fingerprint="cpu-2")),
        make.with_(kernel=replace(make.kernel, name="naive")),
        make.with_(protocol=Protocol(threads=2)),
        make.with_(protocol=Protocol(cache="cold")),
        make.with_(protocol=Protocol(cache="model")),
    ]
    for i, maker in enumerate(makers):
        for _ in range(2):
            store.add_trials(store.begin_sweep(maker.spec), [maker.timed(1.0 + i), maker.timed(9.0)])
    rows = store.best()
    assert sorted(row.time_s for row in rows) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    for filters, times in [
        ({"operator": "gemm", "workload_key": small.key}, [2.0]),
        ({"device": "cpu-2"}, [3.0]),
        ({"kernel": "naive"}, [4.0]),
        ({"threads": 2}, [5.0]),
        ({"cache": "cold"}, [6.0]),
        ({"cache": "model"}, [7.0]),
        ({"operator": "conv2d"}, []),
        ({"kernel": "cpp_packed", "threads": 1, "cache": "warm", "device": "cpu-1"}, [1.0, 2.0]),
    ]:
        assert sorted(row.time_s for row in store.best(**filters)) == times, filters  # type: ignore[arg-type]


def test_times_of_bursts_and_under_a_load_that_lasts_are_not_compared(store: Store, make: Any) -> None:
    """A burst is faster on a device that throttles: it is no better configuration."""
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0, MC=1), make.timed(2.0, MC=2)])
    lasting = make.with_(protocol=replace(make.protocol, sustained_s=2.0))
    store.add_trials(store.begin_sweep(lasting.spec), [lasting.timed(3.0, MC=1), lasting.timed(2.5, MC=2)])
    (row,) = store.best()
    assert (row.time_s, row.config) == (2.5, {"MC": 2}), "what was measured last"
    store.add_trials(store.begin_sweep(make.spec), [make.timed(0.5, MC=3)])
    (row,) = store.best()
    assert (row.time_s, row.config) == (0.5, {"MC": 3})


def test_a_row_says_what_passed_between_its_calls(store: Store, make: Any) -> None:
    for protocol in (make.protocol, Protocol(cache="model", between_bytes=2**25)):
        layer = make.with_(protocol=protocol)
        store.add_trials(store.begin_sweep(layer.spec), [layer.timed(1.0)])
    assert [(row.cache, row.between_bytes) for row in store.best()] == [("model", 2**25), ("warm", 0)]


def test_kernels_of_a_workload_come_fastest_first(store: Store, make: Any) -> None:
    for name, seconds in [("a", 3.0), ("b", 1.0), ("c", 2.0)]:
        maker = make.with_(kernel=replace(make.kernel, name=name))
        store.add_trials(store.begin_sweep(maker.spec), [maker.timed(seconds)])
    assert [row.kernel.name for row in store.best()] == ["b", "c", "a"]


def test_only_measured_times_answer_unless_asked(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    emulated = make.trial(Measurement(Status.OK, Evidence.EMULATED), MC=5)
    store.add_trials(
        sweep, [make.timed(1.0, Evidence.PREDICTED), make.timed(2.0, Evidence.REPLAYED), emulated]
    )
    assert store.best() == []
    store.add_trials(sweep, [make.timed(3.0)])
    assert [(r.time_s, r.evidence) for r in store.best()] == [(3.0, "measured")]
    assert [r.time_s for r in store.best(evidence=["replayed"])] == [2.0]
    assert [r.time_s for r in store.best(evidence=["measured", "replayed"])] == [2.0]
    assert [r.time_s for r in store.best(evidence=list(Evidence))] == [1.0]
    assert store.best(evidence=["emulated"]) == []
    assert store.best(evidence=[]) == []
    with pytest.raises(StoreError, match=r"unknown evidence .*guessed.*known: measured"):
        store.best(evidence=["guessed"])


def final(make: Any, baseline: int | None, **entries: Any) -> Final:
    made = tuple(
        FinalEntry(int(name[1:]), "baseline" if int(name[1:]) == baseline else "candidate", **entry)
        for name, entry in entries.items()
    )
    return Final(make.workload, make.device.fingerprint, make.protocol, made, baseline)


def test_the_re_measurement_decides_between_finalists(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    lucky, solid, other = store.add_trials(
        sweep, [make.timed(1.00, MC=1), make.timed(1.01, MC=2), make.timed(1.05, MC=3)]
    )
    library = make.with_(kernel=replace(make.kernel, name="openblas"))
    (baseline,) = store.add_trials(store.begin_sweep(library.spec), [library.timed(2.0)])
    # A slow day: every time of the final is half as long again, so no search time compares with them.
    gain = Interval(1.8, 1.9, 2.0)
    final_id = store.record_final(
        final(
            make, baseline,
            t1={"turns": Turns((1.6, 1.61, 1.62))},
            t2={"turns": Turns((1.51, 1.52, 1.53)), "speedup": gain, "winner": True},
            t4={"turns": Turns((2.9, 3.0, 3.1))},
        )
    )  # fmt: skip
    assert (lucky, solid, other, baseline) == (1, 2, 3, 4)
    best, reference = store.best()
    assert best.trial_id == solid
    assert best.retimed
    assert best.interval == Interval(1.51, 1.52, 1.53)
    assert best.time_s == 1.01
    assert (best.speedup, best.baseline, best.final_id) == (gain, "openblas", final_id)
    assert best.winner
    assert not best.tie
    # The baseline lost to another kernel, which is no reason to drop it from its own row.
    assert (reference.trial_id, reference.interval.mid) == (baseline, 3.0)


def test_what_a_final_finds_of_a_binary_is_of_all_its_configurations(store: Store, make: Any) -> None:
    """An unroll that changes nothing makes twins: one is timed, both have its time, one is in the final."""

    def built(seconds: float, artifact: str, **config: int) -> Any:
        return make.trial(Measurement(Status.OK, Evidence.MEASURED, (seconds,), artifact=artifact), **config)

    sweep = store.begin_sweep(make.spec)
    lucky, twin, solid, alone = store.add_trials(
        sweep,
        [built(1.00, "a", MC=1), built(1.00, "a", MC=2), built(1.01, "b", MC=3), built(1.00, "c", MC=4)],
    )
    told = {f"t{lucky}": {"turns": Turns((1.6,))}, f"t{solid}": {"turns": Turns((1.5,))}}
    store.record_final(final(make, None, **told))
    # Of another binary with the same time nobody knows that it was luck.
    assert [row.trial_id for row in store.best()] == [alone] and twin != alone
    store.record_final(final(make, None, **{f"t{alone}": {"turns": Turns((1.7,))}, **told}))
    assert [(row.trial_id, row.retimed) for row in store.best()] == [(solid, True)]


def test_of_two_configurations_of_a_binary_in_a_final_the_one_that_is_kept_answers(
    store: Store, make: Any
) -> None:
    """A tuned one and the kernel's default; a third, stored before both, was in no final."""
    shared = Measurement(Status.OK, Evidence.MEASURED, (1.0,), artifact="a")
    sweep = store.begin_sweep(make.spec)
    _, lost, kept = store.add_trials(sweep, [make.trial(shared, MC=mc) for mc in (1, 2, 3)])
    told = {
        f"t{lost}": {"turns": Turns((1.2,)), "beaten": True},
        f"t{kept}": {"turns": Turns((1.2,)), "beaten": False},
    }
    store.record_final(final(make, None, **told))
    assert [(row.trial_id, row.retimed) for row in store.best()] == [(kept, True)]


def test_a_kept_best_is_not_replaced_by_what_was_slower_than_its_equal(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    kept, hair, rest = store.add_trials(
        sweep, [make.timed(1.05, MC=1), make.timed(1.00, MC=2), make.timed(1.02, MC=3)]
    )
    told = {
        f"t{kept}": {"turns": Turns((1.06, 1.07, 1.08)), "beaten": False},
        f"t{hair}": {"turns": Turns((1.05, 1.06, 1.07)), "beaten": True},
    }
    store.record_final(final(make, None, **told))
    # By search times alone the third trial would be next, which nobody measured again.
    assert [row.trial_id for row in store.best()] == [kept] and rest != kept
    (faster,) = store.add_trials(sweep, [make.timed(0.9, MC=4)])
    assert [row.trial_id for row in store.best()] == [faster]


def test_a_later_faster_trial_beats_an_earlier_final(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    store.add_trials(sweep, [make.timed(1.00, MC=1), make.timed(1.01, MC=2)])
    store.record_final(final(make, None, t1={"turns": Turns((1.5,))}, t2={"turns": Turns((1.4,))}))
    (newer,) = store.add_trials(store.begin_sweep(make.spec), [make.timed(0.9, MC=3)])
    (best,) = store.best()
    assert (best.trial_id, best.retimed) == (newer, False)


def test_the_latest_final_of_a_trial_counts(store: Store, make: Any) -> None:
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.00, MC=1), make.timed(1.01, MC=2)])
    store.record_final(final(make, None, t1={"turns": Turns((1.2,))}, t2={"turns": Turns((1.1,))}))
    assert [r.trial_id for r in store.best()] == [2]
    store.record_final(final(make, None, t1={"turns": Turns((1.1,))}, t2={"turns": Turns((1.2,))}))
    (best,) = store.best()
    assert (best.trial_id, best.interval.mid) == (1, 1.1)


def test_finals_come_back(store: Store, make: Any) -> None:
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.00, MC=1), make.timed(1.01, MC=2)])
    number = store.record_final(
        final(
            make, 1,
            t1={"turns": Turns((1.5, 1.7), (1, 1)), "tie": True},
            t2={"turns": Turns((1.4, 1.5)), "speedup": Interval(0.9, 1.1, 1.2), "tie": True},
        )
    )  # fmt: skip
    (found,) = store.finals(workload_key=make.workload.key, device="cpu-1")
    assert (found.id, found.baseline, found.protocol, found.workload) == (
        number, 1, make.protocol, make.workload,
    )  # fmt: skip
    assert [(e.trial_id, e.role, e.turns, e.tie) for e in found.entries] == [
        (2, "candidate", Turns((1.4, 1.5)), True), (1, "baseline", Turns((1.5, 1.7), (1, 1)), True),
    ]  # fmt: skip
    assert found.entries[0].speedup == Interval(0.9, 1.1, 1.2)
    assert store.trial(2).finals == (found.entries[0],)
    assert store.finals(sweep_id=1) == []
    with pytest.raises(ValueError, match="trial 77 is not stored"):
        store.record_final(final(make, None, t77={"turns": Turns((1.0,))}))
    with pytest.raises(StoreError, match="ck_final_entries_outcome"):
        store.record_final(final(make, None, t1={"turns": Turns((1.0,)), "tie": True, "winner": True}))
    assert len(store.finals()) == 1


def test_the_present_source_goes_before_others(store: Store, make: Any) -> None:
    for source, seconds in [("v1", 1.0), ("v2", 2.0), ("v3", 3.0)]:
        maker = make.with_(kernel=replace(make.kernel, digest=source))
        store.add_trials(store.begin_sweep(maker.spec), [maker.timed(seconds)])
    assert [r.kernel.digest for r in store.best()] == ["v3"]
    assert [r.kernel.digest for r in store.best(current={"cpp_packed": "v2"})] == ["v2"]
    # Edited since: the last one stored answers, and its digest shows that it is stale.
    assert [r.kernel.digest for r in store.best(current={"cpp_packed": "v9"})] == ["v3"]


def test_a_source_with_failures_only_does_not_hide_an_older_one(store: Store, make: Any) -> None:
    store.add_trials(store.begin_sweep(make.spec), [make.timed(1.0)])
    maker = make.with_(kernel=replace(make.kernel, digest="broken"))
    store.add_trials(store.begin_sweep(maker.spec), [maker.failed()])
    assert [r.kernel.digest for r in store.best(current={"cpp_packed": "broken"})] == ["source1"]


def test_a_final_that_declared_nothing_changes_no_answer(store: Store, make: Any) -> None:
    sweep = store.begin_sweep(make.spec)
    store.add_trials(sweep, [make.timed(1.0, MC=1), make.timed(1.1, MC=2)])
    store.record_final(final(make, None, t1={"turns": Turns((1.5,))}, t2={"turns": Turns((1.4,))}))
    (before,) = store.best()
    busy = final(make, None, t1={"turns": Turns((3.0,))}, t2={"turns": Turns((9.0,))})
    number = store.record_final(replace(busy, disturbed="others had the cores"))
    assert store.best() == [before] and before.trial_id == 2
    assert store.final(number).disturbed == "others had the cores"
    assert [e.disturbed for e in store.trial(1).finals] == ["", "others had the cores"]
