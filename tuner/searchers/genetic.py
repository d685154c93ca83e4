"""A steady-state genetic algorithm on valid configurations (Holland 1975; Syswerda 1991)."""

import random
from collections.abc import Iterable

from tuner.core.searcher import Observation, Problem
from tuner.core.space import Config, Value
from tuner.searchers.base import TrackingSearcher

_POPULATION = 20
_ATTEMPTS = 30


class GeneticSearcher(TrackingSearcher):
    """Children of tournament winners: uniform crossover, one mutation on average, repaired to be valid.

    The population are the fastest 20 configurations so far, so that nothing good is ever lost and
    failures, which have no time, have no children. A child that breaks a constraint becomes the nearest valid
    configuration; one that is seen already is bred again.
    """

    name = "genetic"
    summary = "steady-state genetic algorithm, children repaired to be valid"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._population: list[tuple[float, int, Config]] = []
        self._first = max(4, min(_POPULATION, (problem.budget or 100) // 5))

    def observe(self, observation: Observation) -> None:
        """Keeps the fastest."""
        if observation.value is not None:
            self._population.append((observation.value, self._told, observation.config))
            self._population.sort(key=lambda member: member[:2])
            del self._population[_POPULATION:]

    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Children; random configurations until enough is known, and where breeding finds nothing new."""
        if self._told < self._first or len(self._population) < 2:
            return self.draw(n, rng)
        chosen: list[Config] = []
        taken = set(self._seen)
        for _ in range(_ATTEMPTS * n):
            child = self.repair(self._child(rng), rng)
            if self.key(child) not in taken:
                taken.add(self.key(child))
                chosen.append(child)
            if len(chosen) == n:
                break
        return chosen

    def _child(self, rng: random.Random) -> dict[str, Value]:
        mother, father = (self._winner(rng) for _ in range(2))
        child = {p.name: (mother if rng.random() < 0.5 else father)[p.name] for p in self.space.parameters}
        free = [p for p in self.space.parameters if len(p.values) > 1]
        for p in free:
            if rng.random() < 1.0 / len(free):
                child[p.name] = rng.choice(p.values)
        return child

    def _winner(self, rng: random.Random) -> Config:
        contest = rng.sample(self._population, min(3, len(self._population)))
        return min(contest, key=lambda member: member[:2])[2]
