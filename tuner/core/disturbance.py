"""What other programs took of the processors while something was timed, and what then becomes of the time.

A thread that is ready to run and does not run waits on a processor's run queue: the system counts these
nanoseconds for each thread, so they tell *this* sample's disturbance, however short it is. Everything here is
arithmetic on readings; a device takes them (`Device.waits`).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

DISTURBED = 0.05
"""A sample is disturbed when its threads waited for more than this share of it.

A final tells 1 to 2% apart, and a barrier makes all threads wait for the one that waits: 5% of waiting is 5%
of time at the worst. Whom a shared machine takes a few percent from, in slices of 1 to 4 ms, has most samples
below it."""

PREEMPTION_S = 1e-4
"""Waiting that belongs to a wake-up: a thread that slept waits for its processor to leave its own sleep. 5 to
100 us in virtual machines; a thread that waits for another program waits for its time slice, 1 to 4 ms."""

TICK_S = 0.01
"""What is known of processor time that threads on other cores have taken is so old at worst."""

TAKEN = "other programs took"
"""What a final's remark on the others begins with: `result.json` has that remark in a field of its own."""

_KEPT = 1 / 3


@dataclass(frozen=True, slots=True)
class Waits:
    """Counters of one process at one moment; only differences mean something.

    Attributes:
        clock_s: when, on a monotonic clock.
        waited_s: its threads, together, were ready to run and did not.
        ran_s: its threads, together, had a processor.
        arrivals: how often one of them got a processor.
        preemptions: how often one lost it without having asked; threads that have ended are counted too.
        cores: processors it may use; 0 where nothing is known of waiting.
    """

    clock_s: float = 0.0
    waited_s: float = 0.0
    ran_s: float = 0.0
    arrivals: float = 0.0
    preemptions: float = 0.0
    cores: int = 0


def others_share(before: Waits, after: Waits) -> float:
    """The share of the time between two readings that threads waited for processors which others had.

    The waiting of all threads is added up, since one that waits is waited for at the next barrier; 1 at most.
    Threads of one program that wait for each other (more of them than processors) leave no processor time
    unused: what the program itself did not leave, nobody else can have had.
    """
    wall = after.clock_s - before.clock_s
    if wall <= 0 or not after.cores:
        return 0.0
    waited = after.waited_s - before.waited_s - PREEMPTION_S * (after.arrivals - before.arrivals)
    left = wall * after.cores - (after.ran_s - before.ran_s) + TICK_S
    return min(1.0, max(0.0, min(waited, left)) / wall)


def preempted(before: Waits, after: Waits) -> bool:
    """Whether any thread lost its processor in between; also tells of threads that have ended meanwhile."""
    return after.preemptions > before.preemptions


@dataclass
class Patience:
    """Takes disturbed samples again, for a bounded time.

    Args:
        seconds: what may be spent, in all, on samples that are thrown away.

    Attributes:
        seconds: what is left of it.
    """

    seconds: float

    def admit(self, share: float, lasted_s: float) -> bool | None:
        """Whether a sample is disturbed; `None` where it is and shall be taken again.

        Args:
            share: that others took, see `others_share`.
            lasted_s: seconds that the sample took.
        """
        disturbed = share > DISTURBED
        if disturbed and self.seconds > 0:
            self.seconds -= lasted_s
            return None
        return disturbed


def undisturbed(samples: Sequence[float], flags: Sequence[bool], enough: int) -> tuple[list[float], float]:
    """The samples that count, and the share of them that is disturbed.

    The undisturbed ones alone where they are `enough`, or a third of all; else all of them.
    """
    clean = [s for s, flag in zip(samples, flags, strict=True) if not flag]
    if clean and (len(clean) >= enough or len(clean) >= _KEPT * len(samples)):
        return clean, 0.0
    return list(samples), sum(flags) / len(flags) if flags else 0.0


def disturbance_words(metrics: Mapping[str, float]) -> str:
    """What a trial's metrics say of disturbance, for people; nothing where there was none that matters."""
    said = []
    if metrics.get("disturbed_share", 0.0) > 0:
        share, unproven = metrics.get("others_share", 0.0), metrics.get("unproven_share", 0.0)
        had = f"other programs had its cores for {100 * share:.0f}% of the time"
        if unproven > 0:
            had += f", and {100 * unproven:.0f}% of the requests that prove its time were held up"
        said.append(f"disturbed: {had}")
    if metrics.get("throttled_periods", 0.0) > 0:
        said.append(f"throttled by a CPU quota in {metrics.get('throttled_periods', 0.0):.0f} periods")
    if metrics.get("steal_share", 0.0) > DISTURBED:
        said.append(
            f"the hypervisor gave {100 * metrics.get('steal_share', 0.0):.0f}% of its cores to others"
        )
    return "; ".join(said)


def is_disturbed(metrics: Mapping[str, float]) -> bool:
    """Whether a trial's time is that of a busy machine: never reused, no reason to leave a candidate out."""
    return bool(metrics.get("disturbed_share", 0.0) > 0)


def calm(
    take: Callable[[], T], waits: Callable[[], Waits], wanted: int, tries: int, limit_s: float = 1.0
) -> tuple[list[T], bool]:
    """Short readings during which no thread lost its processor, and whether there is any.

    Args:
        take: one reading, its threads included, which end with it.
        waits: the counters before and after.
        wanted: undisturbed readings after which to stop.
        tries: readings at most.
        limit_s: seconds after which readings end that stay disturbed.

    Returns:
        The undisturbed readings and true, or all readings and false.
    """
    quiet, every = [], []
    end = time.perf_counter() + limit_s
    for i in range(tries):
        if i >= wanted and time.perf_counter() > end:
            break
        before = waits()
        every.append(take())
        if not preempted(before, waits()):
            quiet.append(every[-1])
            if len(quiet) == wanted:
                break
    return (quiet, True) if quiet else (every, False)
