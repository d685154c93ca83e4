/*[tuner]
name = "cpp_amx_split_ahead"
operator = "gemm"
summary = "cpp_amx_split of a constant B, split and packed before any call: for workloads that are frozen."
dtypes = ["f32"]
accuracy = "numbers below 2^-102 (2e-31) lose their low parts, below 2^-126 (1e-38) they count as zero"
requires = ["amx-tile", "amx-bf16", "avx512f"]
entry = "gemm_ahead"
arguments = ["A", "B", "C", "bias", "D", "ahead", "m", "n", "k", "batch", "alpha", "beta"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["amx_split", "cores"]

[let]
panels = "ceildiv(n, 32)"

[workspace]
# Six bytes an element, and of each panel whether it is special.
ahead = "batch * (panels * ceildiv(k, 32) * 6144 + ceildiv(panels, 16) * 64)"

[prepare]
entry = "pack_ahead"
arguments = ["B", "ahead", "n", "k", "batch"]
constant = ["B"]
*/
// Rung 8. Rung 7 with a matrix of weights: its parts are made once, ahead of the calls, and take one and a half times its
// bytes.
#define PACK_B ahead
#include "amx_split.h"

extern "C" int pack_ahead(const float* B, Sum* ahead, int64_t n, int64_t k, int64_t batch) {
    for (int64_t b = 0; b < batch; ++b) pack_whole(ahead + b * packed_units_b(n, k), B + b * k * n, n, k, {0, n});
    return 0;
}

extern "C" int gemm_ahead(const float* A, const float* B, const float* C, const float* bias, float* D, const Sum* ahead,
                          int64_t m, int64_t n, int64_t k, int64_t batch, float alpha, float beta) {
    return multiply(A, B, ahead, C, bias, D, m, n, k, batch, alpha, beta);
}
