/*[tuner]
name = "cpp_packed"
operator = "gemm"
summary = "Blocked for three cache levels, operands packed or in place, a register tile, threads in a grid."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "batch", "alpha", "beta", "scale", "Z"]
options = ["operator", "scale_tensor", "scale_channel", "zero_points", "silu", "gelu", "tanh"]
use = ["register_tiles", "cores", "packed_blocks"]

[parameters]
PACK_B = { values = [true, false], doc = "copy B into panels, or read it in place" }

[constraints]
# Sums, a row of B and one element of A; two rows that become words in registers, and two permutations.
registers = "(MR + 1) * vectors + 1 + (4 if words and not PACK_B else 0) <= vector_registers"
# A kept operand that is read in place and not cut by the outer loop has no blocks: one value is kept.
kept_in_place = """
  (PACK_A or INNER == 'm' or OUTER == 'm' or MC == 32) and \
  (PACK_B or INNER == 'n' or OUTER == 'n' or NC == 64)"""
# Other types than f32 are converted when they are packed, but for words and quadruples: those of A lie in its rows.
converted = "element_bytes == 4 or PACK_A and PACK_B or words and (PACK_A or not trans_a) or quads and PACK_B and not trans_a"
# B in place costs a line and a page for each step of k: worth it where B is used a few times only.
b_in_place = "PACK_B or m <= 512 and not trans_b"
together = "TOGETHER or PACK_B and threads > SPLIT_N or PACK_A and SPLIT_N > 1"
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
