"""A machine that stands still for a moment makes no honest kernel a liar, and no time longer."""

from collections.abc import Collection
from pathlib import Path

import pytest

from tests.engine.planted import planted
from tests.engine.stalling import STALL_S, StallingCpu
from tuner import registry
from tuner.core.disturbance import is_disturbed
from tuner.core.measurement import Measurement, Status
from tuner.core.protocol import Protocol
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging.clocks import RequestTiming
from tuner.engine.judging.proofs import PROOFS_S, Proofs
from tuner.engine.judging.sampling import Timed

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("64x64x64")


def measured(folder: Path, at: Collection[int], everywhere: bool = False) -> Measurement:
    """An honest kernel on a machine that stands still."""
    protocol = Protocol(threads=1, budget_s=0.05, run_timeout_s=20.0)
    with Workshop(StallingCpu(at, everywhere), protocol, seed=7) as workshop:
        workshop.prepare(GEMM, WORKLOAD)
        built = workshop.build(planted(folder, "honest"), WORKLOAD, {"UNUSED": 0})
        return workshop.measure(WORKLOAD, built, None, None)


# The first readings are of the verifying call, the warm-up and the first sample; the later ones of requests
# for several samples, and of proofs.
@pytest.mark.parametrize(
    "at",
    [
        range(3, 400, 40),
        pytest.param(range(3, 9), marks=pytest.mark.slow),
        pytest.param([5, *range(20, 40)], marks=pytest.mark.slow),
    ],
)
def test_who_is_held_up_now_and_then_is_right_and_has_its_own_time(
    at: Collection[int], tmp_path: Path
) -> None:
    found = measured(tmp_path, at)
    assert found.status is Status.OK, found.error
    assert found.run_s > STALL_S
    assert max(found.samples) < STALL_S / 3 and not is_disturbed(found.metrics)


@pytest.mark.slow
def test_where_everything_is_held_up_the_machine_failed_and_not_the_candidate(tmp_path: Path) -> None:
    found = measured(tmp_path, range(3, 10_000), everywhere=True)
    assert found.status is Status.ENVIRONMENT and found.samples == ()
    assert "stands still" in found.error and "by the lab's clock" in found.error


@pytest.mark.slow
def test_who_is_held_up_in_its_calls_alone_is_a_liar(tmp_path: Path) -> None:
    found = measured(tmp_path, range(3, 10_000))
    assert found.status is Status.WRONG_RESULT and "by the lab's clock" in found.error


# Seconds of a call as claimed, and of calls of a proof as told.
CLAIMED_S = 1e-3


def confirmed(*shown: tuple[float, float, float]) -> tuple[bool, Proofs]:
    """Proofs of a claim of a millisecond: (told, by our clock, share of others) for each call of it."""
    proofs = Proofs(CLAIMED_S, patience_s=0.0)
    for told, ours, share in shown:
        calls = proofs.calls
        timing = RequestTiming(told * calls, ours * calls, 0.0, ours * calls, ours * calls, threads=1)
        if proofs.confirms(Timed(told, share, told * calls), timing):
            return True, proofs
    return False, proofs


def test_one_proof_that_agrees_is_enough():
    held_up, right = (CLAIMED_S, 10 * CLAIMED_S, 0.0), (CLAIMED_S, CLAIMED_S, 0.0)
    assert confirmed(held_up, held_up, held_up, right)[0]
    found, proofs = confirmed(*[held_up] * len(PROOFS_S))
    assert not found and proofs.lies


def test_a_claim_that_is_too_short_is_replaced_and_one_refuted_by_a_busy_machine_is_disturbed():
    """Seen with NumPy beside a spinning process: quiet samples, and proofs 88 times as slow that were
    taken for its undisturbed time."""
    slow = 88 * CLAIMED_S
    found, proofs = confirmed(*[(slow, slow, 0.0)] * len(PROOFS_S))
    assert not found and not proofs.lies
    assert proofs.times() == ([slow] * len(PROOFS_S), 0.0)
    found, proofs = confirmed(*[(slow, slow, 1.0)] * len(PROOFS_S))
    assert not found and not proofs.lies
    assert proofs.times() == ([slow] * len(PROOFS_S), 1.0)


def test_a_claim_is_confirmed_by_a_proof_that_waited_for_a_core():
    proofs = Proofs(CLAIMED_S, patience_s=0.0)
    calls = proofs.calls
    waited = CLAIMED_S * calls
    waiting = RequestTiming(2 * waited, 2 * waited, waited, waited, 2 * waited, threads=1)
    assert proofs.confirms(Timed(2 * CLAIMED_S, 0.5, 2 * waited), waiting)
    # Another thread of its own had the core meanwhile.
    cheating = RequestTiming(2 * waited, 2 * waited, waited, 2 * waited, 2 * waited, threads=1)
    assert not proofs.confirms(Timed(2 * CLAIMED_S, 0.5, 2 * waited), cheating)


def test_a_disturbed_proof_is_asked_again():
    proofs = Proofs(CLAIMED_S, patience_s=1e6)
    for _ in range(20):
        slow = RequestTiming(0.5, 0.5, 0.0, 0.5, 0.5, threads=1)
        assert not proofs.confirms(Timed(88 * CLAIMED_S, 1.0, 0.5), slow)
    assert proofs.calls
    calls = proofs.calls
    calm = RequestTiming(CLAIMED_S * calls, CLAIMED_S * calls, 0.0, 0.0, CLAIMED_S * calls, threads=1)
    assert proofs.confirms(Timed(CLAIMED_S, 0.0, CLAIMED_S * calls), calm)


@pytest.mark.parametrize(
    ("timing", "apart"),
    [
        (RequestTiming(0.005, 0.006, 0.0, 0.006, 0.006, 1), False),
        (RequestTiming(0.005, 0.46, 0.0, 0.006, 0.46, 1), True),
        # It waited for a core; or the judge did, while threads of the runner went on spinning.
        (RequestTiming(0.005, 0.46, 0.45, 0.006, 0.46, 1), False),
        (RequestTiming(0.005, 0.006, 0.0, 0.4, 0.25, 2), False),
        # It computed for longer than it says, however long it waited.
        (RequestTiming(0.005, 0.46, 0.45, 0.4, 0.46, 1), True),
    ],
)
def test_clocks_that_are_apart(timing: RequestTiming, apart: bool) -> None:
    assert timing.apart is apart
    assert not timing.cores_problem or timing.threads == 1
