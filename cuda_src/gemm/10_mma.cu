/*[tuner]
name = "cuda_mma"
operator = "gemm"
summary = "Tensor cores by mma.sync: ldmatrix from swizzled tiles, registers a step ahead, 128-bit stores."
dtypes = ["f16", "bf16", "int8", "tf32", "e4m3", "e5m2"]
claims = ["wide_loads", "tensor_cores", "tensor_cores:int8"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
requires = ["cp_async", "fp8:e4m3", "fp8:e5m2"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["warp_tiles", "swizzled_stages", "pieces", "block_tiles", "occupancy", "large_shared"]

[parameters]
BK = { values = [16, 32, 64, 128], doc = "depth of the tiles in shared memory" }

[let]
# Sums; two steps' blocks; about 40 for addresses and loops.
registers_needed = "sums + (WM + WN) // 2 + 40"

[launch]
grid = ["tiles", "1", "batch"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 10: wmma hides which lane holds what, and pays for it: it cannot read a tile whose pieces are out of order, its
// loads wait where they are used, and its sums leave element by element. mma.sync says where everything is. So tiles
// are swizzled in place of padded and ldmatrix meets no bank twice (swizzled.cuh), the blocks of the next step are on
// their way to registers while this one's are multiplied (ring_ahead in pipeline.cuh), and D is written 128 bits at a
// time (blocks_out.cuh).
//
// 8-bit floats have an instruction of their own on sm_89 and sm_120. On sm_90 and sm_100 only wgmma and tcgen05 take
// them: there the compiler makes two products of f16 of each.
//
// A warp with WM x WN = 32 x 32 and f16, one step of 16 along k: four loads (ldmatrix) for eight products (mma).
//
//                b[0]             b[1]              16 x 16 each
//   a[0]   sum[0][0] [0][1]  sum[0][2] [0][3]       16 x 8 each
//   a[1]   sum[1][0] [1][1]  sum[1][2] [1][3]
#include "block_product.cuh"
