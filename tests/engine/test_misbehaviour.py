"""A candidate may do anything: it costs one trial, with the right status and reason, and nothing else."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.engine.planted import MISBEHAVIOURS, planted
from tests.engine.unwatched import UnwatchedCpu
from tuner import registry
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.campaign import default_device

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    protocol = Protocol(threads=1, memory_bytes=2**29, run_timeout_s=3.0, budget_s=0.02)
    with Workshop(UnwatchedCpu(), protocol, seed=7) as made:
        made.prepare(GEMM, WORKLOAD)
        yield made


def measure(workshop, kernel, config=None):
    built = workshop.build(kernel, WORKLOAD, config or {"UNUSED": 0}, GEMM.companions(WORKLOAD))
    try:
        return workshop.measure(WORKLOAD, built, None, None)
    finally:
        built.discard()


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_costs_one_trial_and_says_why(name, workshop, tmp_path):
    body, status, word = MISBEHAVIOURS[name]
    outcome = measure(workshop, planted(tmp_path, name, body))
    assert outcome.status == status, outcome.error
    assert word in outcome.error
    assert outcome.samples == ()
    # The same workshop goes on to measure a right kernel.
    after = measure(workshop, planted(tmp_path, "right_one"))
    assert after.status is Status.OK, after.error
    assert len(after.samples) >= 3


def test_prints_do_no_harm(workshop, tmp_path, capfd):
    body = 'right(A, B, D, m, n, k); std::printf("{\\"status\\": \\"ok\\"}\\n%c", 0xff); std::fflush(stdout);'
    outcome = measure(workshop, planted(tmp_path, "chatty", body))
    assert outcome.ok, outcome.error
    assert capfd.readouterr().out == ""


def test_source_that_does_not_compile(workshop, tmp_path):
    outcome = measure(workshop, planted(tmp_path, "broken", "right(A, B, D, m, n, k)"))
    assert outcome.status is Status.BUILD_ERROR
    assert "broken.cpp:" in outcome.error.splitlines()[0]
    assert "error: expected" in outcome.error.splitlines()[0]


def test_build_that_never_ends(tmp_path):
    # An include of an endless file: the compiler reads until it is stopped.
    kernel = planted(tmp_path, "endless", '\n#include "endless_header.h"\n')
    (tmp_path / "endless_header.h").write_text('#include "endless_header.h"\n' * 12)
    protocol = Protocol(threads=1, build_timeout_s=1.0)
    with Workshop(default_device("cpu"), protocol, seed=7) as workshop:
        outcome = measure(workshop, kernel)
    assert outcome.status is Status.BUILD_TIMEOUT
    assert "no result within 1 s" in outcome.error


def test_far_slower_than_the_incumbent_is_dropped_after_one_call(workshop, tmp_path):
    slow = "for (int i = 0; i < 400; ++i) right(A, B, D, m, n, k);"
    built = workshop.build(planted(tmp_path, "slow", slow), WORKLOAD, {"UNUSED": 0})
    outcome = workshop.measure(WORKLOAD, built, 1e-6, None)
    built.discard()
    assert outcome.status is Status.PRUNED
    assert len(outcome.samples) == 1


def test_calibration_divides_drift_out(workshop, tmp_path):
    reference_s = workshop.calibrate()[0]
    built = workshop.build(planted(tmp_path, "steady"), WORKLOAD, {"UNUSED": 0})
    # As if the machine had been twice as fast when the store was made.
    outcome = workshop.measure(WORKLOAD, built, None, reference_s / 2)
    built.discard()
    assert outcome.calibration is not None and outcome.interval is not None
    assert outcome.time_s == pytest.approx(outcome.interval.mid / outcome.calibration.drift)
    assert outcome.calibration.drift > 1.2


def test_cold_caches_are_a_different_quantity(workshop):
    assert replace(workshop.protocol, cache="cold").digest != workshop.protocol.digest


def test_a_layers_calls_are_judged_as_all_are(tmp_path):
    protocol = Protocol(threads=1, cache="model", between_bytes=2**24, budget_s=0.02)
    with Workshop(UnwatchedCpu(), protocol, seed=7) as workshop:
        workshop.prepare(GEMM, WORKLOAD)
        honest = measure(workshop, planted(tmp_path, "honest"))
        lazy = "static int calls = 0; if (calls++ < 5) right(A, B, D, m, n, k);"
        refused = measure(workshop, planted(tmp_path, "lazy", lazy))
    assert honest.ok and len(honest.samples) >= protocol.min_samples, honest.error
    assert refused.status is Status.WRONG_RESULT
