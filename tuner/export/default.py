"""What a kernel would be used with had nobody tuned it."""

from itertools import islice

from tuner.core.errors import InvalidSpace
from tuner.core.space import Config, SearchSpace


def default_config(space: SearchSpace) -> Config:
    """The configuration to compare a tuned one with: the middle of every list, or the nearest valid one.

    Of an open space the one it declares. Of a space too entangled to repair a configuration, the first valid.

    Raises:
        InvalidSpace: nothing is valid.
    """
    if space.default is not None:
        return space.default
    middle = {p.name: p.values[len(p.values) // 2 if p.ordinal else 0] for p in space.parameters}
    if space.why_invalid(middle) is None:
        return middle
    if space.exact:
        return space.nearest(middle)
    for config in islice(space, 1):
        return config
    raise InvalidSpace("no configuration meets the constraints")
