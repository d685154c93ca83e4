"""What operators share about dtypes: storage, random inputs, and the rounding error of sums of products."""

import math

import numpy as np

from tuner.core.dtypes import BFLOAT16, E4M3, E5M2
from tuner.core.tensors import TensorSpec
from tuner.core.workload import FLOATS_OF_8_BITS

STORAGE = {"f32": ("float32", "float32"), "f16": ("float16", "float16"), "int8": ("int8", "int32"),
           "bf16": ("bfloat16", "bfloat16"), "tf32": ("float32", "float32"),
           "e4m3": (E4M3, BFLOAT16), "e5m2": (E5M2, BFLOAT16)}  # fmt: skip
"""NumPy dtypes of the operands, and of addends and results, by a workload's dtype."""
U32, U16, UB16 = 2.0**-24, 2.0**-11, 2.0**-8
"""Unit roundoff: half the distance from 1 to the next number (IEEE 754: 24 and 11 bits of significand;
bfloat16 has 8)."""
# tf32 has 11 bits of significand; what is cut off and not rounded is up to twice the unit roundoff.
_TF32_CUT = 2.0**-10
# Products that tensor cores add up at once, and to what they cut them off: see `_on_tensor_cores`.
_FP8_DEPTH, _FP8_CUT = 32, 2.0**-13
_SPREAD = 1 / 3
"""Standard deviation of a product of two inputs from `draw`."""
INT8_ADDEND = 1024
"""int32 addends (bias, C) of int8 workloads lie in [-1024, 1024)."""
F16_LARGEST = 65504.0
TF32_LARGEST = (2 - 2.0**-10) * 2.0**127
"""Larger finite numbers of f32 are infinite once rounded to tf32."""


def draw(spec: TensorSpec, rng: np.random.Generator) -> np.ndarray:
    """A random input: uniform on [-1, 1), of mean 0 and variance 1/3; integers over their whole range.

    Sums of `n` products then stay near sqrt(n)/3. int8 takes all 256 values, int32 [-1024, 1024).
    """
    if spec.dtype == "int8":
        return rng.integers(-128, 128, spec.shape, dtype=np.int8)
    if spec.dtype == "int32":
        return rng.integers(-INT8_ADDEND, INT8_ADDEND, spec.shape, dtype=np.int32)
    values = rng.random(spec.shape, dtype=np.float32) * np.float32(2) - np.float32(1)
    return values.astype(spec.dtype, copy=False)


def sum_tolerance(
    dtype: str,
    length: int,
    result: np.ndarray,
    largest: float,
    scale: float = 1.0,
    epilogue: bool = False,
    accumulator: str = "f32",
) -> np.ndarray:
    """The error allowed to `scale` times a sum of `length` products of floating-point inputs from `draw`.

    8 standard deviations of the rounding error of a sequential sum, and the last roundings. Products of
    two uniforms on [-1, 1) have variance s^2 = 1/9. Step i of a sequential sum rounds a partial sum of
    standard deviation s*sqrt(i), with a relative error of at most u that acts as independent and of mean
    0 (the model of Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J.
    Sci. Comput. 41(5), 2019), so the total has a standard deviation of at most u*s*sqrt(1 + 2 + ... + n)
    ~ u*s*n/sqrt(2). Blocked and fused sums err less. Epilogue and storage each round once more: 4u of the
    largest term. For f32 and n = 1024: 8 * 6e-8 * 1/3 * 1024 / 1.41 = 1.2e-4, against 0.25 on average
    for one skipped product.

    f16 and bf16 sum in f32 (u = 2^-24, and tensor cores truncate where a CPU rounds: Fasi, Higham, Mikaitis,
    Pranesh, Numerical behavior of NVIDIA tensor cores, PeerJ CS 2021, hence u doubled) and round to
    11 bits, or 8, when the result is stored: half a unit in its last place is at most 2^-11 (2^-8) of it. A
    library that stores the sum before it adds the epilogue rounds twice, so twice that, and with an epilogue
    2^-11 of the largest term more. For n = 1024 and a result of 10: 1e-2.

    tf32 and 8-bit floats err more, and f32 as three products of tf32 would: `_on_tensor_cores`. 8-bit
    floats are stored as bf16.

    A result of more than 8 times `largest` is none of random inputs: one product of special ones outweighs
    all others, and up to n partial sums of its size are rounded, independently: 8u*sqrt(n) of it more.

    Args:
        dtype: of the workload, a floating-point one.
        length: products in a sum.
        result: the reference, float64.
        largest: a bound on the terms of the epilogue and the typical size of the sum.
        scale: the sum's factor.
        epilogue: whether anything is added to the sum.
        accumulator: the type that partial sums are rounded to: `f32`, `f16` (u = 2^-11) or `bf16` (2^-8).
    """
    u = U32 if dtype == "f32" else 2 * U32
    u = {"f16": U16, "bf16": 2.0**-8}.get(accumulator, u)
    size = np.abs(result)
    tolerance = 8 * u * scale * (length + 1) / (3 * math.sqrt(2)) + 4 * u * (size + largest)
    if accumulator == "f32":
        tolerance = tolerance + _on_tensor_cores(dtype, length, scale, size)
    outliers = size > 8 * largest
    if outliers.any():
        tolerance = tolerance + np.where(outliers, 8 * u * math.sqrt(length) * size, 0.0)
    if dtype == "f16":
        # 2^-25 is half the spacing of f16 numbers around 0.
        tolerance = tolerance + U16 * (2 * size + (largest if epilogue else 0.0)) + 2.0**-25
    if dtype in ("bf16", *FLOATS_OF_8_BITS):
        tolerance = tolerance + UB16 * (2 * size + (largest if epilogue else 0.0))
    return np.asarray(tolerance)


