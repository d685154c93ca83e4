"""Whole models timed side by side: right first, then in turn, with intervals."""

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuner.core.stats import Interval, median_interval, paired_ratio
from tuner.model.beside import Beside, beside_plain
from tuner.model.contestants import OURS, RUNTIME, Contestant
from tuner.model.steps import EXACT, Step

RELATIVE, OF_LARGEST = 1e-3, 1e-4
"""An element may differ by this share of itself, plus this share of the output's largest."""
# Seconds of one turn, and between two: threads of the one before stop spinning.
TURN_S, PAUSE_S = 0.1, 0.02


@dataclass(frozen=True)
class ContestantTimes:
    """One contestant's times at one batch.

    Attributes:
        name, note: who.
        latency: median of the turns' medians, seconds, with a 95% interval.
        p50, p95, p99: of all calls, seconds.
        calls: how many.
        error: largest difference from ONNX Runtime's outputs, as a share of what is allowed.
        speedup: ONNX Runtime's best time over this one, with an interval; `None` for that one itself.
        turns: median seconds of each turn, in order.
    """

    name: str
    note: str
    latency: Interval
    p50: float
    p95: float
    p99: float
    calls: int
    error: float
    speedup: Interval | None = None
    turns: Sequence[float] = ()


@dataclass(frozen=True)
class AtBatch:
    """What was found at one batch.

    Attributes:
        batch: `None`: as the file says.
        timed: fastest first.
        wrong: contestants whose outputs differ by more than is allowed, with how much; not timed.
        missing: contestants that could not take part, with the reason.
        facts: of the lab's executor: layers, parts, bytes.
        left: layers that have kernels and are ONNX Runtime's, as a run is surely faster so: key of the
            workload, how many, time with the kernels over time without.
        beside: times alone and beside another model, where one was asked for.
        disturbed: what other programs took of the cores meanwhile; empty where that was little.
    """

    batch: int | None
    timed: Sequence[ContestantTimes]
    wrong: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, int] = field(default_factory=dict)
    disturbed: str = ""
    left: Sequence[tuple[str, int, Interval]] = ()
    beside: Sequence[Beside] = ()

    @property
    def ours(self) -> ContestantTimes | None:
        """The lab's."""
        return next((t for t in self.timed if t.name == OURS), None)


def difference(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], steps: Sequence[Step] = ()) -> float:
    """The largest difference of outputs as a share of what is allowed; infinite for other shapes or NaN.

    Allowed is |got - wanted| <= 1e-3 |wanted| + 1e-4 max |wanted| of each output, and its step on top;
    integers have to be equal, or a step apart.

    Args:
        got, wanted: outputs in order.
        steps: of a quantized model's outputs (`output_steps`).
    """
    worst = 0.0
    if len(got) != len(wanted):
        return np.inf
    for mine, theirs, step in zip(got, wanted, steps or [EXACT] * len(wanted), strict=True):
        if mine.shape != theirs.shape:
            return np.inf
        if theirs.dtype.kind not in "fV":
            apart = np.abs(mine.astype(np.float64) - theirs) if step.size else None
            near = np.array_equal(mine, theirs) if apart is None else bool(np.all(apart <= step.size))
            worst = max(worst, 0.0 if near else np.inf)
            continue
        a, b = mine.astype(np.float64), theirs.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if not np.all(np.isfinite(a) & np.isfinite(b) | same):
            return np.inf
        if a.size and not np.all(same):
            finite = np.where(np.isfinite(b), np.abs(b), 0.0)
            allowed = RELATIVE * finite + (OF_LARGEST + step.share) * finite.max() + step.size
            allowed += np.finfo(np.float32).tiny
            apart = np.where(same, 0.0, np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)))
            worst = max(worst, float((apart / allowed).max()))
    return worst


