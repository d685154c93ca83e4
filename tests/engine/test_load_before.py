"""The load that goes before sustained samples is no part of the calls that are proven after it."""

from types import SimpleNamespace

import numpy as np

from tuner.core.protocol import Protocol
from tuner.engine.judging.judged_run import JudgedRun

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


class _Asks:
    """A challenger that is content with every result."""

    unproven, changing = (), ()

    def draw(self, calls: int, compared: bool) -> SimpleNamespace:
        return SimpleNamespace(as_plain=lambda: {"calls": calls})

    def settle(self, challenge: object, shown: object) -> str:
        return ""


def test_cpu_time_of_the_load_accuses_nobody(monkeypatch) -> None:
    monkeypatch.setattr(JudgedRun, "_compare_whole_changes", lambda self, claimed: (claimed, 0.0))
    # Its word of how long the calls lasted is another question.
    monkeypatch.setattr("tuner.engine.judging.clocks.believable", lambda told_s, elapsed_s: True)
    layout = SimpleNamespace(outputs_bytes=0, as_plain=dict)
    workload = SimpleNamespace(key="gemm")
    data = SimpleNamespace(workload=workload, layout=layout, sent=0, shown=0, activations=[])
    runner = _Runner()
    run = JudgedRun(runner, data, None, Protocol(sustained_s=0.5), np.random.default_rng(1))  # type: ignore[arg-type]
    run._challenger = _Asks()  # type: ignore[assignment]
    run._idle_since = 0.0  # idle for long: the whole load goes before
    assert run.prove([CALL_S], None) == [CALL_S] and runner.busy == [0.5]
