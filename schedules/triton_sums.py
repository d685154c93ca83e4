"""A tile's product added to sums, for Triton kernels of several operators."""

import triton
import triton.language as tl


@triton.jit
def add_product(total, a, b, INPUT_PRECISION: tl.constexpr):
    """total + a b, as `tl.dot` makes it; of `tf32x3` the tile's sum alone is made by tensor cores.

    They cut off what a sum has below its last place, always towards zero, which over a long depth passes the
    tolerance of f32 (`tuner.core.numerics.sum_tolerance`). A plain addition would be made theirs by Triton.
    """
    if INPUT_PRECISION == "tf32x3":
        return tl.fma(tl.dot(a, b, input_precision=INPUT_PRECISION), 1.0, total)
    return tl.dot(a, b, total, input_precision=INPUT_PRECISION, out_dtype=total.dtype)
