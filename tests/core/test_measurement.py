"""Measurements that contradict themselves cannot be made; what they say is derived from raw samples."""

import math

import pytest

from tuner.core.measurement import (
    TIMED_EVIDENCE,
    TIMED_STATUSES,
    Calibration,
    Evidence,
    Measurement,
    Status,
)


def make(status, evidence, **fields):
    fields.setdefault("error", "" if status in TIMED_STATUSES else "the reason")
    return Measurement(status, evidence, **fields)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("evidence", Evidence)
def test_only_a_timed_status_with_a_timed_evidence_has_samples(status, evidence):
    timed = status in TIMED_STATUSES and evidence in TIMED_EVIDENCE
    if timed:
        assert make(status, evidence, samples=(0.1, 0.2)).samples == (0.1, 0.2)
        with pytest.raises(ValueError, match="needs samples"):
            make(status, evidence)
    else:
        assert make(status, evidence).time_s is None
        with pytest.raises(ValueError, match="cannot have times"):
            make(status, evidence, samples=(0.1,))


@pytest.mark.parametrize("status", sorted(set(Status) - TIMED_STATUSES))
def test_a_failure_needs_its_reason(status):
    with pytest.raises(ValueError, match=f"status {status} needs an error text"):
        Measurement(status, Evidence.MEASURED)


def test_what_is_right_has_no_error_text():
    with pytest.raises(ValueError, match="cannot have an error text"):
        Measurement(Status.OK, Evidence.MEASURED, (0.1,), error="odd")


@pytest.mark.parametrize("sample", [0.0, -1.0, math.nan, math.inf])
def test_a_sample_is_positive_and_finite(sample):
    with pytest.raises(ValueError, match="positive finite"):
        Measurement(Status.OK, Evidence.MEASURED, (0.1, sample))


@pytest.mark.parametrize("status", sorted(TIMED_STATUSES))
@pytest.mark.parametrize("share", [1.01, math.inf, math.nan])
def test_what_is_right_is_within_its_tolerance(status, share):
    with pytest.raises(ValueError, match="cannot have an error of"):
        Measurement(status, Evidence.MEASURED, (0.1,), max_error=share)
    assert Measurement(status, Evidence.MEASURED, (0.1,), max_error=1.0).max_error == 1.0
    assert make(Status.WRONG_RESULT, Evidence.MEASURED, max_error=share).error


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_calibration_is_positive_and_finite(bad):
    for place in range(3):
        with pytest.raises(ValueError, match="calibration"):
            Calibration(*[bad if i == place else 1.0 for i in range(3)])


def test_drift_is_divided_out_of_the_time_and_not_of_the_samples():
    slow = Measurement(
        Status.OK, Evidence.MEASURED, (2.2, 2.2, 2.4), calibration=Calibration(0.010, 0.012, 0.011)
    )
    assert slow.calibration.drift == pytest.approx(1.1)
    assert slow.samples == (2.2, 2.2, 2.4) and slow.interval.mid == 2.2
    assert slow.time_s == pytest.approx(2.0)


def test_what_slowed_one_calibration_alone_is_no_drift():
    # Dividing it out would declare a candidate half as slow as it is.
    disturbed = Calibration(0.010, 0.020, 0.010)
    assert disturbed.drift == pytest.approx(1.0)


def test_without_calibration_the_time_is_the_median():
    measurement = Measurement(Status.PRUNED, Evidence.MEASURED, (3.0, 1.0))
    assert measurement.time_s == 2.0 and not measurement.ok
    failed = make(Status.CRASH, Evidence.MEASURED)
    assert failed.interval is None and failed.time_s is None


def test_statuses_are_the_closed_set_people_query():
    assert {s.value for s in Status} == {
        "ok", "infeasible", "build_error", "build_timeout", "over_resources", "run_error", "run_timeout",
        "crash", "wrong_result", "environment", "pruned",
    }  # fmt: skip
    assert {e.value for e in Evidence} == {"measured", "replayed", "emulated", "compiled", "predicted"}
