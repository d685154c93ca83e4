"""Uniform random search without replacement: the yardstick every other searcher is measured against."""

import random
from collections.abc import Iterable

from tuner.core.space import Config
from tuner.searchers.base import TrackingSearcher


class UniformSearcher(TrackingSearcher):
    """Draws uniformly from the valid configurations not seen yet, never listing a large space."""

    name = "random"
    own_order = True
    summary = "uniform over the valid configurations, without replacement"

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Uniform draws."""
        return self.draw(n, rng)
