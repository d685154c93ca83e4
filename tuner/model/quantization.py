"""How integers of 8 bits stand for numbers: a tensor's scale and zero point, and a layer's together."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SHIFT = 128
"""uint8 is carried as int8: 128 is taken off each value, and off the zero point, which changes no number."""

BYTES = frozenset(("int8", "uint8"))
"""Types of such integers."""

LARGEST_FACTOR = 2.0**20
"""Kernels multiply integers by ratios of scales; larger ones are of no model and may be infinite."""

MOVERS = frozenset(
    ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split", "MaxPool")
)
"""What moves values of its first input, or takes the largest of some: scale and zero point stay theirs."""


@dataclass(frozen=True)
class Linear:
    """A tensor of 8-bit integers q that stand for scale * (q - zero) (ONNX's DequantizeLinear).

    Attributes:
        value: name in the graph.
        scale: f32, one element, or one a channel.
        zero: of the values as int8; of weights 0.
        unsigned: whether the graph's values are uint8, from which `SHIFT` is to be taken.
        computed: name of the zero point where each run computes it; `zero` is then not it.
    """

    value: str
    scale: np.ndarray
    zero: int
    unsigned: bool
    computed: str = ""


@dataclass(frozen=True)
class Quantization:
    """How an int8 layer's integers stand for numbers.

    Attributes:
        x, w: factors; `w` is what has scales of channels.
        y: result; `None` where it is the int32 sum itself.
        bias: constant that is added to each channel; empty for none.
        bias_scale: flat, what its int32 values are to be multiplied with; `None`: they are in steps of the
            sum, or f32 numbers.
        along: axis of the output's channels in the graph's weights.
        residual: what is added to the result `y`, in integers; `None` for nothing.
        total: how the integers of that sum stand for numbers.
    """

    x: Linear
    w: Linear
    y: Linear | None
    bias: str = ""
    bias_scale: np.ndarray | None = None
    along: int = 0
    residual: Linear | None = None
    total: Linear | None = None

    @property
    def step(self) -> np.ndarray:
        """What 1 of the sum stands for: f32, one or one a channel."""
        found: np.ndarray = self.x.scale * self.w.scale
        return found

    @property
    def multiplier(self) -> np.ndarray:
        """From the sum to the result, f32, rounded as ONNX Runtime does: x * w, then divided by y."""
        assert self.y is not None
        with np.errstate(over="ignore", under="ignore"):
            found: np.ndarray = (self.step / self.y.scale).astype(np.float32)
        return found


def sum_factors(
    terms: Iterable[tuple[float, float]], scale: float, zero: float
) -> tuple[list[np.float32], np.float32]:
    """How ONNX Runtime's QLinearAdd sums quantized numbers: the factor of each, and what is added.

    Args:
        terms: scale and zero point of each.
        scale, zero: of the sum.
    """
    factors, added = list[np.float32](), np.float32(zero)
    for its_scale, its_zero in terms:
        factors.append(np.float32(its_scale) / np.float32(scale))
        added -= factors[-1] * np.float32(its_zero)
    return factors, added
