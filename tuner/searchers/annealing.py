"""Simulated annealing on ratios of times (Kirkpatrick, Gelatt, Vecchi: Science 220, 1983)."""

import math
import random
from collections.abc import Iterable

from tuner.core.searcher import Observation, Problem
from tuner.core.space import Config
from tuner.searchers.base import TrackingSearcher

_HOT, _COLD = 0.5, 0.02
_STALLED = 20


class AnnealingSearcher(TrackingSearcher):
    """Walks from configuration to neighbour, taking a slower one with a probability that falls.

    A neighbour slower by a factor r is taken with probability r^(-1/T): the energy is the logarithm of
    the time, so that the schedule needs no knowledge of the kernel's times. T falls geometrically from 0.5
    (1.4x slower: one in two) to 0.02 (1.4x: never) over the budget; without a budget, over 200 trials. After
    20 outcomes without a move the walk goes back to the best configuration.
    """

    name = "annealing"
    summary = "simulated annealing over single-parameter changes"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._here: Observation | None = None
        self._best: Observation | None = None
        self._stalled = 0

    @property
    def temperature(self) -> float:
        """T at the present number of observations."""
        share = min(1.0, self._told / max(1, self.problem.budget or 200))
        return float(_HOT * (_COLD / _HOT) ** share)

    def observe(self, observation: Observation) -> None:
        """Accepts or refuses a move; a failure is never accepted."""
        self._stalled += 1
        time_s = observation.value
        if time_s is None:
            return
        if self._best is None or time_s < (self._best.value or math.inf):
            self._best = observation
        here_s = self._here.value if self._here is not None else None
        # Drawn from the place in the sequence, so that a resumed walk makes the same choices.
        chance = random.Random(f"accept/{self.problem.seed}/{self._told}").random()
        if here_s is None or chance < (here_s / time_s) ** (1 / self.temperature):
            self._here, self._stalled = observation, 0
        elif self._stalled >= _STALLED:
            self._here, self._stalled = self._best, 0

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Unseen neighbours of where the walk stands, two changes away where one is used up."""
        if self._here is None:
            return self.draw(n, rng)
        near = list(self.nearby(self._here.config, rng))
        if len(near) < n:
            for config in rng.sample(
                ring := list(self.space.neighbours(self._here.config)), min(4, len(ring))
            ):
                near += self.nearby(config, rng)
        return near
