"""A model timed alone and while another one runs in a process of its own, by each way to run both."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.errors import TunerError
from tuner.model.contestants import Contestant

# Seconds of a turn, of a child's preparation at most, and of an answer at most.
TURN_S, READY_S, ANSWER_S = 0.3, 900.0, 120.0


@dataclass(frozen=True)
class Load:
    """Calls of one model in some turns.

    Attributes:
        p50, p95, p99: seconds of a call.
        per_s: calls a second, the turns' pauses apart.
    """

    p50: float
    p95: float
    p99: float
    per_s: float

    @classmethod
    def of(cls, calls: Sequence[float]) -> "Load":
        """Of seconds of calls made one after the other."""
        p50, p95, p99 = (float(p) for p in np.percentile(calls, (50, 95, 99)))
        return cls(p50, p95, p99, len(calls) / sum(calls))


@dataclass(frozen=True)
class Beside:
    """Two models run in the same way, alone and beside each other.

    Attributes:
        name: of the way.
        alone, shared: of the model that is compared.
        other_alone, other_shared: of the other one.
    """

    name: str
    alone: Load
    shared: Load
    other_alone: Load
    other_shared: Load


class Neighbour:
    """The other model in a process of its own, which runs it when it is told to.

    Args:
        path, dims: of the model, at the file's batch.
        db: of the tuned kernels.
        threads: of each way to run it.

    Attributes:
        names: the ways to run it, those that are right.

    Raises:
        TunerError: it cannot be read or run; the message is the child's.
    """

    def __init__(self, path: Path, dims: Mapping[str, int], db: str | None, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tuner.model.neighbour"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        asked = {"path": str(path), "dims": dict(dims), "db": db, "threads": threads}
        self.names: list[str] = self._ask(json.dumps(asked), READY_S)["names"]

    def start(self, name: str) -> None:
        """Begins to run it; returns after a first call."""
        self._ask(f"run {name}")

    def stop(self) -> list[float]:
        """Ends it; seconds of each call."""
        found: list[float] = self._ask("stop")["calls"]
        return found

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: str, seconds: float = ANSWER_S) -> dict[str, Any]:
        import select

        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            there, _, _ = select.select([self._process.stdout], [], [], seconds)
            answer = json.loads(self._process.stdout.readline()) if there else {}
        except (OSError, ValueError):
            answer = {}
        if "error" in answer or not isinstance(answer, dict) or not answer:
            self.close()
            raise TunerError(
                f"the model beside: {answer.get('error', 'its process ended or does not answer')}"
            )
        return answer


def measure(
    right: Sequence[Contestant], other: Neighbour, rounds: int, turn_s: float = TURN_S
) -> list[Beside]:
    """Times each way that both models can be run in: turns of one, of both, of the other, interleaved.

    Args:
        right: ways to run the model whose outputs are right.
        other: the other one.
        rounds: turns of each kind.
        turn_s: seconds of a turn.

    Raises:
        TunerError: the other one's process ended.
    """
    both = [c for c in right if c.name in other.names]
    calls: dict[str, tuple[list[float], ...]] = {c.name: ([], [], [], []) for c in both}
    for number in range(rounds):
        for place in range(len(both)):
            way = both[(place + number) % len(both)]
            alone, shared, other_alone, other_shared = calls[way.name]
            for kind in [("alone", "shared", "other")[(k + number) % 3] for k in range(3)]:
                if kind != "alone":
                    other.start(way.name)
                if kind == "other":
                    time.sleep(turn_s)
                else:
                    (alone if kind == "alone" else shared).extend(_turn(way, turn_s))
                if kind != "alone":
                    (other_alone if kind == "other" else other_shared).extend(other.stop())
    return [Beside(name, *(Load.of(times) for times in found)) for name, found in calls.items()]


def _turn(way: Contestant, turn_s: float) -> list[float]:
    way.call()
    taken: list[float] = []
    until = time.perf_counter() + turn_s
    while len(taken) < 3 or time.perf_counter() < until:
        start = time.perf_counter()
        way.call()
        taken.append(time.perf_counter() - start)
    return taken


def beside_plain(found: Sequence[Beside]) -> list[dict[str, Any]]:
    """As plain values for JSON; seconds, and calls a second, measured."""
    kinds = ("alone", "shared", "other_alone", "other_shared")
    return [
        {"name": each.name} | {
            kind: {"p50_s": load.p50, "p95_s": load.p95, "p99_s": load.p99, "per_s": load.per_s}
            for kind in kinds for load in (getattr(each, kind),)
        }
        for each in found
    ]  # fmt: skip
