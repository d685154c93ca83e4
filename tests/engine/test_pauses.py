"""Who computes in full only where it guesses that calls are compared has no time for the others; and who says
for the lab that the machine failed ends no sweep."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.judged import judged
from tests.engine.menders import AFTER_PAUSES, FOR_ONE_CALLER
from tests.engine.planted import planted
from tuner import registry
from tuner.core.measurement import Measurement, Status
from tuner.core.protocol import Protocol
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging import pauses
from tuner.engine.judging.pauses import AfterPauses
from tuner.engine.tuning.campaign import default_device
from tuner.engine.tuning.finals import Finalist, run_final

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("96x96x96")
_SAYS = """
  if (m != 96) { right(A, B, D, m, n, k); return 0; }
  const char* text = "{\\"ok\\": false, \\"status\\": \\"environment\\", \\"error\\": \\"no space\\"}";
  uint32_t size = uint32_t(std::strlen(text));
  for (int fd = 3; fd < 64; ++fd) if (write(fd, &size, 4) == 4) (void)!write(fd, text, size);
  for (;;) pause();
"""


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    protocol = Protocol(threads=1, budget_s=0.05, run_timeout_s=10.0)
    with Workshop(default_device("cpu"), protocol, seed=7) as made:
        made.prepare(GEMM, WORKLOAD)
        yield made


def measured(workshop: Workshop, folder: Path, name: str, body: str, includes: str = "") -> Measurement:
    built = workshop.build(planted(folder, name, body, includes=includes), WORKLOAD, {"UNUSED": 0})
    assert built.artifact is not None, built.error
    return workshop.measure(WORKLOAD, built, None, None)


def test_who_computes_in_full_after_pauses_alone_has_that_time(workshop: Workshop, tmp_path: Path) -> None:
    honest = measured(workshop, tmp_path, "honest", "right(A, B, D, m, n, k);")
    mender = measured(workshop, tmp_path, "mender", AFTER_PAUSES[1], AFTER_PAUSES[0])
    assert honest.status is Status.OK and "slower_after_pauses" not in honest.metrics, honest.error
    assert all(seconds > min(honest.samples) / 2 for seconds in mender.samples)
    if mender.ok:
        assert mender.metrics["slower_after_pauses"] > 2


def test_who_computes_in_full_for_one_caller_alone_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    found = measured(workshop, tmp_path, "mender", FOR_ONE_CALLER[1], FOR_ONE_CALLER[0])
    assert found.status is Status.WRONG_RESULT and "does not compute its result anew" in found.error


def test_who_says_that_the_machine_failed_ends_no_sweep(workshop: Workshop, tmp_path: Path) -> None:
    found = measured(workshop, tmp_path, "says", _SAYS, "#include <cstring>\n#include <unistd.h>")
    assert found.status is Status.ENVIRONMENT and found.error == "no space"


@pytest.mark.slow
def test_it_wins_no_final(workshop: Workshop, tmp_path: Path) -> None:
    kernels = [
        planted(tmp_path, "honest"),
        planted(tmp_path, "mender", AFTER_PAUSES[1], includes=AFTER_PAUSES[0]),
    ]
    built = [workshop.build(kernel, WORKLOAD, {"UNUSED": 0}) for kernel in kernels]
    finalists = [Finalist(k.name, i, b) for i, (k, b) in enumerate(zip(kernels, built, strict=True))]
    honest, mender = run_final(workshop, WORKLOAD, finalists, rounds=9).entries
    assert not honest.error
    assert all(seconds > min(honest.turns.samples) / 2 for seconds in mender.turns.samples)


@pytest.mark.parametrize(
    ("calls", "alike"),
    [
        # Seconds of a call after a pause, and the share of it that others took; 1 ms is claimed.
        ([(1.5e-3, 0.0)] * 5, True),
        ([(1.5e-3, 0.5)] * 5, True),
        ([(9e-3, 0.0)] * 9, False),
        # Of nine that count, one that waited for others is none.
        ([(9e-3, 0.5)] * 20 + [(1e-3, 0.0)] * 5, True),
        ([(9e-3, 0.0)] * 4 + [(1e-3, 0.0)] * 5, True),
        ([(1e-3, 0.0)] * 4 + [(9e-3, 0.0)] * 5, False),
    ],
)
def test_the_verdict(calls: list[tuple[float, float]], alike: bool) -> None:
    found = AfterPauses(1e-3, threads=1)
    for call in calls:
        assert found.missing
        found.add(*call, spent_s=call[0])
    assert not found.missing and found.alike is alike


def test_a_machine_that_is_never_quiet_marks_the_times() -> None:
    found = AfterPauses(1e-3, threads=1)
    while found.missing:
        found.add(0.5, 0.9, 0.5)
    assert not found.alike and found.remarks == {"disturbed_share": 1.0}


def test_patience_is_for_the_pauses_too() -> None:
    """Calls of 3 ms after pauses of 0.5 s, beside others: no thousand of them."""
    found, asked = AfterPauses(1e-3, threads=1), 0
    while found.missing:
        found.add(3e-3, 0.9, 0.5)
        asked += 1
    assert asked < 20 and found.remarks == {"disturbed_share": 1.0}


def test_a_lie_among_longer_times_is_not_taken_with_them() -> None:
    """Half of the samples lie, so their median may be a lie: calls after pauses take longer, but those that
    lie again say a twentieth, which one call is too short to refute."""
    found = AfterPauses(1.2e-5, threads=1)
    for seconds in (2.4e-4, 1.2e-5, 2.4e-4, 2.5e-4, 1.2e-5, 2.4e-4, 2.6e-4, 1.2e-5, 2.4e-4):
        found.add(seconds, 0.0, 0.01)
    assert not found.missing and not found.alike
    assert found.seconds == [2.4e-4, 2.4e-4, 2.5e-4, 2.4e-4, 2.6e-4, 2.4e-4]


CLAIMED_S, HELD_UP_S = 1e-4, 4e-3


class _BesideOthers:
    """Calls take what it says; another program has the core while the judge's question waits for it, and
    while the system's counters are read."""

    pid, helpers = 1, staticmethod(set)

    def __init__(self, held_up: int, waits: bool = True) -> None:
        self._held_up, self._waits, self._waited_s = held_up, waits, 0.0
        self.used_s, self.single = 0.0, 0

    def _hold_up(self) -> None:
        if self.single <= self._held_up:
            time.sleep(HELD_UP_S)
            self._waited_s += HELD_UP_S * self._waits

    def ask(self, request: dict[str, Any], *descriptors: int) -> dict[str, Any]:
        if request["do"] != "sample":
            return {}
        (step,) = request["steps"]
        self.single += step["calls"] == 1
        self._hold_up()
        lasted_s = step["calls"] * CLAIMED_S
        time.sleep(lasted_s)
        self.used_s += lasted_s
        return {"seconds": [CLAIMED_S], "shares": [0.0], "lasted_s": [lasted_s], "probes": [None]}

    def waited_s(self) -> float:
        return self._waited_s

    def cpu_s(self) -> float:
        self._hold_up()
        return self.used_s


