"""The interleaved re-measurement that declares a winner.

Trials were measured minutes apart on a machine that drifts, and the best of many noisy numbers is
too good to be true. So the finalists and the baselines are timed again, one sample each in turn, each
round in another order: what slows a round slows all of them, and ratios within rounds stay. They are timed in
several processes each, one after the other, because a process can be slow from its start to its end.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tuner.core.brief import brief
from tuner.core.turns import FEWEST, Turns
from tuner.core.workload import Workload
from tuner.engine.building import answers
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging.judge_client import Seat, SeatLost
from tuner.engine.processes import machine_faults
from tuner.engine.processes.channel import ChannelClosed, ChannelGarbage
from tuner.engine.processes.locks import measuring
from tuner.engine.tuning.disturbance_log import DisturbanceLog
from tuner.engine.tuning.ranking import Finalist, FinalPlacing, Ranking, decide
from tuner.engine.tuning.seating import Seating

__all__ = ["SITTINGS", "FinalPlacing", "Finalist", "Ranking", "run_final"]

SITTINGS = 9
"""Processes of a finalist: the fewest whose 95% interval leaves out the slowest and the fastest of them."""

TRIES, BAD_ROUNDS, SPARE = 3, 3, 5
"""Tries of a turn, disturbed rounds of a sitting and disturbed sittings of a final before it is given up."""

_TURN_S = 0.05
# Who alone loses so many sittings is thrown out: the machine does not single a finalist out.
_LOST = 3

_T = TypeVar("_T")


def run_final(
    workshop: Workshop,
    workload: Workload,
    finalists: Sequence[Finalist],
    rounds: int = 25,
    budget_s: float = 20.0,
    report: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[Ranking, int], bool] | None = None,
    sittings: int = SITTINGS,
) -> Ranking:
    """Times finalists in interleaved rounds and decides.

    There are nine sittings, a new process for every finalist in each. There it is verified first, and its
    outputs again at the end; a wrong one is thrown out with the reason. A turn is the median of up to nine
    calls within 50 ms, so that one call which the system interrupts does not count. Each finalist takes a
    turn in six sittings at least (fewer processes have no 95% interval), then as many of `rounds` as its
    share of `budget_s` allows: a slow one leaves early. With fewer than six sittings each takes a turn in
    all, and intervals are of rounds: they say nothing of other processes.

    A turn during which other programs had the cores is taken again, twice at most; a round in which one stays
    disturbed counts for nobody, nor does a sitting in which a finalist has no round that counts. Up to five
    sittings are lost so; where fewer than six are left, the final says why and declares nothing.

    Where the device has not the memory for all at once, or serves one process only, the finalists of a
    sitting come in groups, one after the other (`Seating`); the remarks say so.

    Args:
        workshop: where they run; its datasets are prepared.
        workload: what they compute.
        finalists: candidates and baselines.
        rounds, budget_s: how long to go on, in all sittings; rounded up to as many rounds in each.
        report: called with (rounds done, rounds planned).
        stop: asked from the sixth sitting on, with what would be declared now and how many there were.
        sittings: how many; nine unless whoever asks has not the time, and says so.
    """
    rng = random.Random(0)
    each, fewest = -(-max(rounds, 1) // sittings), min(FEWEST, sittings)
    share_s = budget_s / max(1, len(finalists))

    def told(done: int) -> None:
        report(done, sittings * each)

    table = _Table(workshop, workload, finalists, (sittings, each), share_s, told)
    workshop.settle()
    workshop.release()
    good = failed = 0
    with measuring(workshop.device.fingerprint):
        while good < sittings and failed < SPARE:
            undisturbed = table.sit(rng, all_of_them=good < fewest)
            good, failed = good + undisturbed, failed + (not undisturbed)
            if stop and undisturbed and good >= FEWEST and stop(table.ranking(), good):
                break
    return table.declared(table.log.verdict([f.label for f in finalists], good, failed, fewest))


class _Table:
    """The finalists and what they have taken so far.

    Args:
        workshop, workload, finalists: see `run_final`.
        planned: how many sittings, and rounds of each.
        share_s: seconds of turns that one finalist has in all sittings. Starts do not count: what is slow
            to import would else be timed in fewer processes than the others.
        report: called with the rounds done in all sittings.

    Attributes:
        errors: why a finalist was thrown out, or nothing.
        log: what others took meanwhile.
        seating: who sits at the same time.
    """

    def __init__(
        self, workshop: Workshop, workload: Workload, finalists: Sequence[Finalist],
        planned: tuple[int, int], share_s: float, report: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._workshop, self._workload, self._finalists = workshop, workload, finalists
        self._sittings, self._rounds = planned
        self._share_s, self._report = share_s, report
        self._done = 0.0
        self._spent = [0.0] * len(finalists)
        self._built = [f.built for f in finalists]
        self._timeout = workshop.protocol.run_timeout_s
        # Samples by finalist and process: those of undisturbed sittings, and those of disturbed ones.
        self._taken: list[list[list[float]]] = [[] for _ in finalists]
        self._dropped: list[list[list[float]]] = [[] for _ in finalists]
        self.errors = [""] * len(finalists)
        self.log = DisturbanceLog(len(finalists))
        # Who was asked last, and whose process lost a sitting, once for each.
        self._asked = 0
        self._lost: list[int] = []
        self.seating = Seating.of(workshop.device, workload, self._built)

    def turns(self, i: int, dropped: bool) -> Turns:
        """What a finalist was timed at; with `dropped`, in disturbed sittings too."""
        parts = self._taken[i] + (self._dropped[i] if dropped else [])
        return Turns(tuple(s for part in parts for s in part), tuple(len(part) for part in parts))

    def declared(self, disturbed: str) -> Ranking:
        """How it ended; `disturbed` says why nothing is declared, and is empty where it may be."""
        turns = [Turns() if error else self.turns(i, bool(disturbed)) for i, error in enumerate(self.errors)]
        seated = self.seating.remark()
        remarks = (*([seated] if seated else []), *self.log.remarks())
        if disturbed:
            placings = (
                FinalPlacing(f, t, e if t.samples else e or "no samples")
                for f, t, e in zip(self._finalists, turns, self.errors, strict=True)
            )
            return Ranking(tuple(placings), None, None, (), disturbed=disturbed, remarks=remarks)
        return replace(decide(self._finalists, turns, self.errors), remarks=remarks)

    def ranking(self) -> Ranking:
        """What would be declared now."""
        turns = [Turns() if error else self.turns(i, False) for i, error in enumerate(self.errors)]
        return decide(self._finalists, turns, self.errors)

    def sit(self, rng: random.Random, all_of_them: bool) -> bool:
        """One sitting: a process for each finalist, turns, the outputs checked again; group by group.

        Args:
            rng: decides on the order.
            all_of_them: also those that have spent their share.

        Returns:
            Whether every finalist has a turn of a round in which nobody was disturbed; else none of the
            sitting's turns counts.
        """
        alive = [
            i for i, error in enumerate(self.errors)
            if not error and (all_of_them or self._spent[i] < self._share_s)
        ]  # fmt: skip
        groups = self.seating.groups(alive, rng)
        taken: dict[int, list[float]] = {}
        dropped: dict[int, list[float]] = {}
        try:
            for group in groups:
                found = self._sit_group(group, rng, 1 / len(groups))
                taken.update(found[0])
                dropped.update(found[1])
        except (_Killed, SeatLost) as killed:
            # No finalist's doing: the sitting is lost, and the next one has new processes. Unless it is one
            # finalist's each time.
            self._lost.append(self._asked)
            if self._lost == [self._asked] * _LOST:
                self.errors[self._asked] = f"{_LOST} sittings were lost by it alone: {killed}"
            else:
                self.log.killed = str(killed)
            return False
        undisturbed = all(taken.values())
        for i in taken:
            part = taken[i] if undisturbed else taken[i] + dropped[i]
            (self._taken if undisturbed else self._dropped)[i].append(part)
        return undisturbed

    def _sit_group(
        self, group: list[int], rng: random.Random, part: float
    ) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
        """Those who sit at the same time: see `_time`; `part` of the sitting's rounds. Who fails is left out.

        Raises:
            _Killed, SeatLost: what is not the doing of a finalist.
        """
        children: dict[int, Seat] = {}
        calls: dict[int, int] = {}
        try:
            # In another order each time: the finalist that starts first has other memory to choose from.
            if not self._workshop.device.shares_cpu:
                self._start(group, children)  # they open their contexts side by side, and disturb nothing
            for i in group:
                self._asked = i
                self._start([i], children)
                hello = _talk(children[i], None, self._timeout)
                children[i].pause()
                number, self.errors[i] = _checked(answers.greeting, hello, 0)
                if not self.errors[i]:
                    calls[i] = number
            taken, dropped = self._time(children, calls, rng, part)
            for i in calls:
                self._asked = i
                children[i].proceed()
                answer = _talk(children[i], "verify", self._timeout)
                _, self.errors[i] = _checked(lambda raw: (0, answers.agreement(raw)), answer, 0)
                # Companions are verified once: they do not come out differently in another process.
                self._built[i] = replace(self._built[i], companions=())
            return {i: taken[i] for i in calls}, {i: dropped[i] for i in calls}
        finally:
            for child in children.values():
                child.kill()
            for child in children.values():
                child.wait()

    def _start(self, who: Sequence[int], children: dict[int, Seat]) -> None:
        """A process for each that has none yet."""
        for i in who:
            if i not in children:
                children[i] = self._workshop.serve(self._workload, self._built[i])

    def _time(
        self, children: dict[int, Seat], calls: dict[int, int], rng: random.Random, part: float
    ) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
        """Turns in rounds; those of undisturbed rounds, and of the others. Who fails leaves `calls`."""
        spent = dict.fromkeys(calls, 0.0)
        taken: dict[int, list[float]] = {i: [] for i in calls}
        dropped: dict[int, list[float]] = {i: [] for i in calls}
        done = bad = 0
        while done < self._rounds and bad < BAD_ROUNDS:
            order = [i for i in calls if done == 0 or spent[i] < self._share_s / self._sittings]
            rng.shuffle(order)
            quiet, found = True, {}
            for i in order:
                began = time.monotonic()
                self._asked = i
                # Once a turn stays disturbed the round is lost: the turns after it are not repeated.
                for _ in range(TRIES if quiet else 1):
                    answer = self._turn(children[i], calls[i])
                    if isinstance(answer, str) or not self.log.add(i, answer):
                        break
                spent[i] += time.monotonic() - began
                if isinstance(answer, str):
                    self.errors[i] = f"during the final: {answer}"
                    del calls[i]
                else:
                    found[i] = answer["seconds"]
                    quiet = quiet and not answer["disturbed"]
            for i, seconds in found.items():
                (taken if quiet else dropped)[i].append(seconds)
            if quiet:
                done += 1
                self._done += part
                self._report(min(round(self._done), self._sittings * self._rounds))
            else:
                bad += 1
        for i, seconds in spent.items():
            self._spent[i] += seconds
        return taken, dropped

    def _turn(self, child: Seat, calls: int) -> dict[str, Any] | str:
        """A child's answer (`quiet.turn`), or what is wrong with it."""
        child.proceed()
        answer = _talk(child, {"calls": calls, "turn_s": _TURN_S}, self._timeout)
        # Threads of OpenMP, OpenBLAS and ONNX Runtime spin on for 1 to 33 ms after a call: the next
        # finalist would be timed beside them (torch 3 ms after NumPy had a third of its speed).
        child.pause()
        try:
            return answers.turn(answer) if not isinstance(answer, str) else answer
        except answers.UnusableAnswer as error:
            return str(error)


class _Killed(Exception):
    """The machine ended a finalist's process (out of memory), or somebody did."""


def _talk(child: Seat, request: object, timeout: float) -> object:
    """Sends a request (none for the greeting) and waits for the answer; a text says what went wrong.

    Raises:
        _Killed: its process was ended from outside.
    """
    try:
        if request is not None:
            child.channel.send(request)
        answer: object = child.channel.receive(timeout)
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except ChannelGarbage as error:
        child.kill()
        return f"unusable answer: {error}"
    except ChannelClosed:
        code = child.wait()
        if child.killed:
            return "unusable answer; its process was ended"
        if fault := machine_faults.of_exit(code):
            raise _Killed(fault.reason) from None
        return f"its process ended with exit code {code}"
    return f"unusable answer: {brief(answer)}" if isinstance(answer, str) else answer


def _checked(check: Callable[[object], tuple[_T, str]], answer: object, nothing: _T) -> tuple[_T, str]:
    """What `check` makes of an answer, or nothing and why it cannot be used."""
    if isinstance(answer, str):
        return nothing, answer
    try:
        return check(answer)
    except answers.UnusableAnswer as error:
        return nothing, f"unusable answer: {error}"
