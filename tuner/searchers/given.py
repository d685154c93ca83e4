"""Configurations that somebody names, in their order: to fill gaps of a table, to time what a file says."""

import random
from collections.abc import Iterable

from tuner.core.space import Config
from tuner.searchers.base import TrackingSearcher


class GivenSearcher(TrackingSearcher):
    """Proposes the configurations of its option `configs` and no others; with no such option, any."""

    name = "given"
    own_order = True
    searches = False
    summary = "the configurations it is given (option configs), in their order; uniform where none are"

    def ask(self, n: int) -> list[Config]:
        """See `Searcher.ask`."""
        if "configs" not in self.problem.options:
            return super().ask(n)
        chosen: list[Config] = []
        for config in self.problem.options["configs"]:
            if len(chosen) < n and self.space.why_invalid(config) is None and self.unseen(config):
                self.reserve(config)
                chosen.append(config)
        return chosen

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Uniform draws."""
        return self.draw(n, rng)
