"""How int8 operators bring an int32 sum back to int8: options, tensors, inputs and reference of them all.

Affine quantization as ONNX's QLinearConv and QLinearMatMul have it (Jacob et al., Quantization and training
of neural networks for efficient integer-arithmetic-only inference, CVPR 2018): q stands for
scale * (q - zero point).
"""

import math
from collections.abc import Mapping

import numpy as np

from tuner.core.errors import InvalidWorkload
from tuner.core.special import extremes
from tuner.core.tensors import Tensors, TensorSpec
from tuner.core.workload import Option, Workload

SCALES = ("scale_tensor", "scale_channel")
ZERO_POINTS = "zero_points"
OPTIONS: Mapping[str, Option] = {**dict.fromkeys(SCALES, False), ZERO_POINTS: False}
# Standard deviation of a product of two integers drawn from all 256 of int8: 74^2.
_SPREAD = 5476


def scaled(workload: Workload) -> bool:
    """Whether the result is int8."""
    return any(workload.option(name, False) for name in SCALES)


def validate(workload: Workload) -> None:
    """Raises `InvalidWorkload` where scales or zero points have no int8 result to go into."""
    name = workload.operator
    given = [option for option in SCALES if workload.option(option, False)]
    if given and workload.dtype != "int8":
        raise InvalidWorkload(f"{name}: {given[0]} is for int8, not {workload.dtype}")
    if len(given) == 2:
        raise InvalidWorkload(f"{name}: scale_tensor and scale_channel exclude each other")
    if workload.option(ZERO_POINTS, False) and not given:
        raise InvalidWorkload(f"{name}: zero_points are of int8 results: add scale_tensor or scale_channel")


def specs(workload: Workload, channels: int) -> list[TensorSpec]:
    """float32 `scale`, (1,) or (channels,), and int32 `Z`, (2,), as far as the workload has them."""
    found = []
    if scaled(workload):
        count = channels if workload.option("scale_channel", False) else 1
        found.append(TensorSpec("scale", (count,), "float32"))
    if workload.option(ZERO_POINTS, False):
        found.append(TensorSpec("Z", (2,), "int32"))
    return found


def draw_into(tensors: Tensors, rng: np.random.Generator, length: int, factor: float = 1.0) -> None:
    """Scales such that results spread over int8, zero points in [-128, 127], in place of what was drawn.

    A sum of `length` products of two int8 times s / (5476 * sqrt(length)) has a standard deviation of s,
    drawn from [30, 60): some results saturate.

    Args:
        factor: of the sum.
    """
    if "scale" in tensors:
        spread = _SPREAD * math.sqrt(length) * max(1.0, abs(factor))
        tensors["scale"] = (rng.uniform(30, 60, tensors["scale"].shape) / spread).astype(np.float32)
    if "Z" in tensors:
        tensors["Z"] = rng.integers(-128, 128, 2, dtype=np.int32)


def extreme_zero_points(tensors: Tensors, seed: int) -> None:
    """Both ends of int8 as zero points, in place; which of them is whose changes with the seed."""
    if "Z" in tensors:
        ends = extremes("int8")
        tensors["Z"] = np.array(ends if seed % 2 else ends[::-1], np.int32)


def zero_of(inputs: Tensors) -> int:
    """The value that stands for 0 in the first operand: what padding has."""
    return int(inputs["Z"][0]) if "Z" in inputs else 0


def requantized(sums: np.ndarray, scale: np.ndarray, inputs: Tensors) -> np.ndarray:
    """clamp(round(f32(sum) * scale) + Z[1], -128, 127), ties to even.

    Args:
        sums: exact, bias and activation included; an integer in any type that holds it.
        scale: float32, broadcast against them.
        inputs: has `Z` where the workload has zero points.
    """
    rounded = np.rint(sums.astype(np.float32) * scale).astype(np.float64)
    moved: np.ndarray = np.clip(rounded + (int(inputs["Z"][1]) if "Z" in inputs else 0), -128, 127)
    return moved


def places(workload: Workload, channels: np.ndarray) -> dict[str, np.ndarray]:
    """Which elements of `scale` and `Z` an excerpt of these output channels needs, where there are any."""
    found = {}
    if scaled(workload):
        found["scale"] = channels if workload.option("scale_channel", False) else np.zeros(1, np.int64)
    if workload.option(ZERO_POINTS, False):
        found["Z"] = np.arange(2)
    return found
