"""What operators share about dtypes: storage, random inputs, and the rounding error of sums of products."""

import math

import numpy as np

from tuner.core.operator import TensorSpec

STORAGE = {"f32": ("float32", "float32"), "f16": ("float16", "float16"), "int8": ("int8", "int32"),
           "bf16": ("bfloat16", "bfloat16")}  # fmt: skip
"""NumPy dtypes of the operands, and of addends and results, by a workload's dtype."""
U32, U16, UB16 = 2.0**-24, 2.0**-11, 2.0**-8
"""Unit roundoff: half the distance from 1 to the next number (IEEE 754: 24 and 11 bits of significand;
bfloat16 has 8)."""
INT8_ADDEND = 1024
"""int32 addends (bias, C) of int8 workloads lie in [-1024, 1024)."""
F16_LARGEST = 65504.0


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
    """The error allowed to `scale` times a sum of `length` products of inputs from `draw`, f32, f16 or bf16.

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

    A result of more than 8 times `largest` is none of random inputs: one product of special ones outweighs
    all others, and up to n partial sums of its size are rounded, independently: 8u*sqrt(n) of it more.

    Args:
        dtype: `f32`, `f16` or `bf16`.
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
    outliers = size > 8 * largest
    if outliers.any():
        tolerance = tolerance + np.where(outliers, 8 * u * math.sqrt(length) * size, 0.0)
    if dtype == "f16":
        # 2^-25 is half the spacing of f16 numbers around 0.
        tolerance = tolerance + U16 * (2 * size + (largest if epilogue else 0.0)) + 2.0**-25
    if dtype == "bf16":
        tolerance = tolerance + UB16 * (2 * size + (largest if epilogue else 0.0))
    return np.asarray(tolerance)


def near_spread(scores: np.ndarray, within: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How far the values [kv, d] of those keys lie apart whose scores [kv] are near the largest: [d]."""
    near = values[scores >= scores.max() - within]
    near = np.where(np.isfinite(near), near, 0.0)
    return np.asarray(np.ptp(near, axis=0)) if len(near) else np.zeros(values.shape[1])
