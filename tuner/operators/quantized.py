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
RESIDUAL = "quantized_residual"
"""int8 numbers added to the int8 result, as ONNX Runtime's QLinearAdd does behind a QLinearConv."""
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
    if workload.option(RESIDUAL, False) and not given:
        raise InvalidWorkload(
            f"{name}: quantized_residual is added to int8 results: add scale_tensor or scale_channel"
        )


def _zeros(workload: Workload) -> int:
    """Elements of `Z`."""
    return 3 if workload.option(RESIDUAL, False) else 2


def specs(workload: Workload, channels: int) -> list[TensorSpec]:
    """float32 `scale`, (1,) or (channels,), int32 `Z`, (2,) or with a quantized residual (3,), and float32
    `ratios`, (3,), of such a residual, as far as the workload has them."""
    found = []
    if scaled(workload):
        count = channels if workload.option("scale_channel", False) else 1
        found.append(TensorSpec("scale", (count,), "float32"))
    if workload.option(ZERO_POINTS, False):
        found.append(TensorSpec("Z", (_zeros(workload),), "int32"))
    if workload.option(RESIDUAL, False):
        found.append(TensorSpec("ratios", (3,), "float32"))
    return found


def draw_into(tensors: Tensors, rng: np.random.Generator, length: int, factor: float = 1.0) -> None:
    """Scales such that results spread over int8, zero points in [-128, 127], in place of what was drawn.

    A sum of `length` products of two int8 times s / (5476 * sqrt(length)) has a standard deviation of s,
    drawn from [30, 60): some results saturate. Of a quantized residual both ratios lie in [1/4, 1).

    Args:
        factor: of the sum.
    """
    if "scale" in tensors:
        spread = _SPREAD * math.sqrt(length) * max(1.0, abs(factor))
        tensors["scale"] = (rng.uniform(30, 60, tensors["scale"].shape) / spread).astype(np.float32)
    if "Z" in tensors:
        tensors["Z"] = rng.integers(-128, 128, tensors["Z"].shape, dtype=np.int32)
    if "ratios" in tensors:
        tensors["ratios"] = np.array([*rng.uniform(0.25, 1, 2), rng.uniform(-40, 40)], np.float32)


def extremes_into(tensors: Tensors, seed: int) -> None:
    """Both ends of int8 as zero points, in place; which of them is whose changes with the seed. Sums with a
    residual of which every other one lies in the middle between two integers, or beyond both ends of int8."""
    if "Z" in tensors:
        ends = extremes("int8")
        tensors["Z"] = np.resize(ends if seed % 2 else ends[::-1], tensors["Z"].shape).astype(np.int32)
    if "ratios" in tensors:
        tensors["ratios"] = np.array([0.5, 0.5, 0] if seed % 2 else [1.5, 3, -0.5], np.float32)


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


def with_residual(first: np.ndarray, residual: np.ndarray, inputs: Tensors, relu: bool) -> np.ndarray:
    """clamp(round(fused(first, ratios[0], fused(residual, ratios[1], ratios[2]))), low, 127), ties to even.

    Args:
        first: int8 results before the sum, in any type that holds them.
        residual: int8, in the order of `first`.
        inputs: `ratios`, and `Z` where the workload has zero points.
        relu: whether low is Y's zero point, Z[2], and not -128.
    """
    by_first, by_residual, added = inputs["ratios"]
    total = fused(first, by_first, fused(residual, by_residual, added))
    low = (int(inputs["Z"][2]) if "Z" in inputs else 0) if relu else -128
    found: np.ndarray = np.clip(np.rint(total), low, 127).astype(np.float64)
    return found


def fused(a: np.ndarray, b: np.float32, c: np.ndarray | np.float32) -> np.ndarray:
    """f32(a * b + c), rounded once: IEEE 754's fusedMultiplyAdd of finite f32 numbers.

    The product of two f32 is exact in f64. The sum is rounded to odd there (to the one of both neighbours
    whose last bit is set), after which rounding to f32 is that of the exact sum: Boldo and Melquiond,
    Emulation of a FMA and correctly rounded sums, IEEE Transactions on Computers 57(4), 2008.
    """
    product, addend = np.asarray(a, np.float64) * np.float64(b), np.asarray(c, np.float64)
    total = np.asarray(product + addend)
    rest = total - product
    error = (product - (total - rest)) + (addend - rest)  # of the sum, exact (Knuth's TwoSum)
    even = total.view(np.int64) % 2 == 0
    odd = np.where((error != 0) & even, np.nextafter(total, np.copysign(np.inf, error)), total)
    found: np.ndarray = odd.astype(np.float32)
    return found


def places(workload: Workload, channels: np.ndarray) -> dict[str, np.ndarray]:
    """Which elements of `scale`, `Z` and `ratios` an excerpt of these output channels needs."""
    found = {}
    if scaled(workload):
        found["scale"] = channels if workload.option("scale_channel", False) else np.zeros(1, np.int64)
    if workload.option(ZERO_POINTS, False):
        found["Z"] = np.arange(_zeros(workload))
    if workload.option(RESIDUAL, False):
        found["ratios"] = np.arange(3)
    return found
