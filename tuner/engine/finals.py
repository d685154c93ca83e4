"""The interleaved re-measurement that declares a winner.

Trials were measured minutes apart on a machine that drifts, and the best of many noisy numbers is
too good to be true. So the finalists and the baselines are timed again, one sample each in turn, each
round in another order: what slows a round slows all of them, and ratios within rounds stay.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuner.core.measurement import Evidence
from tuner.core.stats import Interval, median_interval, paired_ratio
from tuner.core.workload import Workload
from tuner.engine.build_stage import Built
from tuner.engine.channel import ChannelClosed, ChannelGarbage
from tuner.engine.locks import measuring
from tuner.engine.workshop import Workshop
from tuner.engine.zygote import Child

# Worker threads spin after their last call; the next finalist must not be timed beside them. Measured as
# CPU time after a call: 1 to 8 ms for libgomp, 15 to 33 ms for OpenBLAS, which put torch at a third of its
# speed when it came 3 ms after NumPy.
_SETTLE_S = 0.04

_FEWEST = 6
_TURN_S = 0.05


@dataclass(frozen=True)
class Finalist:
    """A candidate of the final.

    Attributes:
        label: for people: the kernel's name, or kernel and trial.
        trial_id: in the store.
        built: its artifact.
        baseline: whether it is what others are compared with.
    """

    label: str
    trial_id: int
    built: Built
    baseline: bool = False


@dataclass(frozen=True)
class Standing:
    """What the final says of one finalist.

    Attributes:
        finalist: which.
        samples: seconds of one call, one a round from the first on: the median of its turn.
        error: why it was thrown out; then there are no samples.
        speedup: time of the reference entry over its own, with a 95% interval over rounds; `None` for
            an entry that was thrown out.
    """

    finalist: Finalist
    samples: tuple[float, ...]
    error: str = ""
    speedup: Interval | None = None

    @property
    def interval(self) -> Interval | None:
        """Median seconds with a 95% interval."""
        return median_interval(self.samples) if self.samples else None


@dataclass(frozen=True)
class Ranking:
    """How a final ended.

    Attributes:
        entries: in the order of the finalists.
        reference: index of the entry that speed-ups are relative to; `None` if all were thrown out.
        winner: index of the fastest entry, or `None`.
        tied: indices of entries whose time cannot be told from the winner's: the 95% interval of the
            ratio contains 1.
        evidence: always measured: nothing else can be in a final.
    """

    entries: tuple[Standing, ...]
    reference: int | None
    winner: int | None
    tied: tuple[int, ...]
    evidence: Evidence = Evidence.MEASURED


def run_final(
    workshop: Workshop,
    workload: Workload,
    finalists: Sequence[Finalist],
    rounds: int = 25,
    budget_s: float = 20.0,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Ranking:
    """Times finalists in interleaved rounds and decides.

    Every finalist is verified in its own child first, and its outputs again at the end; a wrong one is
    thrown out with the reason. A turn is the median of up to nine calls within 50 ms, so that one call
    which the system interrupts does not count. Each finalist takes six turns at least (fewer have no 95%
    interval), then as many of `rounds` as its share of `budget_s` allows: a slow one leaves early.

    Args:
        workshop: where they run; its datasets are prepared.
        workload: what they compute.
        finalists: candidates and baselines.
        rounds, budget_s: how long to go on.
        seed: of the order within rounds.
        report: called with (rounds done, rounds planned).
    """
    rng = random.Random(seed)
    samples: list[list[float]] = [[] for _ in finalists]
    errors = [""] * len(finalists)
    children: dict[int, Child] = {}
    calls: dict[int, int] = {}
    timeout = workshop.protocol.run_timeout_s
    workshop.settle()
    with measuring(workshop.device.fingerprint):
        try:
            for i, finalist in enumerate(finalists):
                child = workshop.serve(workload, finalist.built)
                children[i] = child
                hello = _talk(child, None, timeout)
                child.pause()
                if isinstance(hello, dict) and hello.get("ok"):
                    calls[i] = int(hello["calls"])
                else:
                    errors[i] = str(hello["error"]) if isinstance(hello, dict) else str(hello)
            spent = dict.fromkeys(calls, 0.0)
            share_s = budget_s / max(1, len(calls))
            for done in range(max(rounds, _FEWEST)):
                order = [i for i in calls if done < _FEWEST or spent[i] < share_s]
                rng.shuffle(order)
                for i in order:
                    began = time.monotonic()
                    children[i].proceed()
                    answer = _talk(children[i], {"calls": calls[i], "turn_s": _TURN_S}, timeout)
                    # Threads of OpenMP, OpenBLAS and ONNX Runtime spin on for 1 to 30 ms after a call: the
                    # next finalist would be timed beside them.
                    children[i].pause()
                    spent[i] += time.monotonic() - began
                    if isinstance(answer, float) and answer > 0:
                        samples[i].append(answer)
                    else:
                        errors[i] = f"during the final: {answer}"
                        del calls[i]
                report(done + 1, rounds)
            for i in list(calls):
                children[i].proceed()
                answer = _talk(children[i], "verify", timeout)
                if not (isinstance(answer, dict) and answer.get("ok")):
                    errors[i] = str(answer.get("error") if isinstance(answer, dict) else answer)
                    del calls[i]
        finally:
            for child in children.values():
                child.kill()
                child.wait()
    return _decide(finalists, samples, errors)


def _talk(child: Child, request: object, timeout: float) -> object:
    """Sends a request (none for the greeting) and waits for the answer; a text says what went wrong."""
    try:
        if request is not None:
            child.channel.send(request)
        answer: object = child.channel.receive(timeout)
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except (ChannelClosed, ChannelGarbage):
        return f"its process ended with exit code {child.wait()}"
    return answer


def _decide(finalists: Sequence[Finalist], samples: list[list[float]], errors: list[str]) -> Ranking:
    alive = [i for i, error in enumerate(errors) if not error and samples[i]]
    if not alive:
        out = tuple(Standing(f, (), e or "no samples") for f, e in zip(finalists, errors, strict=True))
        return Ranking(out, None, None, ())
    medians = {i: median_interval(samples[i]).mid for i in alive}
    winner = min(alive, key=medians.__getitem__)
    baselines = [i for i in alive if finalists[i].baseline]
    # The fastest baseline is what a candidate has to beat; without one, the winner is its own measure.
    reference = min(baselines or [winner], key=medians.__getitem__)
    tied = tuple(i for i in alive if i != winner and paired_ratio(samples[i], samples[winner]).contains(1.0))
    entries = []
    for i, finalist in enumerate(finalists):
        if i in alive:
            speedup = paired_ratio(samples[reference], samples[i])
            entries.append(Standing(finalist, tuple(samples[i]), "", speedup))
        else:
            entries.append(Standing(finalist, (), errors[i] or "no samples"))
    return Ranking(tuple(entries), reference, winner, tied)
