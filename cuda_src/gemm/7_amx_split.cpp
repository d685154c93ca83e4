/*[tuner]
name = "cpp_amx_split"
operator = "gemm"
summary = "f32 in tile registers (AMX): a number is three of bf16, a product six of theirs."
dtypes = ["f32"]
requires = ["amx-tile", "amx-bf16", "avx512f"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["amx_split", "cores"]

[parameters]
PACK_B = { values = ["whole", "blocks"], doc = "all threads pack all of B first, or each what it multiplies next" }

[constraints]
own_block_in_l2 = "PACK_B == 'whole' or KC * NC * 6 <= l2_bytes"
*/
// Rung 7. A tile instruction multiplies sixteen times as many pairs of bf16 as a vector instruction does of f32, and
// three numbers of bf16 are one of f32: six tile instructions do what sixteen vector instructions did (amx_split.h).
#include "amx_split.h"

extern "C" int gemm(const float* A, const float* B, const float* C, const float* bias, float* D, int64_t m, int64_t n,
                    int64_t k, int64_t batch, float alpha, float beta) {
    return multiply(A, B, nullptr, C, bias, D, m, n, k, batch, alpha, beta);
}
