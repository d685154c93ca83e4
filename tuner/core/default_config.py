"""A kernel's default: what it would be used with had nobody tuned it. The lab has this one notion of it."""

from itertools import islice

from tuner.core.errors import InvalidSpace
from tuner.core.space import Config, SearchSpace


def default_config(space: SearchSpace, given: Config | None = None) -> Config:
    """The default configuration of a kernel for a workload: what a user named, else the first valid one.

    The first in the order of the kernel's lists, so their author chooses it; an open space has no lists and
    declares its own.

    Args:
        space: the kernel's, for the workload.
        given: what a user named (`--default`); `None` for nothing.

    Raises:
        InvalidConfig: what was given is no configuration of the space.
        InvalidSpace: nothing is valid.
    """
    if given is not None:
        return space.check(given)
    if space.default is not None:
        return space.default
    for config in islice(space, 1):
        return config
    raise InvalidSpace("no configuration meets the constraints")
