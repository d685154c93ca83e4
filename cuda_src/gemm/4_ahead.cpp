/*[tuner]
name = "cpp_ahead"
operator = "gemm"
summary = "cpp_packed of a constant B, packed as a whole before any call: for workloads that are frozen."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "gemm_ahead"
arguments = ["A", "B", "C", "bias", "D", "ahead", "m", "n", "k", "batch", "alpha", "beta", "scale", "Z"]
options = ["operator", "scale_tensor", "scale_channel", "zero_points", "silu", "gelu", "tanh"]
use = ["register_tiles", "cores", "packed_blocks"]

[parameters]
PACK_B = { values = [true], doc = "B lies in panels" }

[constraints]
# Sums, a row of B and one element of A.
registers = "(MR + 1) * vectors + 1 <= vector_registers"
# A kept operand that is read in place and not cut by the outer loop has no blocks: one value is kept.
kept_in_place = """
  PACK_A or INNER == 'm' or OUTER == 'm' or MC == 32"""
# Other types than f32 are converted when they are packed, but for words and quadruples: those of A lie in its rows.
converted = "element_bytes == 4 or PACK_A or in_units and not trans_a"
together = "TOGETHER or PACK_A and SPLIT_N > 1"

[workspace]
# Where int8 takes one byte and not two there is room for a row more of each block of k; of k = 1 and 2 by the one.
ahead = "4 * batch * ceildiv(n, NR) * NR * (ceildiv(k * packed_bytes, 4) + 1)"

[prepare]
entry = "pack_ahead"
arguments = ["B", "ahead", "n", "k", "batch"]
constant = ["B"]
*/
// Rung 4. In inference B is a matrix of weights, the same in every call. What rung 3 copies in each call is copied
// once, before the first: the panels of all of B, block of k after block of k, in the order in which the
// microkernel reads them. A call packs A alone; threads do not wait for each other's panels of B. Where B is
// converted (half precision, int8) that is done once too, and takes memory: 4 bytes an element, 2 or 1 of int8, 2 of bf16
// where the processor multiplies it as it is (rung 3).
//
// A row or a column times B (m or n of 1) reads each element once: it takes B as it lies.
#define B_AHEAD 1
#include "blocked.h"

extern "C" int pack_ahead(const Input* B, Sum* ahead, int64_t n, int64_t k, int64_t batch) {
    const int64_t layers = ceil_div(k, KC), width = ceil_div(n, NR) * NR;
    for (int64_t b = 0; b < batch; ++b) {
        const Input* matrix = B + b * n * k;
        Sum* packed = ahead + b * ahead_units(n, k);
        for (int64_t layer = 0; layer < layers; ++layer) {
            const Range depth = share(k, GROUP, layers, layer);
            Sum* to = packed + ahead_rows(layer, depth.begin) * width;
            if (OPT_TRANS_B) pack_transposed<NR PANEL_OF_B>(to, matrix + depth.begin, k, n, depth.size());
            else pack_rows<NR PANEL_OF_B>(to, matrix + depth.begin * n, n, n, depth.size());
        }
    }
    return 0;
}

extern "C" int gemm_ahead(const Input* A, const Input* B, const Addend* C, const Addend* bias, Output* D,
                          const Sum* ahead, int64_t m, int64_t n, int64_t k, int64_t batch, float alpha, float beta,
                          const float* scale = nullptr, const int32_t* Z = nullptr) {
    return multiply(A, B, ahead, C, bias, D, m, n, k, batch, alpha, beta, scale, Z);
}
