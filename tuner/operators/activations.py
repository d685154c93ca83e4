"""Activations as options of an operator: what they compute in float64, and how they pass errors on."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from tuner.core.activations import ACTIVATIONS, activation_of
from tuner.core.errors import InvalidWorkload
from tuner.core.workload import Workload


def _silu(x: np.ndarray) -> np.ndarray:
    """x / (1 + e^-x), x times the logistic function; NaN of -inf."""
    with np.errstate(over="ignore"):
        found: np.ndarray = x / (1.0 + np.exp(-x))
    return found


_ERFC = np.frompyfunc(math.erfc, 1, 1)


def _gelu(x: np.ndarray) -> np.ndarray:
    """x times the standard normal distribution's share below x; NaN of -inf."""
    found: np.ndarray = x * (0.5 * np.asarray(_ERFC(x * -math.sqrt(0.5)), np.float64))
    return found


# relu6: Howard et al., MobileNets, arXiv:1704.04861, 2017; silu: Elfwing et al., Neural Networks 107, 2018;
# hardswish: Howard et al., Searching for MobileNetV3, ICCV 2019; gelu: Hendrycks and Gimpel,
# arXiv:1606.08415, 2016, by erf.
_COMPUTED: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0.0), 6.0),
    "silu": _silu,
    "hardswish": lambda x: x * (np.minimum(np.maximum(x + 3.0, 0.0), 6.0) / 6.0),
    "gelu": _gelu,
    "tanh": np.tanh,
}
# The largest absolute derivative: of silu 1.0998 at x = 2.4, of hardswish 3/2 at 3, of gelu 1.129 at sqrt 2.
_SLOPE = {"silu": 1.1, "hardswish": 1.5, "gelu": 1.13}


def validate(workload: Workload) -> None:
    """Raises `InvalidWorkload` where there are two, or one beyond ReLU of integers."""
    given = [name for name in ACTIVATIONS if workload.option(name, False)]
    if len(given) > 1:
        raise InvalidWorkload(f"{workload.operator}: {given[0]} and {given[1]} exclude each other")
    if given and given[0] != "relu" and workload.dtype == "int8":
        raise InvalidWorkload(f"{workload.operator}: {given[0]} is for floating-point results, not int8")


def applied(workload: Workload, x: np.ndarray) -> np.ndarray:
    """The activation of a workload in the array's own type; `x` where it has none."""
    name = activation_of(workload)
    with np.errstate(invalid="ignore"):  # special values
        return _COMPUTED[name](x) if name else x


def slope(workload: Workload) -> float:
    """How many times an error of its argument an activation's own error is, at most."""
    return _SLOPE.get(activation_of(workload), 1.0)


def curved(workload: Workload) -> bool:
    """Whether results may be much smaller than their arguments, as those of -3: where a library stores the
    argument first, its rounding shows."""
    return activation_of(workload) in _SLOPE
