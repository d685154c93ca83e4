/*[tuner]
name = "cpp_amx_split"
operator = "gemm"
summary = "f32 in tile registers (AMX): a number is three of bf16, a product six of theirs."
dtypes = ["f32"]
accuracy = "numbers below 2^-102 (2e-31) lose their low parts, below 2^-126 (1e-38) they count as zero"
requires = ["amx-tile", "amx-bf16", "avx512f"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["amx_split", "cores"]

[parameters]
PACK_B = { values = ["whole", "blocks"], doc = "all threads pack all of B first, or each what it multiplies next" }

[let]
whole = "PACK_B == 'whole'"

[constraints]
nothing_to_fetch = "whole or not FETCH_B"
own_block_in_l2 = "whole or KC * NC * 6 <= l2_bytes"
*/
// Rung 7. A tile instruction multiplies sixteen times as many pairs of bf16 as a vector instruction does of f32, and
// three numbers of bf16 are one of f32: six tile instructions do what sixteen vector instructions did (amx_split.h).
//
// Measured against f64, 512 x 512 x 512, the largest error as a share of the sum of magnitudes, beside cpp_packed's:
// 1.4e-7 and 3.4e-7 of normally distributed numbers, 6.4e-7 and 14.6e-7 of numbers from 0 to 1, 8.0e-7 and 6.7e-7 of numbers of
// both signs from 2^-40 to 2^40.
//
// What differs from f32: denormals count as zero, of A, of B and of D's products, and so do those low parts of a number
// that are below 2^-126, that is of numbers below 2^-102 (as of which its share of the error grows). Infinities, NaN and
// what is rounded to an infinite bf16 (from 2^128 - 2^119 on) have no parts: rows of A and columns of B that have one are
// multiplied once more in plain f32.
#include "amx_split.h"

extern "C" int gemm(const float* A, const float* B, const float* C, const float* bias, float* D, int64_t m, int64_t n,
                    int64_t k, int64_t batch, float alpha, float beta) {
    return multiply(A, B, nullptr, C, bias, D, m, n, k, batch, alpha, beta);
}
