"""Where a measured sweep starts: at what a compile-only sweep of the same kernel and target ranked best.

What was good elsewhere is `known_starts.py`, what the sweep itself predicts `foreseen.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.core.kernel import Kernel
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload

if TYPE_CHECKING:
    from tuner.store.records import HistoryGroup
    from tuner.store.store import Store

MOST = 12
"""Predicted configurations that are measured first; never more than a third of the budget."""
LOOKED_AT = 2_000
"""Of the fastest predictions; some may not be valid on the board at hand."""


@dataclass(frozen=True)
class Starts:
    """Configurations to measure before the searcher is asked.

    Attributes:
        configs: the most promising first.
        ranked: how many predictions they were chosen from; 0 where none were made.
        why: for people, one line: where they come from.
    """

    configs: tuple[Config, ...] = ()
    ranked: int = 0
    why: str = ""


def best_predicted(configs: tuple[Config, ...], ranked: int, device: str) -> Starts:
    """The best of so many predictions for a device, in words that say that they are no measurement."""
    why = (
        f"starts from the best {len(configs)} of {ranked} configurations predicted for {device} "
        f"(evidence: predicted, not measured)"
    )
    return Starts(configs, ranked, why)


def most_starts(trials: int | None) -> int:
    """How many configurations a sweep with such a budget measures before its searcher is asked."""
    return MOST if trials is None else min(MOST, max(1, trials // 3))


def both(first: Starts, then: Starts, most: int) -> Starts:
    """Starts of two kinds, no configuration twice."""
    rest = [config for config in then.configs if config not in first.configs]
    if not first.configs or not rest:
        return first if first.configs else then
    return Starts((*first.configs, *rest)[:most], why=f"{first.why}; {then.why}")


def predicted_starts(
    kernel: Kernel, workload: Workload, target: Target, space: SearchSpace, store: "Store",
    groups: Sequence["HistoryGroup"], budget: int | None,
) -> Starts:  # fmt: skip
    """The best predicted configurations of this very kernel source, workload and target.

    Args:
        kernel, workload, target: of the measured sweep.
        space: of the measured sweep; what is not valid in it (a board with fewer SMs) is left out.
        store: where compile-only sweeps are.
        groups: what it has of the kernel.
        budget: trials of the sweep, where it has such a bound.
    """
    best = Starts()
    for group in groups:
        same = (group.workload, group.kernel.digest, group.target) == (workload, kernel.digest, target.name)
        if not same:
            continue
        ranked, right = store.fastest_predicted(group, LOOKED_AT)
        valid = [o.config for o in right if space.why_invalid(o.config) is None]
        if valid and ranked >= best.ranked:
            best = best_predicted(tuple(valid[: most_starts(budget)]), ranked, group.device.name)
    return best
