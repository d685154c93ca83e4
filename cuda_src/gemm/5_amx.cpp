/*[tuner]
name = "cpp_amx"
operator = "gemm"
summary = "Tile registers (AMX): 16 x 16 sums an instruction, B packed into whole tiles."
dtypes = ["bf16", "int8"]
requires = ["amx-tile", "amx-bf16:bf16", "amx-int8:int8"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta", "scale", "Z"]
options = ["operator", "scale_tensor", "scale_channel", "zero_points", "silu", "gelu", "tanh"]
use = ["amx_tiles", "cores"]

[parameters]
PACK_B = { values = ["blocks", "whole"], doc = "each thread packs what it multiplies next, or all threads all of B first" }

[constraints]
own_block_in_l2 = "PACK_B == 'whole' or KC * NC * element_bytes <= l2_bytes"
*/
// Rung 5. Where a vector instruction multiplies 32 pairs of bf16, a tile instruction multiplies 8192: its operands are
// tiles of 16 rows of 64 bytes, which lie in eight registers of their own. Sums of 2 x 2 tiles load four tiles for four
// products; B is packed so that a tile is 1 KiB in one piece, with neighbours along k side by side (amx_pack.h). A is
// read where it lies if its rows end with a tile. Products of bf16 are added in f32, and denormals count as zero; those
// of int8 are exact.
#include "amx.h"

extern "C" int gemm(const Input* A, const Input* B, const Addend* C, const Addend* bias, Output* D, int64_t m, int64_t n,
                    int64_t k, int64_t batch, float alpha, float beta, const float* scale = nullptr,
                    const int32_t* Z = nullptr) {
    return multiply(A, B, nullptr, C, bias, D, m, n, k, batch, alpha, beta, scale, Z);
}
