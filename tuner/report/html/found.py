"""What a section found, in words: who is the fastest, by how much, how sure that is, and where it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.core.measurement import Evidence
from tuner.core.stats import Interval
from tuner.report.html.section import Section
from tuner.report.html.shell import moment
from tuner.report.paper import PaperRow, paper_words
from tuner.report.rows import ComparisonRow
from tuner.report.text import percent, seconds, significant, spread
from tuner.report.units import quantity
from tuner.report.verdict import default_sentences, surely_faster

# How the times of a page came to be, where no model gave them.
_TAKEN: Mapping[str, str] = {
    Evidence.REPLAYED: "Replayed from a recording, as taken",
    Evidence.EMULATED: "Run, and not timed,",
    Evidence.COMPILED: "Compiled, and not run,",
    Evidence.PREDICTED: "Predicted",
}


@dataclass(frozen=True)
class Found:
    """The answer of a section.

    Attributes:
        headline: one sentence, the answer itself.
        sure: whether it is one: a winner or a tie that a final has told.
        sentences: against what, how sure, where and when.
        tiles: numbers to look at first, each with what it is.
    """

    headline: str
    sure: bool
    sentences: Sequence[str]
    tiles: Sequence[tuple[str, str]]


def found(section: Section) -> Found:
    """The answer of a section."""
    rows = sorted(section.comparison.rows, key=lambda row: row.interval.mid)
    if section.paper:
        return _on_paper(section, section.paper)
    if not rows:
        sentences = [*_place(section), *_effort(section)]
        return Found(
            "Nothing was timed: there is no result to compare.", False, sentences, _tiles(section, None)
        )
    first = rows[0]
    headline, sure = _headline(section, rows)
    sentences = [*_against(section, rows), *_certainty(section, rows), *_place(section), *_effort(section)]
    return Found(headline, sure, sentences, _tiles(section, first))


def _on_paper(section: Section, paper: Sequence[PaperRow]) -> Found:
    """Of kernels that were compiled for a device that is not here: who ranks first, and that nobody ran."""
    ranked = [row for row in paper if row.rank is not None]
    headline = f"Nothing of this was measured: {paper[0].target} is not here."
    if ranked:
        headline += f" A model ranks {ranked[0].kernel} first of {len(ranked)} kernels."
    tiles = [(f"{len(ranked)} of {len(paper)}", "kernels compiled, and have a rank")]
    emulated = sum(row.was_emulated for row in paper)
    tiles.append((f"{emulated:,}", "of them right on the emulator"))
    tiles.append((f"{section.trials:,}", f"trials, {section.failed:,} failed"))
    when = f"Compiled for {paper[0].target} on {moment(section.context.when)}."
    return Found(headline, False, [paper_words(paper), when, *_effort(section)], tiles)


def _headline(section: Section, rows: Sequence[ComparisonRow]) -> tuple[str, bool]:
    first, context = rows[0], section.context
    time = seconds(first.interval.mid)
    if not section.measured or first.evidence == "predicted":
        return (
            f"Predicted by a model, not measured: {first.implementation} would be the fastest, {time} a "
            "call.",
            False,
        )
    if first.evidence != "measured":
        return (
            f"{first.evidence.capitalize()}, not measured here: {first.implementation} has the shortest "
            f"time, {time} a call."
        ), False
    if context.disturbed:
        return (
            "No winner is declared: the machine was busy. "
            f"{first.implementation} has the shortest time, {time} a call."
        ), False
    tied = [row.implementation for row in rows if row.is_tie]
    if tied:
        return f"A tie: {_listed(tied)} cannot be told apart; about {time} a call.", True
    if len(rows) == 1:
        return f"{first.implementation} takes {time} a call; there is nothing to compare it with.", False
    if not first.is_winner:
        return (
            f"{first.implementation} has the shortest time, {time} a call, but no winner is declared: "
            "the times were not taken side by side."
        ), False
    name = f"{first.implementation}, a library," if first.is_baseline else first.implementation
    return f"{name} is the fastest of {len(rows)} implementations: {time} a call.", True


def _against(section: Section, rows: Sequence[ComparisonRow]) -> list[str]:
    """How the fastest of the lab's own compares with the best library and the plain program."""
    ours = next((row for row in rows if not row.is_baseline), None)
    library = next((row for row in rows if row.is_baseline), None)
    naive = next((row for row in rows if row.is_naive), None)
    told = []
    if ours is not None and library is not None and ours.speedup_library is not None:
        told.append(
            _times(
                ours.implementation, ours.speedup_library, f"{library.implementation}, the fastest library"
            )
        )
    elif library is None and section.measured:
        told.append("No library took part, so nothing is said of how it compares with one.")
    if ours is not None and naive is not None and ours is not naive and ours.speedup_naive is not None:
        told.append(
            _times(ours.implementation, ours.speedup_naive, f"the plain program {naive.implementation}")
        )
    if section.part is not None and not section.part.disturbed:
        told += surely_faster(section.part)
    return [*told, *tuning_gave(section)]


