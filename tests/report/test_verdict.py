"""What a final is said to have found."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tuner.core.turns import Turns
from tuner.report.campaign_view import EntryView
from tuner.report.verdict import default_sentences, once_more, verdict


@dataclass
class Part:
    """As much of a `PartView` as the sentences look at."""

    timed: list[EntryView]
    disturbed: str = ""
    final: Any = True
    kernels: list[Any] = field(default_factory=list)
    unfinished: bool = False
    campaign: Any = None

    @property
    def reference(self) -> EntryView | None:
        return next((e for e in self.timed if e.baseline), None)


def entry(kernel: str, number: int, times: list[float], baseline: bool = False, **told: Any) -> EntryView:
    turns = Turns(tuple(times), (1,) * len(times))
    return EntryView(kernel, "cxx", {}, number, baseline, turns.interval, turns, **told)


STEADY = [1.0 + 0.001 * i for i in range(9)]
LIBRARY = [1.08 + 0.001 * i for i in range(9)]
# Fastest at the median, and in two of nine processes slower than the library.
MOODY = [0.98, 0.98, 1.3, 0.97, 1.3, 0.98, 0.97, 1.3, 0.98]


def test_a_tie_with_a_library_does_not_hide_who_is_surely_faster_than_it() -> None:
    part = Part([
        entry("moody", 1, MOODY, tie=True), entry("steady", 2, STEADY, tie=True),
        entry("numpy", 3, LIBRARY, baseline=True, tie=True),
    ])  # fmt: skip
    said = verdict(part)  # type: ignore[arg-type]
    assert said.startswith("Tie: moody (t1) cannot be told from steady (t2), numpy (t3) at 95%. ")
    assert "Yet surely faster than numpy: steady (t2) is, 1.08x [" in said
    assert "moody (t1) is" not in said
    part.timed[1] = entry("steady", 2, [t * 1.2 for t in STEADY])
    assert "Yet" not in verdict(part)  # type: ignore[arg-type]


def test_tuned_is_no_better_than_the_default_is_said_in_these_words() -> None:
    part = Part([entry("k", 1, STEADY), entry("k", 2, STEADY[::-1], default=True, beaten=True)])
    (said,) = default_sentences(part)  # type: ignore[arg-type]
    assert said.startswith("k: tuned is no better than the default (")
    part = Part([entry("k", 1, STEADY), entry("k", 2, [3 * t for t in STEADY], default=True)])
    (said,) = default_sentences(part)  # type: ignore[arg-type]
    assert said == "k: tuned is 3.00x the speed of the default."
    part.disturbed = "others had the cores"
    assert default_sentences(part) == []  # type: ignore[arg-type]


def test_the_winner_is_the_configuration_that_stands_for_its_kernel() -> None:
    part = Part([entry("k", 2, STEADY, beaten=True), entry("k", 1, STEADY, winner=True)])
    assert verdict(part) == "Winner: k (t1)."  # type: ignore[arg-type]


def test_a_disturbed_final_says_what_to_run() -> None:
    campaign = SimpleNamespace(spec=SimpleNamespace(command="tuner sweep gemm --shape 8x8x8"))
    part = Part([entry("k", 1, STEADY)], campaign=campaign)
    assert once_more(part) == ""  # type: ignore[arg-type]
    part.disturbed = "others had the cores"
    assert once_more(part).endswith(": tuner sweep gemm --shape 8x8x8")  # type: ignore[arg-type]
    part.unfinished = True  # going on with it holds the final anew, and is said elsewhere
    assert once_more(part) == ""  # type: ignore[arg-type]
