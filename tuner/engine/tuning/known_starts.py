"""Configurations that were good at other shapes, shipped with the lab: where a sweep may begin.

`schedules/starts.toml` has a few of a kernel and element type, which together were close to the best at many
shapes; `python -m tuner.lab.find_starts` chooses them from databases. They are proposals and no more: each is
measured like any other, and a wrong one costs a trial.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from tuner.core.default_config import default_config
from tuner.core.errors import InvalidSpace
from tuner.core.kernel import Kernel
from tuner.core.places import SCHEDULES
from tuner.core.space import Config, Parameter, SearchSpace, Value
from tuner.core.toml_text import parse_toml
from tuner.core.workload import Workload
from tuner.engine.tuning.starting import Starts, most_starts

FILE = SCHEDULES / "starts.toml"


@cache
def shipped() -> Mapping[str, Mapping[str, list[dict[str, Any]]]]:
    """What the file has: kernel, element type, configurations, which may leave parameters out."""
    return parse_toml(FILE.read_text())


def known_starts(kernel: Kernel, workload: Workload, space: SearchSpace, budget: int | None) -> Starts:
    """The shipped configurations of a kernel, each moved to the nearest valid one of this space.

    Args:
        kernel, workload, space: of the sweep.
        budget: trials of the sweep, where it has such a bound; a third of them at most.
    """
    of_kernel = shipped().get(kernel.name, {})
    # A kernel of f32 that converts halves on their way in computes with them as with f32.
    like = "f32" if workload.dtype in ("f16", "bf16") and workload.dtype not in of_kernel else workload.dtype
    given = of_kernel.get(like, ())
    if not given:
        return Starts()
    default = default_config(space)
    found: dict[tuple[int, ...], Config] = {}
    for config in given:
        if (moved := fitted(space, config, default)) is not None:
            found.setdefault(space.indices(moved), moved)
    configs = tuple(found.values())[: most_starts(budget)]
    other = "" if like == workload.dtype else f", of {like}"
    return Starts(
        configs, why=f"starts from {len(configs)} configurations that were good at other shapes{other}"
    )


def fitted(space: SearchSpace, config: Config, default: Config) -> dict[str, Value] | None:
    """The valid configuration nearest to one of another shape or machine; `None` where none can be found.

    Args:
        space: to find it in.
        config: values that may not be in this space's lists, or break its constraints.
        default: of the space; what the configuration leaves out is as there.
    """
    values = {p.name: _nearest(p, config.get(p.name, default[p.name]), default) for p in space.parameters}
    try:
        return space.nearest(values)
    except InvalidSpace:
        return None


def _nearest(parameter: Parameter, value: Value, default: Config) -> Value:
    """A value of the parameter's list; the default's where a text is not among them."""
    if value in parameter.values:
        return value
    if parameter.ordinal and isinstance(value, int | float):
        numbers = [v for v in parameter.values if isinstance(v, int | float)]
        return min(numbers, key=lambda each: abs(each - value))
    return default[parameter.name]
