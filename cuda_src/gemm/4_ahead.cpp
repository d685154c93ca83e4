/*[tuner]
name = "cpp_ahead"
operator = "gemm"
summary = "cpp_packed of a constant B, packed as a whole before any call: for workloads that are frozen."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "gemm_ahead"
arguments = ["A", "B", "C", "bias", "D", "ahead", "m", "n", "k", "batch", "alpha", "beta", "scale", "Z"]
options = ["operator", "scale_tensor", "scale_channel", "zero_points", "silu", "gelu", "tanh"]
use = ["register_tiles", "cores"]

[parameters]
MR = { values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14], doc = "rows of the register tile" }
MC = { values = [32, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096], doc = "rows of a block of A" }
NC = { values = [64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096], doc = "columns of a block of B" }
KC = { values = [16, 64, 128, 192, 256, 384, 512, 768, 1024, 2048], doc = "depth of both blocks" }
OUTER = { values = ["n", "m"], doc = "outermost loop: its operand is packed once, the other once a block of it" }
INNER = { values = ["m", "n"], doc = "innermost loop over tiles: m keeps a panel of B in L1, n one of A" }
PACK_A = { values = [true, false], doc = "copy A into panels, or read it in place" }
PACK_B = { values = [true], doc = "B lies in panels" }
UNROLL = { values = [1, 2, 4], doc = "steps of k in the body of the microkernel's loop" }
PREFETCH = { values = [0, 8, 32], doc = "steps of k the streamed panel is fetched ahead; 0: hardware only" }
PREFETCH_NEXT = { values = ["no", "l1", "l2"], doc = "fetch the next kept panel meanwhile, and into which cache" }
PREFETCH_D = { values = [false, true], doc = "fetch the tile of D while its sum is computed" }
HUGE_PAGES = { values = [true, false], doc = "ask for 2 MiB pages for the packed operands" }
SPLIT_N = { values = [1, 2, 3, 4, 6, 8, 12, 16], doc = "threads along n; the rest of them along m" }
TOGETHER = { values = [true, false], doc = "threads pack what they share together, or each all that it reads" }

[let]
vectors = "NR * 4 // vector_bytes"
few_rows = "MR * 2 > m"
# bf16 is multiplied as it is, in words of two neighbours in k, where the processor does that (common/dots16.h).
words = "dtype == 'bf16' and has_avx512bf16 and has_avx512bw and has_avx512dq and has_avx512vl"
# int8 by VNNI, in quadruples of neighbours in k (common/dots8.h).
quads = "dtype == 'int8' and (has_avx512vnni or has_avxvnni and vector_bytes == 32)"
# Rows of A hold these as they lie.
in_units = "words or quads"
# An element takes four bytes when it is packed, an int8 or one of a word two.
packed_bytes = "2 if element_bytes == 1 or words else 4"
# Bytes of the panel that stays in L1, of the block that its partner comes from, and of its own block.
panel = "KC * (NR if INNER == 'm' else MR) * packed_bytes"
streamed = "KC * (MC if INNER == 'm' else NC) * packed_bytes"
kept = "KC * (NC if INNER == 'm' else MC) * packed_bytes"

[constraints]
# Sums, a row of B and one element of A.
registers = "(MR + 1) * vectors + 1 <= vector_registers"
# 8 sums or more keep two FMA pipes of latency 4 busy; few rows have to do with fewer.
latency_hidden = "MR * vectors >= 8 or few_rows"
# A step loads MR + vectors and multiplies MR * vectors, both at two a cycle: leave the loads a quarter of slack.
loads_hidden = "(MR + vectors) * 4 <= MR * vectors * 3 or few_rows or n * 4 <= vector_bytes"
panel_in_l1 = "panel <= l1d_bytes"
streamed_block_in_l2 = "streamed <= l2_bytes"
kept_block_in_l3 = "kept <= l3_bytes"
# A block larger than the operand is the operand: only the smallest such value is kept.
blocks_used = "(MC < 2 * m or MC == 32) and (NC < 2 * n or NC == 64) and (KC < 2 * k or KC == 16)"
blocks_worth_a_loop = "(MC * KC >= 16384 or MC >= m or MC == 32) and (NC * KC >= 16384 or NC >= n or NC == 64)"
# A kept operand that is read in place and not cut by the outer loop has no blocks: one value is kept.
kept_in_place = """
  PACK_A or INNER == 'm' or OUTER == 'm' or MC == 32"""
tile_in_block = "MR <= MC and NR <= NC"
# A pass over D for less than 128 steps of k costs more than it saves, but where m is small D is too.
deep_enough = "KC >= 128 or KC * 2 >= k or m <= 16"
# Other types than f32 are converted when they are packed, but for words and quadruples: those of A lie in its rows.
converted = "element_bytes == 4 or PACK_A or in_units and not trans_a"
grid = "threads % SPLIT_N == 0"
together = "TOGETHER or PACK_A and SPLIT_N > 1"

[workspace]
# Where int8 takes one byte and not two there is room for a row more of each block of k; of k = 1 and 2 by the one.
ahead = "4 * batch * ceildiv(n, NR) * NR * (ceildiv(k * packed_bytes, 4) + 1)"

[prepare]
entry = "pack_ahead"
arguments = ["B", "ahead", "n", "k", "batch"]
constant = ["B"]

[macros]
IN_PLACE = "in_units"

[features]
panel_bytes = "panel"
streamed_bytes = "streamed"
kept_bytes = "kept"
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
