"""One artifact in a runner, as the judge sees it: verified, challenged while it is timed, its clock
checked."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tuner.core.disturbance import DISTURBED
from tuner.core.guarded import PATTERN
from tuner.core.operator import Tensors, special_mismatch, worst_error
from tuner.core.protocol import Protocol
from tuner.engine.building import answers
from tuner.engine.judging.asked_runner import CandidateRefused, Clocks, Runner
from tuner.engine.judging.challenge import Challenger
from tuner.engine.judging.dataset import Dataset
from tuner.engine.judging.sampling import LONG_S, Timed

# Of the samples of one request this share is compared, the first always.
_COMPARED = 0.25
# A request takes longer by the judge's clock than its calls by the runner's: a message each way, and writing
# the changes. That much longer, in seconds and as a share of the request, is still believed.
_WORD_S, _SHARE = 0.6e-3, 0.08
# Outputs are filled before each sample: bytes a second that the runner writes at least.
_FILLED_BYTES_S = 4e9
# Seconds of the requests that show whether a claim of microseconds is true. A true clock may look false in a
# short request that the system interrupts, but not in the longest, of which an interruption is a hundredth; a
# false clock looks false in all of them.
_PROOFS_S = (0.025, 0.025, 0.05, 0.2)
_CALLS_AT_MOST = 1_000_000
# A request of this many seconds or more is always held against the judge's clock.
_LONG_PROOF_S = 0.1
# Where calls take this many times longer in the proof than in the samples, the proof's times count.
_UNLIKE = 1.5
# A request that takes this many times longer by the judge's clock, each time, is no late message but a lie.
_GROSS = 3.0
# Pairs of calls on new and on known inputs, at least and at most; what their clock may err by.
_FEWEST_PAIRS, _PAIRS, _CLOCK_S = 2, 8, 2e-5
# Further samples in search of one that shows an input to matter.
_QUESTIONS = 6
# A kernel that takes longer does not notice whether its threads were asleep.
_WARM_BELOW_S = 5e-3
# CPU time beyond that of the threads asked for: the runner's own, and clocks that tick.
_CPU_SHARE, _CPU_S = 1.1, 0.005


class JudgedRun:
    """One artifact loaded in a runner; see the module.

    Args:
        runner: whose time has begun.
        data: of the workload.
        artifact: as plain values.
        protocol: how it is timed.
        rng: the judge's own.
        own_clock: whether the runner's clock is held against ours; a GPU's is out of a kernel's reach.
        constant: inputs that the kernel may take to be the same in every call.
        least_s: a time that nothing can beat.

    Attributes:
        doubted: its clock cannot be believed: ours is taken, on requests that last.

    Raises:
        Lost, CandidateRefused: as do all methods.
    """

    def __init__(
        self, runner: Runner, data: Dataset, artifact: Any, protocol: Protocol, rng: np.random.Generator,
        own_clock: bool = True, constant: Sequence[str] = (), least_s: float = 0.0,
    ) -> None:  # fmt: skip
        self.runner, self._data, self._protocol = runner, data, protocol
        self._rng, self._constant, self._least_s = rng, constant, least_s
        self._own_clock = own_clock
        self._challenger: Challenger | None = None
        self.last_s = math.inf
        self.doubted = False
        self._idle_since: float | None = None
        self.remarks: dict[str, float] = {}
        self._ask(
            {"do": "load", "artifact": artifact, "layout": data.layout.as_plain()}, data.sent, data.shown
        )

    def _ask(self, request: Mapping[str, Any], *descriptors: int) -> Any:
        try:
            return self.runner.ask(request, *descriptors)
        except CandidateRefused as refused:
            if refused.status == "wrong_result":
                raise self._wrong(str(refused)) from None
            raise

    def _wrong(self, reason: str) -> CandidateRefused:
        return CandidateRefused("wrong_result", f"{self._data.workload.key}: {reason}")

    def verify(self, when: str = "") -> tuple[float, float]:
        """One call on poisoned outputs, all compared: (error as a share of the tolerance, seconds).

        The seconds are 0 where others had its cores meanwhile.
        """
        answer = self._run()
        seconds = _seconds(answer.get("seconds"))
        with self._shown() as outputs:
            error, where = worst_error(outputs, self._data.reference, self._data.tolerance)
        if not error <= 1.0:
            raise self._wrong(f"{when}{where} ({error:.3g} times the tolerance)")
        self.last_s = seconds
        return error, 0.0 if _share(answer.get("share")) > DISTURBED else seconds

    def verify_special(self) -> None:
        """One call on NaN, infinities and the ends of the type's range, where the dataset has such inputs."""
        special = self._data.special
        if special is None:
            return
        self._ask({"do": "feed"}, special.sent)
        self._run()
        with self._shown() as outputs:
            if problem := special_mismatch(outputs, special.reference, special.tolerance):
                raise self._wrong(f"on special values {problem}")

    def _run(self) -> Any:
        self._poison()
        return self._ask({"do": "run"})

    def _poison(self) -> None:
        for array in self._data.outputs.values():
            array.reshape(-1).view(np.uint8)[:] = PATTERN

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Tensors]:
        """The outputs that the runner shows, while they are compared: the next runner maps this memory too,
        and may not find there what is right."""
        try:
            yield self._data.outputs
        finally:
            self._poison()

    def verify_again(self) -> float:
        """After the timed calls, on the inputs of before: the error as a share of the tolerance.

        A kernel of a second and more is not called once more: each of its samples was compared.
        """
        if self._challenger is not None and self._challenger.changing and self.last_s >= LONG_S:
            return 0.0
        if self._challenger is not None:
            self._challenger.restore()
        return self.verify("after repeated calls ")[0]

    def samples(self, count: int, calls: int) -> list[Timed]:
        """So many samples in a row, challenged."""
        cold = self._protocol.cache == "cold"
        if self.doubted and not cold:
            calls = max(calls, round(_PROOFS_S[0] / max(self.last_s, 1e-8)))
            asked = [self._sample([calls], False, False) for _ in range(count)]
            return [Timed(elapsed / calls, timed.share, elapsed) for (timed,), elapsed, _ in asked]
        # Between two requests threads of the kernel may have gone to sleep.
        warm = not cold and self.last_s < _WARM_BELOW_S
        return self._sample([self._fewer(calls) for _ in range(count)], cold, warm)[0]

    def _fewer(self, calls: int) -> int:
        """At most a quarter fewer, by chance: a kernel that counts cannot know which call is compared."""
        return int(self._rng.integers(max(1, math.ceil(0.75 * calls)), calls + 1))

    def _sample(
        self, calls: Sequence[int], cold: bool, warm: bool
    ) -> tuple[list[Timed], float, tuple[float, float]]:
        """Each sample as the runner tells it, the seconds that all of it took by our own clock, and what
        `Clocks.since` counted meanwhile: without the load before it."""
        if self._challenger is None:
            self._challenger = Challenger(self._data, self._constant, self._rng)
        challenger = self._challenger
        challenges = [
            challenger.draw(each, place == 0 or bool(self._rng.random() < _COMPARED))
            for place, each in enumerate(calls)
        ]
        steps = [challenge.as_plain() for challenge in challenges]
        if busy_s := self._load_s():
            self._ask({"do": "busy", "seconds": busy_s})
        clock = Clocks(self.runner)
        began = time.perf_counter()
        answer = self._ask({"do": "sample", "steps": steps, "cold": cold, "warm": warm})
        self._idle_since = time.perf_counter()
        elapsed = self._idle_since - began
        delayed_s, used_s = clock.since()
        try:
            told = zip(answer["seconds"], answer["shares"], answer["lasted_s"], strict=True)
            timed = [Timed(_seconds(s), _share(share), _seconds(lasted)) for s, share, lasted in told]
            probes = list(answer["probes"])
            if len(timed) != len(calls) or len(probes) != len(calls):
                raise ValueError("not as many samples as were asked for")
            for challenge, shown in zip(challenges, probes, strict=True):
                if problem := challenger.settle(challenge, shown):
                    raise self._wrong(f"on inputs that change between calls {problem}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._wrong(f"unusable answer: {error}") from None
        self._plausible([sample.seconds for sample in timed])
        if self._own_clock and elapsed >= _LONG_PROOF_S and not cold:
            claimed_s = sum(sample.seconds * each for sample, each in zip(timed, calls, strict=True))
            least_s = max(elapsed - delayed_s, used_s / self._protocol.threads)
            if least_s - claimed_s > _LONG_PROOF_S and least_s > _GROSS * claimed_s:
                raise self._lie(claimed_s, elapsed)
        self.last_s = timed[-1].seconds
        return timed, elapsed, (delayed_s, used_s)

    def _load_s(self) -> float:
        """How long the candidate is to keep the device busy first: all that is asked for at the beginning,
        then twice as long as the device was idle between two requests."""
        sustained_s, idle_since = self._protocol.sustained_s, self._idle_since
        if not sustained_s or idle_since is None:
            return sustained_s
        return min(sustained_s, 2 * (time.perf_counter() - idle_since))

    def _plausible(self, seconds: Sequence[float]) -> None:
        fastest = min(seconds)
        if fastest < self._least_s:
            raise self._wrong(
                f"a call in {fastest:.3g} s is impossible: this device cannot do that much work in less than "
                f"{self._least_s:.3g} s"
            )

    def prove(self, samples: Sequence[float], incumbent_s: float | None) -> list[float]:
        """Holds a claim against our own clock, where it would make this the best so far.

        Some requests that last 12 ms and more: their calls must have taken, by our clock, what the runner
        says, on no more cores than it has threads; and every input must have been seen to matter.

        Returns:
            The samples that count: those given, or where the same calls took much longer now, the longer
            ones.
        """
        claimed = float(np.median(samples))
        if incumbent_s is not None and claimed > incumbent_s:
            return list(samples)
        if claimed >= LONG_S:
            return list(samples)  # each sample's clock was compared with ours, and its result
        self._alone()
        self._convince()
        self._compare_whole_changes(claimed)
        if not self._own_clock:
            return list(samples)
        slower, lies, call_s = [], 0, claimed
        proofs = _PROOFS_S if claimed < _PROOFS_S[-1] else _PROOFS_S[:1]
        for lasting_s in proofs:
            calls = max(1, min(_CALLS_AT_MOST, round(lasting_s / call_s)))
            (sample,), elapsed, (delayed_s, used_s) = self._sample([calls], False, False)
            seconds = sample.seconds
            delayed_s += self._data.layout.outputs_bytes / _FILLED_BYTES_S
            told = seconds * calls
            if reason := cores_problem(elapsed, used_s, self._protocol.threads):
                raise self._wrong(reason)
            # However loaded the machine, T threads that used U seconds of CPU time have computed for U / T
            # seconds at least, and the kernel must say so.
            least_s = used_s / self._protocol.threads
            believed = believable(told, elapsed - delayed_s) and believable(told, least_s)
            if believed and seconds <= _UNLIKE * claimed:
                self._alone()
                return list(samples)
            lies += told * _GROSS < elapsed - delayed_s or not believable(told, least_s)
            slower.append(seconds if believed else elapsed / calls)
            call_s = max(claimed, elapsed / calls)
        if lies == len(proofs):
            raise self._lie(told, elapsed)
        self.doubted = True
        self.remarks["slower_when_proven"] = float(np.median(slower)) / claimed
        # Those were warm calls: of cold ones they say too little to stand in for them.
        return list(samples) if self._protocol.cache == "cold" else slower

    def _convince(self) -> None:
        """Asks on until every input was seen to matter, or it is clear that some do not show."""
        for _ in range(_QUESTIONS):
            if self._challenger is not None and not self._challenger.unproven:
                return
            self._sample([1], False, False)
        if self._challenger is not None and self._challenger.unproven:
            self.remarks["inputs_not_seen_to_matter"] = float(len(self._challenger.unproven))

    def _alone(self) -> None:
        """Raises `CandidateRefused` where processes work that the runner started: their cores and their time
        are not counted as its own."""
        if self._own_clock and self.runner.helpers():
            raise self._wrong("it has started processes of its own, whose time nobody counts")

    def _lie(self, told: float, elapsed: float) -> CandidateRefused:
        return self._wrong(f"its calls took {elapsed:.3g} s by the lab's clock, it says {told:.3g} s")

    def _compare_whole_changes(self, call_s: float) -> None:
        """One call on inputs that are all other than before takes as long as one on inputs that were only
        written anew: a kernel that keeps its result and mends what changed is right, and has no time of its
        own."""
        challenger = self._challenger
        if challenger is None or not challenger.changing:
            return
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(_PAIRS):
            for other in (False, True):
                rolled, challenge = challenger.draw_whole(other)
                clock = Clocks(self.runner)
                answer = self._ask(
                    {
                        "do": "whole",
                        "rows": rolled,
                        "names": list(challenger.changing),
                        **challenge.as_plain(),
                    }
                )
                delayed_s, _ = clock.since()
                try:
                    problem = challenger.settle(challenge, answer["probes"][0])
                except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                    raise self._wrong(f"unusable answer: {error}") from None
                if problem:
                    raise self._wrong(f"on inputs that are all other than before {problem}")
                # Writing all inputs uses up a time slice: on a busy machine the next call waits for a core,
                # and that is held against nobody.
                seconds = _seconds(answer.get("seconds"))
                times[other].append(max(0.0, seconds - delayed_s) if other else seconds)
            fresh_s, known_s = min(times[True]), min(times[False])
            enough = _FEWEST_PAIRS if call_s < _PROOFS_S[-1] else 1
            if len(times[True]) >= enough and fresh_s <= _UNLIKE * known_s + _CLOCK_S:
                return
        raise self._wrong(
            f"a call takes {fresh_s:.3g} s on inputs that are all new and {known_s:.3g} s on those it knows: "
            "it does not compute its result anew"
        )

    def state(self) -> dict[str, float]:
        """The device's readings in the runner; what is no number is left out."""
        return _numbers(self._ask({"do": "state"}).get("state"))

    def metrics(self) -> dict[str, float]:
        """What only the runner can tell."""
        return _numbers(self._ask({"do": "metrics"}).get("metrics"))

    def calibrate(self, kind: str) -> tuple[float, bool]:
        """Seconds of the calibration kernel, run in the runner, and whether nothing disturbed it."""
        answer = self._ask({"do": "calibrate", "kind": kind})
        return _seconds(answer.get("seconds")), bool(answer.get("quiet"))


def believable(told_s: float, elapsed_s: float) -> bool:
    """Whether calls can have taken what is told, that took so long by our clock, waiting left out."""
    return elapsed_s - told_s <= _WORD_S + _SHARE * elapsed_s


def cores_problem(elapsed_s: float, used_s: float, threads: int) -> str:
    """Why so much CPU time cannot be that of so many threads; nothing if it can."""
    if used_s > _CPU_SHARE * threads * elapsed_s + _CPU_S:
        return f"it took {used_s:.3g} s of CPU time in {elapsed_s:.3g} s, with {threads} threads"
    return ""


def _numbers(values: Any) -> dict[str, float]:
    """Named numbers that a runner tells; what is none is left out with all the rest."""
    try:
        return answers.numbers(values, "the readings")
    except answers.UnusableAnswer:
        return {}


def _share(value: Any) -> float:
    """A share that a runner tells: of what it says nothing, nothing is known."""
    try:
        return answers.number(value, "a share", 0.0, 1.0)
    except answers.UnusableAnswer:
        return 0.0


def _seconds(value: Any) -> float:
    """A time that a runner tells; raises `CandidateRefused` where it is none."""
    try:
        return answers.seconds(value)
    except answers.UnusableAnswer as error:
        raise CandidateRefused("wrong_result", f"unusable answer: {error}") from None
