"""Which configurations a model scores: all of a space that can be listed, else a pool worth scoring."""

import random
from collections.abc import Iterator, Sequence

import numpy as np

from tuner.core.errors import InvalidSpace
from tuner.core.space import SearchSpace

# 30,000 candidates times 450 observations in float32: 54 MB, and about 20 ms a proposal.
LISTED_AT_MOST = 30_000
_UNIFORM = 3_000
_UNIFORM_ENTANGLED = 300  # rejection: each may cost thousands of draws
_FRESH = 200
_LEADERS = 8
_NEAR_A_LEADER = 100

Key = tuple[int, ...]


class Candidates:
    """The rows of value indices a model scores.

    Where the space has at most `LISTED_AT_MOST` valid configurations they are all there, always. Otherwise
    `renew` gathers the surroundings of the best configurations so far (all at one change, a sample of those
    at two), what is asked to be there always, uniform draws made once, and a few fresh ones.
    """

    def __init__(self, space: SearchSpace, seed: int, always: Sequence[Key] = ()) -> None:
        self._space = space
        self._seed = seed
        self._always = always
        self._uniform: list[Key] | None = None
        self.complete = space.size is not None and space.size <= LISTED_AT_MOST
        self.rows = np.zeros((0, len(space.parameters)), dtype=np.int32)
        if self.complete:
            self._set(list(space.index_rows()))

    def _set(self, keys: Sequence[Key]) -> None:
        self.rows = np.array(keys, dtype=np.int32).reshape(len(keys), len(self._space.parameters))
        self.place = {key: i for i, key in enumerate(keys)}

    def renew(self, leaders: Sequence[Key], rng: random.Random) -> None:
        """Gathers the pool anew around the best configurations, best first; nothing where all are in."""
        if self.complete:
            return
        found: dict[Key, None] = dict.fromkeys([*leaders, *self._always])
        for leader in leaders[:_LEADERS]:
            ring = list(self._neighbours(leader))
            found.update(dict.fromkeys(ring))
            for _ in range(_NEAR_A_LEADER if ring else 0):
                second = self._changed(rng.choice(ring), rng)
                if second is not None:
                    found[second] = None
        if self._uniform is None:
            count = _UNIFORM if self._space.exact else _UNIFORM_ENTANGLED
            self._uniform = self._draws(count, random.Random(f"uniform/{self._seed}"))
        found.update(dict.fromkeys(self._uniform))
        found.update(dict.fromkeys(self._draws(_FRESH if self._space.exact else 20, rng)))
        self._set(list(found))

    def _draws(self, count: int, rng: random.Random) -> list[Key]:
        drawn = []
        for _ in range(count):
            try:
                drawn.append(self._space.indices(self._space.sample(rng)))
            except InvalidSpace:
                break  # too rare to meet by chance
        return drawn

    def _neighbours(self, key: Key) -> Iterator[Key]:
        config = {p.name: p.values[i] for p, i in zip(self._space.parameters, key, strict=True)}
        for neighbour in self._space.neighbours(config):
            yield self._space.indices(neighbour)

    def _changed(self, key: Key, rng: random.Random) -> Key | None:
        """The key with one parameter drawn anew; `None` if that breaks a constraint."""
        place = rng.randrange(len(key))
        parameter = self._space.parameters[place]
        changed = (*key[:place], rng.randrange(len(parameter.values)), *key[place + 1 :])
        config = {p.name: p.values[i] for p, i in zip(self._space.parameters, changed, strict=True)}
        return changed if self._space.why_invalid(config) is None else None