def check(
    contestants: Sequence[Contestant], inputs: Iterable[np.ndarray] = (), steps: Sequence[Step] = ()
) -> tuple[list[tuple[Contestant, float]], dict[str, float]]:
    """Runs each twice and compares its outputs with those of ONNX Runtime's defaults, the first.

    Args:
        contestants: who is run.
        inputs: the arrays that all of them read, of any shape. Those of floats hold other values in the
            second run, so that nobody is right by what the first one left behind, and their own afterwards.
        steps: of a quantized model's outputs.

    Returns:
        Those that are right, with their largest difference; and the others, with theirs.
    """
    changed = [array for array in inputs if array.dtype.kind == "f" and array.size > 1]
    errors = [0.0] * len(contestants)
    for shift in (1, -1):
        wanted = [np.array(output) for output in contestants[0].call()]
        for who, contestant in enumerate(contestants):
            errors[who] = max(errors[who], difference(contestant.call(), wanted, steps))
        for array in changed:
            array[...] = np.roll(array, shift)
    pairs = list(zip(contestants, errors, strict=True))
    return [(c, e) for c, e in pairs if e <= 1], {c.name: e for c, e in pairs if e > 1}


def race(
    right: Sequence[tuple[Contestant, float]], rounds: int, turn_s: float = TURN_S
) -> list[ContestantTimes]:
    """Times contestants in turn, each round in another order; fastest first.

    A turn is one call that is not counted, then calls for `turn_s`, three at least. ONNX Runtime's best
    option is the one with the smallest median here, so luck is on its side.

    Args:
        right: who, with their largest difference.
        rounds: turns of each.
        turn_s: seconds of a turn.
    """
    calls: list[list[float]] = [[] for _ in right]
    turns: list[list[float]] = [[] for _ in right]
    for number in range(rounds):
        for place in range(len(right)):
            who = (place + number) % len(right)
            call = right[who][0].call
            time.sleep(PAUSE_S)
            call()
            taken: list[float] = []
            until = time.perf_counter() + turn_s
            while len(taken) < 3 or time.perf_counter() < until:
                start = time.perf_counter()
                call()
                taken.append(time.perf_counter() - start)
            calls[who] += taken
            turns[who].append(statistics.median(taken))
    best = min(
        (i for i, (c, _) in enumerate(right) if c.name.startswith(RUNTIME)),
        key=lambda i: statistics.median(turns[i]), default=None,
    )  # fmt: skip
    found = []
    for who, (contestant, error) in enumerate(right):
        over = None if best in (None, who) else paired_ratio(turns[best], turns[who])
        p50, p95, p99 = (float(p) for p in np.percentile(calls[who], (50, 95, 99)))
        found.append(
            ContestantTimes(contestant.name, contestant.note, median_interval(turns[who]), p50, p95, p99,
                  len(calls[who]), error, over, tuple(turns[who]))
        )  # fmt: skip
    return sorted(found, key=lambda t: t.latency.mid)


def compared_plain(found: AtBatch, batch_size: int) -> dict[str, Any]:
    """One batch as plain values for JSON; times are seconds, measured here."""
    timed = [
        {
            "name": t.name, "note": t.note, "latency_s": t.latency.mid,
            "latency_interval_s": [t.latency.low, t.latency.mid, t.latency.high],
            "p50_s": t.p50, "p95_s": t.p95, "p99_s": t.p99,
            "calls": t.calls, "throughput_per_s": batch_size / t.latency.mid,
            "error_of_allowed": t.error, "turns_s": list(t.turns),
            "speedup_over_best_onnxruntime":
                None if t.speedup is None else [t.speedup.low, t.speedup.mid, t.speedup.high],
        }
        for t in found.timed
    ]  # fmt: skip
    wrong = {name: (error if np.isfinite(error) else None) for name, error in found.wrong.items()}
    return {
        "batch": found.batch, "evidence": "measured", "disturbed": found.disturbed or None,
        "timed": timed, "wrong": wrong,
        "missing": dict(found.missing), "executor": dict(found.facts),
        "left_to_onnxruntime": [
            {"workload": key, "layers": count, "gain": [gain.low, gain.mid, gain.high]}
            for key, count, gain in found.left
        ],
        "beside": beside_plain(found.beside),
        "tolerance": {"relative": RELATIVE, "of_largest": OF_LARGEST},
    }  # fmt: skip
