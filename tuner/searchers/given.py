"""Configurations that somebody names, in their order: to fill gaps of a table, to time what a file says."""

import random
from collections.abc import Iterable, Sequence
from itertools import islice

from tuner.core.digest import canonical_json
from tuner.core.searcher import Observation, Problem
from tuner.core.space import Config
from tuner.searchers.base import TrackingSearcher


class GivenSearcher(TrackingSearcher):
    """Proposes the configurations of its option `configs` and no others; with no such option, any.

    What is named needs no search, so with the option it serves open spaces too.
    """

    name = "given"
    own_order = True
    searches = False
    summary = "the configurations it is given (option configs), in their order; uniform where none are"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        # By their text, not by their places in lists, which an open space does not have.
        self._left: dict[str, Config] = {
            canonical_json(dict(config)): config
            for config in problem.options.get("configs", ())
            if self.space.why_invalid(config) is None
        }

    @classmethod
    def can_propose(cls, problem: Problem) -> bool:
        """See `Searcher.can_propose`."""
        return "configs" in problem.options or super().can_propose(problem)

    def ask(self, n: int) -> list[Config]:
        """See `Searcher.ask`."""
        if "configs" not in self.problem.options:
            return super().ask(n)
        return [self._left.pop(text) for text in list(islice(self._left, n))]

    def tell(self, observations: Sequence[Observation]) -> None:
        """See `Searcher.tell`."""
        if "configs" not in self.problem.options:
            super().tell(observations)
            return
        for observation in observations:
            self._left.pop(canonical_json(dict(observation.config)), None)

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Uniform draws."""
        return self.draw(n, rng)
