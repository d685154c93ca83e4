"""What every searcher shares: what is taken, seeded randomness, what to fall back on."""

import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.measurement import Status
from tuner.core.searcher import Observation, Problem, Searcher
from tuner.core.space import Config, SearchSpace, Value
from tuner.searchers.disturbed import Withheld

Key = tuple[int, ...]


class TrackingSearcher(Searcher):
    """A searcher that proposes no configuration twice and draws its randomness afresh for every `ask`.

    The generator of an `ask` is seeded from the searcher's name, the problem's seed, how many observations
    were told and how many proposals are still out. No generator state lives between two calls, so a
    searcher rebuilt by `tell` goes on with the very proposals the killed one would have made.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.space: SearchSpace = problem.space
        self._told = 0
        self._seen: set[Key] = set()
        self._out: set[Key] = set()
        self._withheld = Withheld()

    def key(self, config: Config) -> Key:
        """The place of each value in its list: hashable and the same for equal configurations."""
        return self.space.indices(config)

    def unseen(self, config: Config) -> bool:
        """Whether a valid configuration was neither told nor asked."""
        return self.key(config) not in self._seen

    @property
    def left(self) -> int | None:
        """How many valid configurations are still unseen; `None` where the space does not count them."""
        size = self.space.size
        return None if size is None else size - len(self._seen)

    def ask(self, n: int) -> list[Config]:
        """See `Searcher.ask`; what the strategy leaves open is filled with uniform unseen configurations."""
        chosen: list[Config] = []
        if n < 1 or self.left == 0:
            return chosen
        rng = random.Random(f"{self.name}/{self.problem.seed}/{self._told}/{len(self._out)}")
        for config in self.propose(n, rng):
            if len(chosen) < n and self.unseen(config):
                self.reserve(config)
                chosen.append(config)
        for config in self.draw(n - len(chosen), rng):
            self.reserve(config)
            chosen.append(config)
        return chosen

    def reserve(self, config: Config) -> None:
        """Marks a configuration as being tried by somebody: not proposed again, its outcome to come."""
        self._seen.add(self.key(config))
        self._out.add(self.key(config))

    def tell(self, observations: Sequence[Observation]) -> None:
        """See `Searcher.tell`; a configuration outside the space teaches nothing and is passed over."""
        for observation in observations:
            learned = observation.measurement.status is not Status.ENVIRONMENT
            self._told += learned
            try:
                key = self.key(observation.config)
            except InvalidConfig:
                continue
            self._seen.add(key)
            self._out.discard(key)
            if learned and self.space.why_invalid(observation.config) is None:
                for each in self._withheld.admit(observation):
                    self.observe(each)

    @abstractmethod
    def propose(self, n: int, rng: random.Random) -> Iterable[Config]:
        """Valid configurations, the most wanted first; seen ones among them are skipped."""

    def observe(self, observation: Observation) -> None:
        """Learns from one outcome of a valid configuration; nothing by default. Disturbed times come late, or
        not at all: see `Withheld`."""

    def draw(self, n: int, rng: random.Random) -> list[dict[str, Value]]:
        """Up to `n` distinct unseen configurations, uniformly, without listing the space."""
        if n < 1:
            return []
        size = self.space.size
        # Once half of the space is seen, listing it costs less than two draws a seen configuration.
        if size is not None and size <= 2 * (len(self._seen) + n):
            rest = [config for config in self.space if self.unseen(config)]
            return rng.sample(rest, min(n, len(rest)))
        found: dict[Key, dict[str, Value]] = {}
        for _ in range(20 * n + 200):
            try:
                config = self.space.sample(rng)
            except InvalidSpace:
                break  # too rare to meet by chance
            key = self.key(config)
            if key not in self._seen:
                found.setdefault(key, config)
            if len(found) == n:
                return list(found.values())
        # An entangled space whose valid ones are rare or nearly all seen: the next ones in order.
        rest_ = (c for c in self.space if self.unseen(c) and self.key(c) not in found)
        return [*found.values(), *islice(rest_, n - len(found))]

    def repair(self, config: Config, rng: random.Random) -> dict[str, Value]:
        """The valid configuration nearest to one that may break constraints.

        Exact where the space numbers its configurations; otherwise the nearest of 64 random valid ones.
        """
        if self.space.exact or self.space.why_invalid(config) is None:
            return self.space.nearest(config)
        target = self.key(config)
        pool = [self.space.sample(rng) for _ in range(64)]
        return min(pool, key=lambda c: self._distance(self.key(c), target))

    def _distance(self, one: Key, other: Key) -> float:
        """The measure `SearchSpace.nearest` minimises."""
        total = 0.0
        for p, a, b in zip(self.space.parameters, one, other, strict=True):
            total += abs(a - b) / len(p.values) if p.ordinal else float(a != b)
        return total

    def nearby(self, config: Config, rng: random.Random) -> Iterator[dict[str, Value]]:
        """Unseen neighbours of a valid configuration: one step away first, in random order."""
        for reach in (1, None):
            ring = [c for c in self.space.neighbours(config, reach) if self.unseen(c)]
            rng.shuffle(ring)
            yield from ring
