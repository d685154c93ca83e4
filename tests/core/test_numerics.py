"""The tolerance of sums of products, held against models of what tensor cores do to them."""

import numpy as np
import pytest

from tuner.core.dtypes import dtype_named
from tuner.core.numerics import STORAGE, draw, sum_tolerance
from tuner.core.tensors import TensorSpec

SUMS = 64


def factors(dtype: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(length)
    spec = TensorSpec("A", (SUMS, length), STORAGE[dtype][0])
    return draw(spec, rng), draw(spec, rng)


def cut(values: np.ndarray, bits: int) -> np.ndarray:
    """Towards zero, to so many bits of significand."""
    significand, exponent = np.frexp(values)
    return np.ldexp(np.trunc(np.ldexp(significand, bits)), exponent - bits)


def products_of_tf32(a: np.ndarray, b: np.ndarray, products: int, tile: int) -> np.ndarray:
    """Sums of 8 products at a time, cut off to f32; of three products of tf32 each, or of one. Sums of each
    `tile` of the depth are added up in f32, rounding."""
    large_a, large_b = cut(a.astype(np.float64), 11), cut(b.astype(np.float64), 11)
    small_a, small_b = cut(a - large_a, 11), cut(b - large_b, 11)
    pairs = [(small_a, large_b), (large_a, small_b), (large_a, large_b)][3 - products :]
    total, part = np.zeros(SUMS, np.float32), np.zeros(SUMS)
    for first in range(0, a.shape[1], 8):
        step = slice(first, first + 8)
        for left, right in pairs:
            part = cut(part + (left[:, step] * right[:, step]).sum(axis=1), 24)
        if (first + 8) % tile == 0:
            total, part = total + part.astype(np.float32), np.zeros(SUMS)
    return total + part


def products_of_8_bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of 32 products at a time, each and the running sum cut off 13 bits below the largest."""
    products, total = a.astype(np.float64) * b.astype(np.float64), np.zeros(SUMS)
    for first in range(0, a.shape[1], 32):
        terms = np.column_stack([total, products[:, first : first + 32]])
        last = np.exp2(np.floor(np.log2(np.abs(terms).max(axis=1))) - 13)[:, None]
        total = (np.trunc(terms / last) * last).sum(axis=1)
    return total


@pytest.mark.parametrize("length", [64, 1024, 16384])
@pytest.mark.parametrize("dtype", ["f32", "tf32", "e4m3", "e5m2"])
def test_sums_of_tensor_cores_are_within_the_tolerance_and_a_skipped_step_is_not(
    dtype: str, length: int
) -> None:
    a, b = factors(dtype, length)
    exact = (a.astype(np.float64) * b.astype(np.float64)).sum(axis=1)
    model = {"f32": lambda: products_of_tf32(a, b, 3, 128), "tf32": lambda: products_of_tf32(a, b, 1, length)}
    stored = dtype_named(STORAGE[dtype][1])
    total = model.get(dtype, lambda: products_of_8_bits(a, b))()
    allowed = sum_tolerance(dtype, length, exact, np.sqrt(length) + 1)
    assert (np.abs(total.astype(stored).astype(np.float64) - exact) <= allowed).all()
    step = max(32, length // 8)
    skipped = (a.astype(np.float64) * b.astype(np.float64))[:, step:].sum(axis=1)
    wrong = np.abs(skipped.astype(stored).astype(np.float64) - exact) > allowed
    assert wrong.mean() > 0.5


def test_three_products_of_tf32_are_no_f32_where_tensor_cores_make_a_long_sum() -> None:
    """The reason why kernels add up tiles by themselves."""
    a, b = factors("f32", 16384)
    exact = (a.astype(np.float64) * b.astype(np.float64)).sum(axis=1)
    allowed = sum_tolerance("f32", 16384, exact, 129.0)
    assert (np.abs(products_of_tf32(a, b, 3, 16384) - exact) > allowed).any()
