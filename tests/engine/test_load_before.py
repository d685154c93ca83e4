"""The load that goes before sustained samples is no part of the calls that are proven after it."""

import pytest

from tests.engine.judged import judged

CALL_S = 1e-3


class _Runner:
    """Tells what it does, a millisecond a call, and takes as much CPU time as the clock that is held
    against it shows; the load takes a whole second of it."""

    pid, helpers = 1, staticmethod(lambda: set())

    def __init__(self) -> None:
        self.used = 0.0
        self.busy: list[float] = []

    def ask(self, request, *descriptors):
        if request["do"] == "busy":
            self.busy.append(request["seconds"])
            self.used += 1.0
        if request["do"] != "sample":
            return {}
        calls = sum(step["calls"] for step in request["steps"])
        return {"seconds": [CALL_S], "shares": [1.0], "lasted_s": [calls * CALL_S], "probes": [None]}

    def waited_s(self) -> float:
        return 0.0

    def cpu_s(self) -> float:
        return self.used


def test_cpu_time_of_the_load_accuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its word of how long the calls lasted is another question.
    monkeypatch.setattr("tuner.engine.judging.clocks.believable", lambda told_s, elapsed_s: True)
    runner = _Runner()
    run = judged(runner, monkeypatch, sustained_s=0.5)
    run._idle_since = 0.0  # idle for long: the whole load goes before
    assert run.prove([CALL_S], None) == [CALL_S] and runner.busy == [0.5]
