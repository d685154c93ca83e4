"""Requests that come when they are due, whether or not earlier ones are answered (an open loop).

A generator that waits for an answer before it asks again sends least when the server is slowest, so that its
latencies leave out what users would have waited ("coordinated omission", Gil Tene). Here each latency counts
from when its request was due, so that time in which the generator was late counts too.
"""

import asyncio
import selectors
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuner.model.load.http import Broken, Client
from tuner.model.load.target import VARIANTS, AskedModel, Body, error_of, find

# Seconds after the last arrival in which answers count.
GRACE_S = 30.0


@dataclass
class RequestOutcome:
    """What became of the requests at one rate. Times are measured, seconds.

    Attributes:
        rate: requests a second that were due, on average.
        batch: rows of each.
        seconds: in which they came.
        sent: how many were due.
        latencies_s: of each that was answered, from when it was due.
        late_s: of each, how long after it was due the generator began to send it.
        refused: answered with 429 or 503.
        failed: reasons of other errors, with how many.
        wrong: answered with other numbers than alone.
        took_s: from the beginning to the last answer.
    """

    rate: float
    batch: int
    seconds: float
    sent: int = 0
    latencies_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    took_s: float = 0.0

    def percentile(self, percent: float) -> float:
        """Of the latencies, seconds; NaN where nothing was answered."""
        return float(np.percentile(self.latencies_s, percent)) if self.latencies_s else float("nan")

    @property
    def late_p99(self) -> float:
        """Of how late the generator was, seconds."""
        return float(np.percentile(self.late_s, 99)) if self.late_s else 0.0

    @property
    def throughput(self) -> float:
        """Answered rows a second."""
        return len(self.latencies_s) * self.batch / self.took_s if self.took_s else 0.0

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        found = {f"p{p}_s": self.percentile(p) if self.latencies_s else None for p in (50, 95, 99)}
        return {
            "rate": self.rate, "batch": self.batch, "seconds": self.seconds, "evidence": "measured",
            "sent": self.sent, "answered": len(self.latencies_s), "refused": self.refused,
            "failed": dict(self.failed), "wrong": self.wrong, **found,
            "throughput_per_s": self.throughput, "generator_late_p99_s": self.late_p99,
        }  # fmt: skip


def arrivals(rate: float, seconds: float, seed: int, spaced: bool = False) -> np.ndarray:
    """When requests are due: a Poisson process, seconds from the beginning, ascending.

    Args:
        rate: mean requests a second.
        seconds: in which they come.
        seed: equal ones give equal times.
        spaced: evenly, in place of at random, the first at once: what is late then, no burst has made so.
    """
    if spaced:
        return np.arange(max(1, round(rate * seconds))) / rate
    rng = np.random.default_rng(seed)
    times, last = [], 0.0
    while last < seconds:
        gaps = rng.exponential(1 / rate, max(16, int(rate * seconds * 1.1)))
        times.append(last + np.cumsum(gaps))
        last = float(times[-1][-1])
    whole: np.ndarray = np.concatenate(times)
    return whole[whole < seconds]


async def at_rate(
    target: AskedModel,
    bodies: Sequence[Body],
    found: RequestOutcome,
    plan: "Schedule",
    grace_s: float = GRACE_S,
) -> None:
    """Sends requests when they are due, and fills in what becomes of them.

    Args:
        target: which model.
        bodies: requests, taken in turn.
        found: with rate, batch and seconds; is filled in.
        plan: how the arrivals are drawn.
        grace_s: in which answers count after the last arrival; what has none then has failed.
    """
    due = arrivals(found.rate, found.seconds, plan.seed, plan.spaced)
    found.sent = len(due)
    last = begin = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()

    async def ask(number: int, when: float) -> None:
        nonlocal last
        found.late_s.append(time.perf_counter() - when)
        try:
            answer = await target.infer(bodies[number % len(bodies)])
        except (OSError, Broken) as error:
            found.failed[str(error)[:150] or type(error).__name__] += 1
            return
        ended = time.perf_counter()
        if answer.status in (429, 503):
            found.refused += 1
        elif answer.status != 200:
            found.failed[f"{answer.status}: {error_of(answer)}"] += 1
        else:
            last = ended
            found.latencies_s.append(ended - when)
            if found.batch in target.references:
                found.wrong += not target.is_right(found.batch, number % len(bodies), answer)

    for number, offset in enumerate(due):
        when = begin + float(offset)
        if (left := when - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        task = asyncio.create_task(ask(number, when))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        _, pending = await asyncio.wait(set(tasks), timeout=grace_s)
        for task in pending:
            task.cancel()
        if pending:
            found.failed[f"no answer within {grace_s:g} s"] += len(pending)
            await asyncio.wait(pending)
    found.took_s = max(last - begin, found.seconds)


@dataclass(frozen=True)
class Schedule:
    """What is asked.

    Attributes:
        rates: requests a second.
        batches: rows of a request.
        seconds: of each rate.
        seed: of inputs and arrivals.
        verify: whether answers are held against those of the same requests, asked alone before.
        spaced: whether requests come evenly, in place of at random.
    """

    rates: Sequence[float]
    batches: Sequence[int]
    seconds: float
    seed: int = 1
    verify: bool = False
    spaced: bool = False


def load(
    url: str,
    token: str | None,
    model: str | None,
    plan: Schedule,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[str, list[RequestOutcome]]:
    """Asks a server at each batch and rate in turn.

    Args:
        url, token: of the server.
        model: its name; `None`: the only one.
        plan: what is asked.
        tell: is told what happens.

    Returns:
        The model's name, and what became of each batch and rate.

    Raises:
        TunerError: the server cannot be reached, has no such model, or cannot be asked this.
    """
    # `select` waits to the microsecond; asyncio rounds the time of `epoll` up to a millisecond.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(_load(url, token, model, plan, tell))


async def _load(
    url: str, token: str | None, model: str | None, plan: Schedule, tell: Callable[[str], None]
) -> tuple[str, list[RequestOutcome]]:
    client = Client(url, token)
    try:
        target = await find(client, model)
        found = []
        for batch in plan.batches:
            bodies = target.bodies(batch, plan.seed)
            # Once each: connections are open, and right answers known, before anything is timed.
            alike = await target.learn(batch, bodies)
            if not plan.verify:
                target.references.clear()
            elif alike:
                pairs = VARIANTS * (VARIANTS - 1) // 2
                tell(f"batch {batch}: {alike} of {pairs} pairs of answers are too alike to tell apart")
            for rate in plan.rates:
                tell(f"batch {batch}: {rate:g} requests/s for {plan.seconds:g} s")
                found.append(RequestOutcome(rate, batch, plan.seconds))
                await at_rate(target, bodies, found[-1], plan)
        return target.name, found
    finally:
        client.close()
