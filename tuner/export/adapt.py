"""A configuration at a shape it was not tuned for."""

from functools import lru_cache

from tuner import registry
from tuner.core.errors import InvalidConfig, InvalidSpace, InvalidWorkload
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.export.matrix import Adapt


def adapter(target: Target) -> Adapt:
    """The function that `read_matrix` takes, for kernels that are registered, on this target."""

    @lru_cache(maxsize=512)
    def space_of(name: str, workload: Workload) -> SearchSpace | None:
        kernel = registry.kernels().get(name)
        if kernel is None or kernel.unsupported(workload, target):
            return None
        try:
            return kernel.space(workload, target)
        except (InvalidSpace, InvalidWorkload):
            return None

    def adapt(name: str, workload: Workload, config: Config) -> Config | None:
        space = space_of(name, workload)
        if space is None:
            return None
        try:
            return dict(config) if space.why_invalid(config) is None else space.nearest(config)
        except (InvalidConfig, InvalidSpace):
            return None

    return adapt
