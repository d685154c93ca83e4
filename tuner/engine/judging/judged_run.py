"""One artifact in a runner, as the judge sees it: verified, challenged while it is timed, its clock
checked."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tuner.core.disturbance import DISTURBED
from tuner.core.guarded import PATTERN
from tuner.core.operator import Tensors, special_mismatch, worst_error
from tuner.core.protocol import Protocol
from tuner.engine.judging import told
from tuner.engine.judging.asked_runner import CandidateRefused, Clocks, Runner
from tuner.engine.judging.challenge import Challenger
from tuner.engine.judging.clocks import RequestTiming
from tuner.engine.judging.dataset import Dataset
from tuner.engine.judging.pauses import AfterPauses
from tuner.engine.judging.proofs import PROOFS_S, UNLIKE, Proofs
from tuner.engine.judging.sampling import LONG_S, Timed
from tuner.engine.judging.whole_changes import WholeChanges, call_after_rewriting

# Of the samples of one request this share is compared, the first always.
_COMPARED = 0.25
# Outputs are filled before each sample: bytes a second that the runner writes at least.
_FILLED_BYTES_S = 4e9
# A request whose clocks are apart is asked again after each of these pauses, in seconds.
_PAUSES_S = (0.02, 0.1, 0.5)
# So many of a run that are apart, and it gets no time now, though each had an answer in the end.
_APART_AT_MOST = 12
# What computes nothing is asked for, for so many seconds; an answer that takes longer than this was held up.
_IDLE_S, _HELD_UP_S = 0.1, 0.05
# Further samples in search of one that shows an input to matter.
_QUESTIONS = 6
# A kernel that takes longer does not notice whether its threads were asleep.
_WARM_BELOW_S = 5e-3


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
        proven_s: seconds of a call that a proof confirmed; 0 before.
        pause_s: seconds before each of its calls, one a sample: it computes anew after pauses alone.

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
        self.doubted, self.proven_s, self.pause_s = False, 0.0, 0.0
        self._idle_since: float | None = None
        self.remarks: dict[str, float] = {}
        self._apart = self._held_up = 0
        what = {"artifact": artifact, "layout": data.layout.as_plain(), "fresh": data.activations}
        self._ask({"do": "load", **what}, data.sent, data.shown)

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
        seconds = told.seconds(answer.get("seconds"))
        with self._shown() as outputs:
            error, where = worst_error(outputs, self._data.reference, self._data.tolerance)
        if not error <= 1.0:
            raise self._wrong(f"{when}{where} ({error:.3g} times the tolerance)")
        self.last_s = seconds
        return error, 0.0 if told.share(answer.get("share")) > DISTURBED else seconds

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
        single = not self._protocol.warm
        if self.pause_s:
            return [self._after_pause()[0] for _ in range(count)]
        if self.doubted and not single:
            calls = max(calls, round(PROOFS_S[0] / max(self.last_s, 1e-8)))
            asked = [self._sample([calls], False, False) for _ in range(count)]
            return [timing.by_our_clock(timed, calls) for (timed,), timing in asked]
        # Between two requests threads of the kernel may have gone to sleep.
        warm = not single and self.last_s < _WARM_BELOW_S
        return self._sample([self._fewer(calls) for _ in range(count)], single, warm)[0]

    def _fewer(self, calls: int) -> int:
        """At most a quarter fewer, by chance: a kernel that counts cannot know which call is compared."""
        return int(self._rng.integers(max(1, math.ceil(0.75 * calls)), calls + 1))

    def _sample(self, calls: Sequence[int], single: bool, warm: bool) -> tuple[list[Timed], RequestTiming]:
        """Each sample as the runner tells it, and the request by all clocks, without the load before it.

        With `single` each is one call, before which the caches are seen to. A request whose clocks are apart
        is dropped and asked again. Dropping helps nobody: whose clock lies now and then is left with what it
        said truly.

        Raises:
            CandidateRefused: the clocks are apart each time.
        """
        for pause_s in (*_PAUSES_S, None):
            timed, timing = self._sample_once(calls, single, warm)
            if single or not self._own_clock or not timing.apart:
                self.last_s = timed[-1].seconds
                return timed, timing
            self._apart += 1
            self._held_up += not self._answers_at_once()
            if pause_s is None or self._apart > _APART_AT_MOST:
                break
            time.sleep(pause_s)
        raise self._never_together(timing, again=pause_s is not None)

    def _answers_at_once(self) -> bool:
        """Whether the runner answers what takes no computing, for as long as a short request."""
        end = time.perf_counter() + _IDLE_S
        while time.perf_counter() < end:
            clock, began = Clocks(self.runner), time.perf_counter()
            self.state()
            if time.perf_counter() - began - clock.since()[0] > _HELD_UP_S:
                return False
        return True

    def _never_together(self, timing: RequestTiming, again: bool) -> CandidateRefused:
        """A lie, unless the machine stood still for others' questions too, or the clocks agreed in between:
        then it is a fault of the machine, which is nothing known of the candidate."""
        if not (again or self._held_up):
            return self._wrong(f"each time {_apart_words(timing)}")
        reason = (
            f"{self._data.workload.key}: {_apart_words(timing)}; so were {self._apart} requests, and "
            f"{self._held_up} questions that compute nothing were held up: the machine stands still at times"
        )
        return CandidateRefused("environment", reason, passing=True)

    def _sample_once(
        self, calls: Sequence[int], single: bool, warm: bool
    ) -> tuple[list[Timed], RequestTiming]:
        """One request of `_sample`."""
        if self._challenger is None:
            self._challenger = Challenger(self._data, self._constant, self._rng)
        challenger = self._challenger
        challenges = [
            challenger.draw(each, place == 0 or bool(self._rng.random() < _COMPARED))
            for place, each in enumerate(calls)
        ]
        steps = [challenge.as_plain() for challenge in challenges]
        if not self.pause_s and (busy_s := self._load_s()):
            self._ask({"do": "busy", "seconds": busy_s})
        clock = Clocks(self.runner)
        began = time.perf_counter()
        answer = self._ask({"do": "sample", "steps": steps, "single": single, "warm": warm})
        self._idle_since = time.perf_counter()
        elapsed = self._idle_since - began
        counted = clock.since()
        try:
            each = zip(answer["seconds"], answer["shares"], answer["lasted_s"], strict=True)
            timed = [Timed(told.seconds(s), told.share(x), told.seconds(lasted)) for s, x, lasted in each]
            probes = list(answer["probes"])
            if len(timed) != len(calls) or len(probes) != len(calls):
                raise ValueError("not as many samples as were asked for")
            for challenge, shown in zip(challenges, probes, strict=True):
                if problem := challenger.settle(challenge, shown):
                    raise self._wrong(f"on inputs that change between calls {problem}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._wrong(f"unusable answer: {error}") from None
        self._plausible([sample.seconds for sample in timed])
        told_s = sum(sample.seconds * count for sample, count in zip(timed, calls, strict=True))
        filled_s = len(calls) * self._data.layout.outputs_bytes / _FILLED_BYTES_S
        return timed, RequestTiming(told_s, elapsed, *counted, self._protocol.threads, filled_s)

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
            The samples that count: those given, but for what is far shorter than what was seen, or where the
            same calls took much longer now, the longer ones.
        """
        claimed = float(np.median(samples))
        if incumbent_s is not None and claimed > incumbent_s:
            return list(samples)
        if claimed >= LONG_S:
            return list(samples)  # each sample's clock was compared with ours, and its result
        self._alone()
        self._convince()
        known_s, gap_s = self._compare_whole_changes(claimed)
        if not self._own_clock:
            return list(samples)
        if slower := self._slower_after_pauses(claimed, known_s, gap_s):
            return slower
        proofs = Proofs(claimed, self._protocol.budget_s)
        while calls := proofs.calls:
            (sample,), timing = self._sample([calls], False, False)
            if reason := timing.cores_problem:
                raise self._wrong(reason)
            if proofs.confirms(sample, timing):
                self._alone()
                self.proven_s = claimed
                # What is much shorter than what our clock has seen, nobody has seen.
                least_s = min(claimed, timing.busy_s / calls) / UNLIKE
                return [seconds for seconds in samples if seconds >= least_s]
        if proofs.lies:
            self._held_up += not self._answers_at_once()
            raise self._never_together(timing, again=False)
        slower, share = proofs.times()
        slower_s = float(np.median(slower))
        if not self._protocol.warm:
            # Those were warm calls: they refute the others' time, and cannot stand in for it.
            kind = f"calls with {self._protocol.cache} caches"
            reason = f"{kind} are said to take {claimed:.3g} s, warm ones took {slower_s:.3g} s afterwards"
            raise CandidateRefused("environment", f"{self._data.workload.key}: {reason}", passing=True)
        self.doubted = True
        self.remarks["slower_when_proven"] = slower_s / claimed
        if share:
            # Nobody knows for how long of it the machine stood still.
            self.remarks["disturbed_share"] = self.remarks["unproven_share"] = share
        return slower

    def _slower_after_pauses(self, claimed: float, known_s: float, gap_s: float) -> list[float]:
        """See `pauses.py`: the times that count in place of those claimed, if there are any."""
        found = AfterPauses(claimed, self._protocol.threads)
        if not self._protocol.warm or not found.longer(known_s):
            return []
        self.pause_s = gap_s
        while found.missing:
            timed, believed = self._after_pause()
            found.add(timed.seconds, timed.share, timed.lasted_s, believed)
        if found.alike:
            self.pause_s = 0.0
            return []
        self.remarks |= {"slower_after_pauses": found.typical_s / claimed, **found.remarks}
        return found.seconds

    def _after_pause(self) -> tuple[Timed, bool]:
        """One call, after `pause_s` and up to twice as long, and whether the runner's clock is believed; by
        the judge's where it is not."""
        began = time.perf_counter()
        time.sleep(self.pause_s * self._rng.uniform(1.0, 2.0))
        (timed,), timing = self._sample([1], False, False)
        timed = timed if timing.believed else timing.by_our_clock(timed)
        return replace(timed, lasted_s=time.perf_counter() - began), timing.believed

    def faster_than_proven(self, seconds: float) -> bool:
        """Whether a time is so much shorter than what was confirmed that it needs a proof of its own."""
        return not self.doubted and seconds * UNLIKE < self.proven_s

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

    def _compare_whole_changes(self, call_s: float) -> tuple[float, float]:
        """See `whole_changes.py`: seconds of a call on known inputs, and of the pause before it, or zeros."""
        challenger = self._challenger
        if challenger is None or not challenger.changing:
            return 0.0, 0.0
        found = WholeChanges(call_s)
        while True:
            began = time.perf_counter()
            known_s, busy_s, share = self._whole_call(challenger, False)
            gap_s = time.perf_counter() - began - known_s
            found.add_known(known_s, busy_s, share)
            _, busy_s, share = self._whole_call(challenger, True)
            found.add_fresh(busy_s, share)
            if found.anew:
                return found.known_s, gap_s
            if found.kept:
                raise self._wrong(f"{found.words}: it does not compute its result anew")
            if found.undecided:
                reason = f"{found.words}; other programs had its cores: it may well compute its result anew"
                raise CandidateRefused("environment", f"{self._data.workload.key}: {reason}", passing=True)
            # To what comes after a call on new inputs, all of the old ones are new.
            self._whole_call(challenger, False)

    def _whole_call(self, challenger: Challenger, fresh: bool) -> tuple[float, float, float]:
        """One call for `WholeChanges`: its seconds, those without waiting, and the share that others took."""
        answer, problem, (elapsed_s, counted) = call_after_rewriting(
            self.runner, challenger, fresh, challenger.changing
        )
        if problem:
            inputs = "are all other than before" if fresh else "change between calls"
            raise self._wrong(f"on inputs that {inputs} {problem}")
        told_s = told.seconds(answer.get("seconds"))
        timing = RequestTiming(told_s, elapsed_s, *counted, self._protocol.threads)
        return told_s, timing.busy_s if self._own_clock else told_s, told.share(answer.get("share"))

    def state(self) -> dict[str, float]:
        """The device's readings in the runner; what is no number is left out."""
        return told.numbers(self._ask({"do": "state"}).get("state"))

    def metrics(self) -> dict[str, float]:
        """What only the runner can tell."""
        return told.numbers(self._ask({"do": "metrics"}).get("metrics"))

    def calibrate(self, kind: str) -> tuple[float, bool]:
        """Seconds of the calibration kernel, run in the runner, and whether nothing disturbed it."""
        answer = self._ask({"do": "calibrate", "kind": kind})
        return told.seconds(answer.get("seconds")), bool(answer.get("quiet"))


def _apart_words(timing: RequestTiming) -> str:
    return f"its calls took {timing.elapsed_s:.3g} s by the lab's clock, it says {timing.told_s:.3g} s"
