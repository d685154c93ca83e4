"""Grid search: valid configurations spread evenly over their order, or all of them in order."""

import math
import random
from collections.abc import Iterable, Iterator

from tuner.core.searcher import Problem
from tuner.core.space import Config
from tuner.searchers.base import TrackingSearcher

_GOLDEN = (math.sqrt(5) - 1) / 2


def even_ranks(size: int, budget: int | None) -> Iterator[int]:
    """Ranks 0 … size-1 so that what is taken first lies evenly; each at least once.

    With a budget below the size: the middles of `budget` equal stretches, then, as without a budget, a
    walk by a step near size/golden ratio that shares no factor with it, whose first k ranks leave gaps of
    at most three lengths for every k (Sós, On the distribution mod 1 of the sequence n*alpha, 1958).
    """
    if budget is not None and budget >= size:
        yield from range(size)
        return
    for i in range(budget or 0):
        yield (2 * i + 1) * size // (2 * (budget or 1))
    step = max(1, round(size * _GOLDEN))
    while math.gcd(step, size) != 1:
        step += 1
    rank = 0
    for _ in range(size):
        yield rank
        rank = (rank + step) % size


class GridSearcher(TrackingSearcher):
    """Walks the valid configurations in order of rank, evenly spread where the budget is short.

    A space too entangled to number its configurations is walked in its own order from the start.
    """

    name = "grid"
    own_order = True
    summary = "valid configurations spread evenly in order; all in order if the budget allows"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._walk = self._configs()

    def _configs(self) -> Iterator[Config]:
        size = self.space.size
        if size is None:
            yield from self.space
        else:
            yield from (self.space.at(rank) for rank in even_ranks(size, self.problem.budget))

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """The next unseen ones of the walk: what lies behind its head is seen, so a new walk resumes."""
        found: list[Config] = []
        for config in self._walk:
            if self.unseen(config):
                found.append(config)
                if len(found) == n:
                    break
        return found
