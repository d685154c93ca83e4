"""What a final says beyond who is the fastest: the configuration a kernel keeps, and how loud it was."""

from collections.abc import Mapping

from tuner.engine.tuning.finals import Ranking

LOUD = 1.2
"""A final in which every finalist takes so many times what its sweep took is that of a loud machine."""


def chosen(ranking: Ranking) -> Mapping[str, int]:
    """The entry that each kernel is represented by, by label; none of a final that declares nothing.

    Of the entries that cannot be told from the kernel's fastest at 95%: what was its best before, so that a
    best configuration is not replaced by one that is no better; else its default; else the first in the order
    of the kernel's lists, so that two runs choose alike.
    """
    if ranking.disturbed:
        return {}
    by_label: dict[str, list[int]] = {}
    for i, entry in enumerate(ranking.entries):
        if not entry.error and entry.interval is not None:
            by_label.setdefault(entry.finalist.label, []).append(i)
    return {label: _choose(ranking, entries) for label, entries in by_label.items()}


def _time_s(ranking: Ranking, i: int) -> float:
    interval = ranking.entries[i].interval
    assert interval is not None, "the caller took those with a time"
    return interval.mid


def _choose(ranking: Ranking, entries: list[int]) -> int:
    fastest = min(entries, key=lambda i: _time_s(ranking, i))
    best = ranking.entries[fastest].turns
    alike = [i for i in entries if i == fastest or ranking.entries[i].turns.over(best).contains(1.0)]

    def order(i: int) -> tuple[bool, bool, tuple[str, ...], int]:
        finalist = ranking.entries[i].finalist
        # Numbers of one width, so that places compare whatever they are made of.
        place = tuple(f"{p:012d}" if isinstance(p, int) else str(p) for p in finalist.place)
        return not finalist.previous, not finalist.default, place, finalist.trial_id

    return min(alike, key=order)


def kept_remarks(ranking: Ranking) -> list[str]:
    """Which kernels another configuration stands for than the fastest by a hair, and why, a line each."""
    said = []
    for label, i in chosen(ranking).items():
        own = [n for n, e in enumerate(ranking.entries) if e.finalist.label == label and e.interval]
        fastest = min(own, key=lambda n: _time_s(ranking, n))
        if fastest == i:
            continue
        new, stands = ranking.entries[fastest].finalist.trial_id, ranking.entries[i].finalist
        old = stands.trial_id
        if stands.previous:
            said.append(
                f"{label}: t{new} differs from the previous best, t{old}, by less than the interval: "
                f"t{old} is kept"
            )
        else:
            why = "is the kernel's default" if stands.default else "comes first in the kernel's lists"
            said.append(
                f"{label}: t{new} cannot be told from t{old} at 95%: t{old}, which {why}, stands for both"
            )
    return said


def loud_remark(ranking: Ranking) -> str:
    """What is to be said of a final far below what the sweeps saw; empty for any other.

    Raw times are compared: with drift divided out a slow hour would look like any other.
    """
    times = [
        (entry.interval.mid, entry.finalist.swept_s)
        for entry in ranking.entries
        if entry.interval is not None and entry.finalist.swept_s
    ]
    ratios = sorted(now / swept for now, swept in times if swept)
    if len(ratios) < 2 or ratios[0] < LOUD:
        return ""
    return (
        f"loud machine: all {len(ratios)} finalists were slower in the final than in their sweeps, "
        f"{ratios[0]:.2f} to {ratios[-1]:.2f} times: compare no time of this final with another hour's"
    )
