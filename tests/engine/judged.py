"""A run that is judged without a process: a test's runner answers, and every result is right."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tuner.core.protocol import Protocol
from tuner.engine.judging.judged_run import JudgedRun


class _Asks:
    """A challenger that is content with every result."""

    unproven, changing = (), ()

    def draw(self, calls: int, compared: bool) -> SimpleNamespace:
        return SimpleNamespace(as_plain=lambda: {"calls": calls})

    def settle(self, challenge: object, shown: object) -> str:
        return ""


def judged(
    runner: Any, monkeypatch: pytest.MonkeyPatch, known_s: float | None = None, **protocol: Any
) -> JudgedRun:
    """The run of a runner's candidate.

    Args:
        runner: is asked; has `pid`, `helpers`, `ask`, `waited_s` and `cpu_s`, as `Runner` has.
        monkeypatch: of the test.
        known_s: of a call on inputs that were written anew; by default what is claimed.
        **protocol: fields of the protocol.
    """
    monkeypatch.setattr(
        JudgedRun, "_compare_whole_changes",
        lambda self, claimed: (claimed if known_s is None else known_s, 0.0),
    )  # fmt: skip
    layout = SimpleNamespace(outputs_bytes=0, as_plain=dict)
    workload = SimpleNamespace(key="gemm")
    data: Any = SimpleNamespace(workload=workload, layout=layout, sent=0, shown=0, activations=[])
    run = JudgedRun(runner, data, None, Protocol(**protocol), np.random.default_rng(1))
    run._challenger = _Asks()  # type: ignore[assignment]
    return run
