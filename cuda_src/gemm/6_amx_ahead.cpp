/*[tuner]
name = "cpp_amx_ahead"
operator = "gemm"
summary = "cpp_amx of a constant B, packed before any call: for workloads that are frozen."
dtypes = ["bf16", "int8"]
requires = ["amx-tile", "amx-bf16:bf16", "amx-int8:int8"]
entry = "gemm_ahead"
arguments = ["A", "B", "C", "bias", "D", "ahead", "m", "n", "k", "batch", "alpha", "beta", "scale", "Z"]
options = ["operator", "scale_tensor", "scale_channel", "zero_points", "silu", "gelu", "tanh"]
use = ["amx_tiles", "cores"]

[workspace]
ahead = "batch * ceildiv(n, NT * 16) * NT * 16 * ceildiv(k, deep) * 64"

[prepare]
entry = "pack_ahead"
arguments = ["B", "ahead", "n", "k", "batch"]
constant = ["B"]
*/
// Rung 6. Rung 5 with a matrix of weights: B is packed once, ahead of the calls, in as many bytes as it has.
#define PACK_B ahead
#include "amx.h"

extern "C" int pack_ahead(const Input* B, Sum* ahead, int64_t n, int64_t k, int64_t batch) {
    for (int64_t b = 0; b < batch; ++b) {
        pack_panels_b(ahead + b * packed_units_b(n, k), B + b * k * n, n, k, {0, n}, {0, steps_of(k)});
    }
    return 0;
}

extern "C" int gemm_ahead(const Input* A, const Input* B, const Addend* C, const Addend* bias, Output* D,
                          const Sum* ahead, int64_t m, int64_t n, int64_t k, int64_t batch, float alpha, float beta,
                          const float* scale = nullptr, const int32_t* Z = nullptr) {
    return multiply(A, B, ahead, C, bias, D, m, n, k, batch, alpha, beta, scale, Z);
}
