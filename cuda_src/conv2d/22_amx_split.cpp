/*[tuner]
name = "conv_amx_split"
operator = "conv2d"
summary = "f32 in tile registers (AMX): a number is three of bf16, a product six of theirs; planes and NHWC as they lie."
dtypes = ["f32"]
accuracy = "numbers below 2^-102 (2e-31) lose their low parts, below 2^-126 (1e-38) they count as zero"
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
requires = ["amx-tile", "amx-bf16", "avx512f"]
use = ["cores", "amx_split_slabs"]

[supports]
"sums over one channel fill no tile" = "group_c > 1"

[parameters]
PACK_W = { values = ["whole", "blocks"], doc = "all threads lay all weights out first, or each what it multiplies next" }

[let]
whole = "PACK_W == 'whole'"

[constraints]
nothing_to_fetch = "whole or not FETCH_W"
own_panel_in_l2 = "whole or panel * 2 <= l2_bytes"
*/
// Rung 22. A tile instruction multiplies sixteen times as many pairs of bf16 as a vector instruction does of f32, and three
// numbers of bf16 are one of f32: six tile instructions do what sixteen vector instructions did. An image is split a slab
// at a time, each number once for all the windows it lies in, between the products of the slab before; of planes the
// pixels are a tile's columns, as in rung 15, so nothing is transposed in either layout.
//
// What differs from f32 is as in the product of matrices (gemm/7_amx_split.cpp): denormals count as zero, of X, W and
// products, and so do those low parts of a number that are below 2^-126, that is of numbers below 2^-102. Infinities, NaN
// and what is rounded to an infinite bf16 (from 2^128 - 2^119 on) have no parts: filters that have one, and pixels whose
// windows do, are computed once more in plain f32.
#include "amx_split.h"

extern "C" int conv2d(const float* X, const float* W, const float* bias, const float* residual, float* Y, int64_t n,
                      int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, nullptr, {bias, nullptr, nullptr, residual}, Y, Shape(n, c, h, w, k, r, s));
}
