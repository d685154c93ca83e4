"""The activation of a tile of results, for Triton kernels of several operators."""

import triton
import triton.language as tl


@triton.jit
def activated(value, ACTIVATION: tl.constexpr):
    """By its name in `tuner.core.activations`, or none. A NaN stays one: comparisons with it are false, and
    what they choose is the value."""
    if ACTIVATION == "relu" or ACTIVATION == "relu6":
        value = tl.where(value < 0, 0, value)
    if ACTIVATION == "relu6":
        value = tl.where(value > 6, 6, value)
    if ACTIVATION == "silu":
        value = value / (1.0 + tl.exp(-value))
    if ACTIVATION == "hardswish":
        gate = value + 3.0
        gate = tl.where(gate < 0, 0, gate)
        value = value * (tl.where(gate > 6, 6, gate) * (1.0 / 6.0))
    if ACTIVATION == "gelu":
        value = value * (0.5 + 0.5 * tl.erf(value * 0.7071067811865476))
    if ACTIVATION == "tanh":
        value = 2.0 / (1.0 + tl.exp(-2.0 * value)) - 1.0
    return value
