/*[tuner]
name = "cpp_packed"
operator = "gemm"
summary = "Blocked for three cache levels, operands packed or in place, a register tile, threads in a grid."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta", "scale", "Z"]
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
PACK_B = { values = [true, false], doc = "copy B into panels, or read it in place" }
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
# Sums, a row of B and one element of A; two rows that become words in registers, and two permutations.
registers = "(MR + 1) * vectors + 1 + (4 if words and not PACK_B else 0) <= vector_registers"
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
  (PACK_A or INNER == 'm' or OUTER == 'm' or MC == 32) and \
  (PACK_B or INNER == 'n' or OUTER == 'n' or NC == 64)"""
tile_in_block = "MR <= MC and NR <= NC"
# A pass over D for less than 128 steps of k costs more than it saves, but where m is small D is too.
deep_enough = "KC >= 128 or KC * 2 >= k or m <= 16"
# Other types than f32 are converted when they are packed, but for words and quadruples: those of A lie in its rows.
converted = "element_bytes == 4 or PACK_A and PACK_B or words and (PACK_A or not trans_a) or quads and PACK_B and not trans_a"
# B in place costs a line and a page for each step of k: worth it where B is used a few times only.
b_in_place = "PACK_B or m <= 512 and not trans_b"
grid = "threads % SPLIT_N == 0"
together = "TOGETHER or PACK_B and threads > SPLIT_N or PACK_A and SPLIT_N > 1"

[macros]
IN_PLACE = "in_units"

[features]
panel_bytes = "panel"
streamed_bytes = "streamed"
kept_bytes = "kept"
*/
// Rung 3. The register tile of rung 2 computes as fast as its operands arrive. Packing copies a block of A and
// of B into the order in which the microkernel reads them, so that every line and every page is used up at
// once and nothing collides in a cache; the copy is paid once and read many times. The blocks are sized so
// that a panel of one operand stays in L1, the block that streams past it in L2, and the block that is kept in
// L3 (Goto and van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34(3), 2008).
// Threads form a grid over D and pack together what they share (Smith et al., Anatomy of high-performance
// many-threaded matrix multiplication, IPDPS 2014).
// Packing also converts: half precision to single (half.h), int8 to quadruples of bytes or pairs of 16 bits (int8.h).
// bf16 becomes words of two neighbours in k (words.h) where the processor multiplies those, AVX512_BF16: twice as many
// products an instruction, and half the bytes. Sums are f32 all the same, and denormals count as zero. A's words lie in its
// rows as they are; B in place becomes words in registers. Other processors convert bf16 to single.
//
// Five rows of A, three steps of k, packed into panels of MR = 2 rows (B likewise, of NR columns):
//
//   a0 a1 a2
//   b0 b1 b2      panel 0            panel 1            panel 2
//   c0 c1 c2      a0 b0 a1 b1 a2 b2  c0 d0 c1 d1 c2 d2  e0 0 e1 0 e2 0
//   d0 d1 d2
//   e0 e1 e2
#define B_AHEAD 0
#include "blocked.h"

extern "C" int gemm(const Input* A, const Input* B, const Addend* C, const Addend* bias, Output* D, int64_t m,
                    int64_t n, int64_t k, int64_t batch, float alpha, float beta,
                    const float* scale = nullptr, const int32_t* Z = nullptr) {
    return multiply(A, B, nullptr, C, bias, D, m, n, k, batch, alpha, beta, scale, Z);
}
