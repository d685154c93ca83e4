"""Who was in a final, how each was timed, and what is declared of that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.measurement import Evidence
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.engine.building.build_stage import Built


@dataclass(frozen=True)
class Finalist:
    """A candidate of the final.

    Attributes:
        label: for people: the kernel's name, or kernel and trial.
        trial_id: in the store.
        built: its artifact.
        baseline: whether it is what others are compared with.
        default: what its kernel would be used with had nobody tuned it.
        previous: its kernel's best before this campaign.
        place: where its configuration stands among its kernel's; ties are broken by it.
        swept_s: raw seconds of one call in its sweep; `None` where that is not known.
    """

    label: str
    trial_id: int
    built: Built
    baseline: bool = False
    default: bool = False
    previous: bool = False
    place: tuple[Any, ...] = ()
    swept_s: float | None = None


@dataclass(frozen=True)
class FinalPlacing:
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
        disturbed: why nothing is declared: other programs had the cores. Then there is neither winner, tie,
            reference nor speed-up, and the turns are those of all sittings, the disturbed ones included.
        remarks: what people should know of how it was held, a line each.
    """

    entries: tuple[FinalPlacing, ...]
    reference: int | None
    winner: int | None
    tied: tuple[int, ...]
    evidence: Evidence = Evidence.MEASURED
    disturbed: str = ""
    remarks: tuple[str, ...] = ()


def decide(finalists: Sequence[Finalist], turns: Sequence[Turns], errors: Sequence[str]) -> Ranking:
    """The fastest wins; who cannot be told from it ties; speed-ups are over the fastest baseline.

    Args:
        finalists: who took part.
        turns: of each.
        errors: why one was thrown out, else empty.
    """
    intervals = {
        i: interval for i, error in enumerate(errors) if not error and (interval := turns[i].interval)
    }
    if not intervals:
        out = tuple(
            FinalPlacing(f, Turns(), e or "no samples") for f, e in zip(finalists, errors, strict=True)
        )
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
            entries.append(FinalPlacing(finalist, turns[i], "", turns[reference].over(turns[i])))
        else:
            entries.append(FinalPlacing(finalist, Turns(), errors[i] or "no samples"))
    return Ranking(tuple(entries), reference, winner, tied)