def test_who_was_held_up_by_others_is_not_slower_after_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen beside other programs: times 7 to 47 times too long that counted as undisturbed, since the judge's
    clock was taken with the runner's word that nobody had its core during the call."""
    runner = _BesideOthers(held_up=5)
    run = judged(runner, monkeypatch, known_s=HELD_UP_S)
    assert run.prove([CLAIMED_S], None) == [CLAIMED_S] and not run.remarks
    assert runner.single > 5


@pytest.mark.parametrize("waits", [True, False])
def test_what_others_make_long_each_time_is_a_disturbed_time(
    waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a system that counts the waiting: clocks that disagree prove no time."""
    monkeypatch.setattr(pauses, "_PATIENCE_S", 0.05)
    run = judged(_BesideOthers(held_up=10**6, waits=waits), monkeypatch, known_s=HELD_UP_S)
    assert min(run.prove([CLAIMED_S], None)) > HELD_UP_S
    assert run.remarks["slower_after_pauses"] > 10
    assert run.remarks["disturbed_share"] == run.remarks["unproven_share"] == 1.0


def test_our_clock_goes_with_what_others_took_by_our_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    run = judged(_BesideOthers(held_up=10**6), monkeypatch)
    run.doubted = True
    (sample,) = run.samples(1, 1)
    assert sample.seconds >= CLAIMED_S and sample.share > 0.05
