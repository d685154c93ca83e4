"""Configurations that somebody names, in their order: to fill gaps of a table, to time what a file says."""

import random
from collections.abc import Iterable, Sequence

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
        self._tried: set[str] = set()

    @classmethod
    def can_propose(cls, problem: Problem) -> bool:
        """See `Searcher.can_propose`."""
        return "configs" in problem.options or super().can_propose(problem)

    def ask(self, n: int) -> list[Config]:
        """See `Searcher.ask`."""
        if "configs" not in self.problem.options:
            return super().ask(n)
        chosen: list[Config] = []
        for config in self.problem.options["configs"]:
            # By its text, not by its places in lists, which an open space does not have.
            text = canonical_json(dict(config))
            if len(chosen) < n and text not in self._tried and self.space.why_invalid(config) is None:
                self._tried.add(text)
                chosen.append(config)
        return chosen

    def tell(self, observations: Sequence[Observation]) -> None:
        """See `Searcher.tell`."""
        if "configs" not in self.problem.options:
            super().tell(observations)
            return
        self._tried |= {canonical_json(dict(observation.config)) for observation in observations}

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Uniform draws."""
        return self.draw(n, rng)
