"""Which configurations a model scores: all of a space that can be listed, else a pool worth scoring."""

import random
from collections.abc import Iterator, Sequence

import numpy as np

from tuner.core.errors import InvalidSpace
from tuner.core.space import SearchSpace

# 30,000 candidates times 450 observations in float32: 54 MB, and about 20 ms a proposal.
LISTED_AT_MOST = 30_000
_RANDOM = 2_000
_LEADERS = 8
_NEAR_A_LEADER = 200


class Candidates:
    """The rows of value indices a model scores.

    Where the space has at most `LISTED_AT_MOST` valid configurations they are all there, always. Otherwise
    `renew` gathers the surroundings of the best configurations so far (all at one change, a sample of those
    at two), what is asked to be there always, and uniform draws.
    """

    def __init__(self, space: SearchSpace, always: Sequence[tuple[int, ...]] = ()) -> None:
        self._space = space
        self._always = always
        self.complete = space.size is not None and space.size <= LISTED_AT_MOST
        self.rows = np.zeros((0, len(space.parameters)), dtype=np.int32)
        if self.complete:
            self._set(list(space.index_rows()))

    def _set(self, keys: Sequence[tuple[int, ...]]) -> None:
        self.rows = np.array(keys, dtype=np.int32).reshape(len(keys), len(self._space.parameters))
        self.place = {key: i for i, key in enumerate(keys)}

    def renew(self, leaders: Sequence[tuple[int, ...]], rng: random.Random) -> None:
        """Gathers the pool anew around the best configurations, best first; nothing where all are in."""
        if self.complete:
            return
        found: dict[tuple[int, ...], None] = dict.fromkeys([*leaders, *self._always])
        for leader in leaders[:_LEADERS]:
            ring = list(self._neighbours(leader))
            found.update(dict.fromkeys(ring))
            for _ in range(_NEAR_A_LEADER if ring else 0):
                second = self._changed(rng.choice(ring), rng)
                if second is not None:
                    found[second] = None
        for _ in range(_RANDOM):
            try:
                found[self._space.indices(self._space.sample(rng))] = None
            except InvalidSpace:
                break
        self._set(list(found))

    def _neighbours(self, key: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        config = {p.name: p.values[i] for p, i in zip(self._space.parameters, key, strict=True)}
        for neighbour in self._space.neighbours(config):
            yield self._space.indices(neighbour)

    def _changed(self, key: tuple[int, ...], rng: random.Random) -> tuple[int, ...] | None:
        """The key with one parameter drawn anew; `None` if that breaks a constraint."""
        place = rng.randrange(len(key))
        parameter = self._space.parameters[place]
        changed = (*key[:place], rng.randrange(len(parameter.values)), *key[place + 1 :])
        config = {p.name: p.values[i] for p, i in zip(self._space.parameters, changed, strict=True)}
        return changed if self._space.why_invalid(config) is None else None