def _on_tensor_cores(dtype: str, length: int, scale: float, size: np.ndarray) -> np.ndarray:
    """What `scale` times a sum of `length` products of tf32 or 8-bit floats may err more than of others.

    tf32: each factor is cut to 11 bits of significand (the PTX ISA leaves open what becomes of the others):
    2 * 2^-10 of the result, and 8 standard deviations of n errors of 2^-10 of a product.

    e4m3, e5m2: on compute capability 8.9 and 9.0, 32 products at a time and the sum are aligned, cut to 13
    bits of fraction and added (Zhang, Huang, Zhang, Wei, Zhu, Chen: SageAttention2, ICML 2025; DeepSeek-V3
    Technical Report, 2024, 3.3.2). Of the running sum, s*sqrt(32 i) with s = 1/3, up to 2^-13 is lost each
    time, always towards zero: (2/3) * (n/32)^1.5 * s*sqrt(32) of 2^-13 together, of which twice as much is
    allowed. Products, of 1 at most, lose as much with a sign of their own: 8 standard deviations of
    sqrt(n/12).

    f32 as three products of tf32 (3xTF32) gets no more. Summed by tensor cores alone it is not so
    accurate: 3n/8 times they cut off up to 2u of a sum of s*sqrt(i), always towards zero, n^1.5 * u*s/2 at
    most together, more than is allowed from n = 500 on. So kernels sum a tile's depth there, and tiles by
    additions that round (Ootomo, Yokota: Recovering single precision accuracy from Tensor Cores while
    surpassing the FP32 theoretical peak performance, IJHPCA 2022).
    """
    if dtype == "tf32":
        return np.asarray(_TF32_CUT * (2 * size + 8 * scale * _SPREAD * math.sqrt(length)))
    if dtype in FLOATS_OF_8_BITS:
        steps = math.ceil(length / _FP8_DEPTH)
        running = 2 * 2 / 3 * steps**1.5 * _SPREAD * math.sqrt(_FP8_DEPTH)
        return np.asarray(_FP8_CUT * scale * (running + 8 * math.sqrt(steps * _FP8_DEPTH / 12)))
    return np.zeros(())


def near_spread(scores: np.ndarray, within: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How far the values [kv, d] of those keys lie apart whose scores [kv] are near the largest: [d]."""
    near = values[scores >= scores.max() - within]
    near = np.where(np.isfinite(near), near, 0.0)
    return np.asarray(np.ptp(near, axis=0)) if len(near) else np.zeros(values.shape[1])
