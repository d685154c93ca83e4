"""What a final found, in sentences: who won or ties, who is faster than a library, what tuning gave."""

from tuner.core.stats import Interval
from tuner.report.campaign_view import EntryView, PartView
from tuner.report.text import ratio


def verdict(part: PartView) -> str:
    """Who won, by how much, or who tied; where a library ties, also who is surely faster than it."""
    if part.disturbed:
        return f"Nothing is declared: {part.disturbed}. Run it again when the machine is quiet."
    if not part.timed:
        return "No finalist survived the final."
    tied = [entry for entry in part.timed if entry.tie]
    if tied:
        others = ", ".join(_label(entry) for entry in tied[1:])
        said = [f"Tie: {_label(tied[0])} cannot be told from {others} at 95%."]
        return " ".join([*said, *surely_faster(part)])
    winner = next((entry for entry in part.timed if entry.winner), part.timed[0])
    reference = part.reference
    if reference is not None and reference is not winner and winner.speedup:
        return f"Winner: {_label(winner)}, {ratio(winner.speedup)} the speed of {reference.kernel}."
    return f"Winner: {_label(winner)}."


def once_more(part: PartView) -> str:
    """How to get a final that declares something in place of a disturbed one; empty of any other, and of one
    that an interrupted campaign holds anew when it goes on."""
    if not part.disturbed or part.unfinished:
        return ""
    command = part.campaign.spec.command
    how = f": {command}" if command else ""
    return (
        "Close what takes the cores (top shows it) and run the same again: stored trials are reused, the "
        f"final is held anew{how}"
    )


def _label(entry: EntryView) -> str:
    return f"{entry.kernel} (t{entry.trial_id})"


def surely_faster(part: PartView) -> list[str]:
    """Of each library among the tied: which candidates are faster than it beyond doubt, though the one with
    the shortest time is not."""
    found = []
    for library in (entry for entry in part.timed if entry.tie and entry.baseline):
        faster = [
            f"{_label(entry)} is, {ratio(over)}"
            for entry in part.timed
            if not entry.baseline and (over := _over(library, entry)) is not None and over.low > 1
        ]
        if faster:
            found.append(f"Yet surely faster than {library.kernel}: {'; '.join(faster)}.")
    return found


def _over(slower: EntryView, faster: EntryView) -> Interval | None:
    """The first one's time over the second one's."""
    if not slower.turns.samples or not faster.turns.samples:
        return None
    return slower.turns.over(faster.turns)


def default_sentences(part: PartView) -> list[str]:
    """Of each kernel whose default configuration was in the final: what tuning gave."""
    if part.final is None or part.disturbed:
        return []
    found = []
    for default in (entry for entry in part.timed if entry.default):
        tuned = [e for e in part.timed if e.kernel == default.kernel and not e.default]
        if not tuned:
            if any(k.name == default.kernel and k.trials > 1 for k in part.kernels):
                found.append(f"{default.kernel}: tuned is no better than the default: it is the default.")
            continue
        best = next((e for e in tuned if not e.beaten), tuned[0])
        over = _over(default, best)
        if over is None:
            continue
        if over.low > 1:
            found.append(f"{default.kernel}: tuned is {ratio(over)} the speed of the default.")
        else:
            found.append(f"{default.kernel}: tuned is no better than the default ({ratio(over)} its speed).")
    return found
