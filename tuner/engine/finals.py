"""The interleaved re-measurement that declares a winner.

Trials were measured minutes apart on a machine that drifts, and the best of many noisy numbers is
too good to be true. So the finalists and the baselines are timed again, one sample each in turn, each
round in another order: what slows a round slows all of them, and ratios within rounds stay. They are timed in
several processes each, one after the other, because a process can be slow from its start to its end.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tuner.core.brief import brief
from tuner.core.measurement import Evidence
from tuner.core.stats import Interval
from tuner.core.turns import FEWEST, Turns
from tuner.core.workload import Workload
from tuner.engine import answers
from tuner.engine.build_stage import Built
from tuner.engine.channel import ChannelClosed, ChannelGarbage
from tuner.engine.locks import measuring
from tuner.engine.workshop import Workshop
from tuner.engine.zygote import Child

SITTINGS = 9
"""Processes of a finalist: the fewest whose 95% interval leaves out the slowest and the fastest of them."""

_TURN_S = 0.05

_T = TypeVar("_T")


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
        turns: seconds of one call, one a round: the median of its turn.
        error: why it was thrown out; then there are no turns.
        speedup: time of the reference entry over its own, with a 95% interval; `None` for an entry that was
            thrown out.
    """

    finalist: Finalist
    turns: Turns
    error: str = ""
    speedup: Interval | None = None

    @property
    def interval(self) -> Interval | None:
        """Median seconds with a 95% interval."""
        return self.turns.interval


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

    There are nine sittings, a new process for every finalist in each. There it is verified first, and its
    outputs again at the end; a wrong one is thrown out with the reason. A turn is the median of up to nine
    calls within 50 ms, so that one call which the system interrupts does not count. Each finalist takes a
    turn in six sittings at least (fewer processes have no 95% interval), then as many of `rounds` as its
    share of `budget_s` allows: a slow one leaves early.

    Args:
        workshop: where they run; its datasets are prepared.
        workload: what they compute.
        finalists: candidates and baselines.
        rounds, budget_s: how long to go on, in all sittings; rounded up to as many rounds in each.
        seed: of the order within rounds.
        report: called with (rounds done, rounds planned).
    """
    rng = random.Random(seed)
    each = -(-max(rounds, 1) // SITTINGS)
    share_s = budget_s / max(1, len(finalists))
    table = _Table(workshop, workload, finalists, each, share_s, lambda done: report(done, SITTINGS * each))
    workshop.settle()
    with measuring(workshop.device.fingerprint):
        for sitting in range(SITTINGS):
            table.sit(rng, all_of_them=sitting < FEWEST)
    turns = [
        Turns() if error else Turns(tuple(samples), tuple(processes))
        for error, (samples, processes) in zip(table.errors, table.taken, strict=True)
    ]
    return _decide(finalists, turns, table.errors)


class _Table:
    """The finalists and what they have taken so far.

    Args:
        workshop, workload, finalists: see `run_final`.
        rounds: of a sitting.
        share_s: seconds of turns that one finalist has in all sittings. Starts do not count: what is slow
            to import would else be timed in fewer processes than the others.
        report: called with the rounds done in all sittings.

    Attributes:
        taken: of each finalist, its samples and how many each process took.
        errors: why a finalist was thrown out, or nothing.
    """

    def __init__(
        self, workshop: Workshop, workload: Workload, finalists: Sequence[Finalist], rounds: int,
        share_s: float, report: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._workshop, self._workload = workshop, workload
        self._rounds, self._share_s, self._report = rounds, share_s, report
        self._done = 0
        self._spent = [0.0] * len(finalists)
        self._built = [f.built for f in finalists]
        self._timeout = workshop.protocol.run_timeout_s
        self.taken: list[tuple[list[float], list[int]]] = [([], []) for _ in finalists]
        self.errors = [""] * len(finalists)

    def sit(self, rng: random.Random, all_of_them: bool) -> None:
        """One sitting: a process for each finalist, turns, the outputs checked again.

        Args:
            rng: decides on the order.
            all_of_them: also those that have spent their share.
        """
        children: dict[int, Child] = {}
        calls: dict[int, int] = {}
        try:
            # In another order each time: who is first has other memory to choose from.
            alive = [
                i for i, error in enumerate(self.errors)
                if not error and (all_of_them or self._spent[i] < self._share_s)
            ]  # fmt: skip
            for i in rng.sample(alive, len(alive)):
                children[i] = self._workshop.serve(self._workload, self._built[i])
                hello = _talk(children[i], None, self._timeout)
                children[i].pause()
                number, self.errors[i] = _checked(answers.greeting, hello, 0)
                if not self.errors[i]:
                    calls[i] = number
                    self.taken[i][1].append(0)
            self._time(children, calls, rng)
            for i in calls:
                children[i].proceed()
                answer = _talk(children[i], "verify", self._timeout)
                _, self.errors[i] = _checked(lambda raw: (0, answers.agreement(raw)), answer, 0)
                # Other shapes do not come out differently in another process.
                self._built[i] = replace(self._built[i], companions=())
        finally:
            for child in children.values():
                child.kill()
                child.wait()

    def _time(self, children: dict[int, Child], calls: dict[int, int], rng: random.Random) -> None:
        spent = dict.fromkeys(calls, 0.0)
        for done in range(self._rounds):
            order = [i for i in calls if done == 0 or spent[i] < self._share_s / SITTINGS]
            rng.shuffle(order)
            for i in order:
                began = time.monotonic()
                children[i].proceed()
                answer = _talk(children[i], {"calls": calls[i], "turn_s": _TURN_S}, self._timeout)
                # Threads of OpenMP, OpenBLAS and ONNX Runtime spin on for 1 to 33 ms after a call: the next
                # finalist would be timed beside them (torch 3 ms after NumPy had a third of its speed).
                children[i].pause()
                spent[i] += time.monotonic() - began
                turn_s, problem = _checked(lambda raw: (answers.seconds(raw), ""), answer, 0.0)
                if not problem:
                    self.taken[i][0].append(turn_s)
                    self.taken[i][1][-1] += 1
                else:
                    self.errors[i] = f"during the final: {problem}"
                    del calls[i]
            self._done += 1
            self._report(self._done)
        for i, seconds in spent.items():
            self._spent[i] += seconds


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
    return f"unusable answer: {brief(answer)}" if isinstance(answer, str) else answer


def _checked(check: Callable[[object], tuple[_T, str]], answer: object, nothing: _T) -> tuple[_T, str]:
    """What `check` makes of an answer, or nothing and why it cannot be used."""
    if isinstance(answer, str):
        return nothing, answer
    try:
        return check(answer)
    except answers.UnusableAnswer as error:
        return nothing, f"unusable answer: {error}"


def _decide(finalists: Sequence[Finalist], turns: list[Turns], errors: list[str]) -> Ranking:
    intervals = {
        i: interval for i, error in enumerate(errors) if not error and (interval := turns[i].interval)
    }
    if not intervals:
        out = tuple(Standing(f, Turns(), e or "no samples") for f, e in zip(finalists, errors, strict=True))
        return Ranking(out, None, None, ())

    def time_s(i: int) -> float:
        return intervals[i].mid

    winner = min(intervals, key=time_s)
    # The fastest baseline is what a candidate has to beat; without one, the winner is its own measure.
    reference = min([i for i in intervals if finalists[i].baseline] or [winner], key=time_s)
    tied = tuple(i for i in intervals if i != winner and turns[i].over(turns[winner]).contains(1.0))
    entries = []
    for i, finalist in enumerate(finalists):
        if i in intervals:
            entries.append(Standing(finalist, turns[i], "", turns[reference].over(turns[i])))
        else:
            entries.append(Standing(finalist, Turns(), errors[i] or "no samples"))
    return Ranking(tuple(entries), reference, winner, tied)