def tuning_gave(section: Section) -> list[str]:
    """Of each kernel whose default configuration was in the final: what tuning gave."""
    return default_sentences(section.part) if section.part is not None else []


def doubts(section: Section) -> Sequence[str]:
    """What the final said beside its times: a loud machine, a previous best that is kept."""
    return section.part.part.remarks if section.part is not None else ()


def _times(name: str, ratio: Interval, other: str) -> str:
    low, mid, high = (significant(v) for v in (ratio.low, ratio.mid, ratio.high))
    sure = f"(95% interval: {low} to {high})"
    if ratio.low > 1:
        return f"{name} is {mid} times as fast as {other} {sure}."
    if ratio.high < 1:
        return f"{name} is slower than {other}: {mid} times its speed {sure}."
    return f"{name} and {other} cannot be told apart: {mid} times its speed {sure}."


def _certainty(section: Section, rows: Sequence[ComparisonRow]) -> list[str]:
    context, part = section.context, section.part
    told = []
    if part is not None and part.final is not None and part.timed:
        turns = part.timed[0].turns
        processes = len(turns.processes) or 1
        rounds = f"{len(turns.samples)} times each, in {processes} process{'es' if processes > 1 else ''}"
        told.append(f"All were timed again side by side, in turn, {rounds}; intervals are of 95%.")
        if context.disturbed:
            told.append(f"What the machine did: {context.disturbed}.")
        elif len(rows) > 1:
            told.append(
                "A tie means: the interval of the ratio of the times contains 1."
                if rows[0].is_tie
                else "The fastest is apart from every other: no interval of their ratio contains 1."
            )
    elif section.measured and len(rows) > 1:
        told.append("Times are of different minutes: on a machine that drifts, some percent mean nothing.")
    wide = [row for row in rows if row.interval.high - row.interval.low > 0.2 * row.interval.mid]
    if wide and section.measured:
        names = _listed([f"{row.implementation} {spread(row.interval)}" for row in wide[:3]])
        told.append(f"The machine was loud: the interval of {names} is wide. Measure again when it is quiet.")
    told += [f"The final: {remark}." for remark in doubts(section)]
    if context.peak_doubt:
        told.append(context.peak_doubt)
    return told


def _place(section: Section) -> list[str]:
    c = section.context
    how = _TAKEN.get(section.evidence, "Measured") if section.measured else "Predicted"
    return [f"{how} on {c.device}, {c.how}, on {moment(c.when)}."]


def _effort(section: Section) -> list[str]:
    tuned = [kernel for kernel in section.kernels if kernel.trials > 1]
    if not section.trials:
        return ["No trial was made."]
    failed = f"{section.failed:,} of them failed" if section.failed else "none failed"
    searched = sum(kernel.trials for kernel in tuned)
    share = "" if searched == section.trials else f"{searched:,} of them "
    of = f"{share}of {len(tuned)} kernel{'s' if len(tuned) != 1 else ''} with parameters" if tuned else ""
    joint = ", " if share and of else " " if of else ""
    return [f"{section.trials:,} trial{'s' if section.trials != 1 else ''}{joint}{of}; {failed}."]


def _tiles(section: Section, first: ComparisonRow | None) -> list[tuple[str, str]]:
    tiles: list[tuple[str, str]] = []
    if first is not None:
        ours = next((row for row in section.comparison.rows if not row.is_baseline), first)
        for text, ratio in (
            ("the fastest library", ours.speedup_library),
            ("the plain program", ours.speedup_naive),
        ):
            if ratio is not None and not (ratio.low == ratio.high == 1):
                low, high = significant(ratio.low), significant(ratio.high)
                sure = ": a tie" if ratio.low <= 1 <= ratio.high else ""
                name = "" if ours is first else f"{ours.implementation}: "
                tiles.append(
                    (f"{significant(ratio.mid)}×", f"{name}speed of {text}{sure}, 95% [{low}, {high}]")
                )
        worth = "" if first.evidence == "measured" else f", {first.evidence}"
        known = worth if first.evidence == "predicted" else f" {spread(first.interval)}{worth}"
        tiles.append((seconds(first.interval.mid), f"{first.implementation}: a call{known}"))
        share = f", {percent(first.share_of_peak)} of the measured peak" if first.share_of_peak else ""
        if first.gflops:
            share += worth
        tiles.append((quantity(1e9 * first.gflops, "FLOP/s"), f"{first.implementation}{share}"))
    tiles.append((f"{section.trials:,}", f"trials, {section.failed:,} failed"))
    return tiles


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
