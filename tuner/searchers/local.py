"""Local search with restarts: the best of many starts, each walked down to where no neighbour is faster."""

import random
from collections.abc import Iterable

from tuner.core.searcher import Observation, Problem
from tuner.core.space import Config
from tuner.searchers.base import Key, TrackingSearcher


class LocalSearcher(TrackingSearcher):
    """First-improvement descent over single-parameter changes, restarted at random.

    Neighbours of the present centre are tried one step away first, in random order; one that is faster
    becomes the centre at once. When all are seen the search starts anew at a random unseen configuration.
    A failure is slower than everything. The centre follows from the observations alone, so an outcome told
    without having been asked moves it too.
    """

    name = "local"
    summary = "first-improvement local search over single-parameter changes, with random restarts"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._centre: Config | None = None
        self._centre_s = float("inf")
        self._ring: set[Key] = set()

    def observe(self, observation: Observation) -> None:
        """Moves to a faster neighbour, or, when all neighbours are known, to the next success."""
        key, time_s = self.key(observation.config), observation.value
        if time_s is None:
            return
        if key in self._ring:
            if time_s >= self._centre_s:
                return
        elif self._centre is not None and not self._ring <= self._seen - self._out:
            return  # an outcome from elsewhere, while neighbours are still to be tried
        self._centre, self._centre_s = observation.config, time_s
        self._ring = {self.key(c) for c in self.space.neighbours(observation.config)}

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Unseen neighbours; random ones once there are none."""
        if self._centre is not None:
            near = list(self.nearby(self._centre, rng))
            if near:
                return near[:n]
        return self.draw(n, rng)
