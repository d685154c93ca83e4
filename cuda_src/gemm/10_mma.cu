/*[tuner]
name = "cuda_mma"
operator = "gemm"
summary = "Tensor cores by mma.sync: ldmatrix from swizzled tiles, registers a step ahead, 128-bit stores."
dtypes = ["f16", "bf16", "int8", "tf32", "e4m3", "e5m2"]
claims = ["wide_loads", "tensor_cores", "tensor_cores:int8"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
requires = ["cp_async", "fp8:e4m3", "fp8:e5m2"]
options = "operator"
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
#include "blocks.cuh"

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, const In* A, const In* B, const Out* C, const Out* bias, Out* D,
                                         int m, int n, int k) {
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (m + BM - 1) / BM, (n + BN - 1) / BN, tile_m, tile_n);
  const int row0 = tile_m * BM, col0 = tile_n * BN;
  Sums sum = {};
  accumulate_blocks<ALIGNED>(sum, stages, A, B, row0, col0, m, n, k, 0, (k + BK - 1) / BK);
  // The sums go through the tiles' memory: nobody reads tiles after the last barrier of ring_ahead.
  write_sums(sum, stages, C, bias, D, blockIdx.z, row0, col0, m, n);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  extern __shared__ __align__(128) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  const bool a_aligned = (OPT_TRANS_A ? m : k) % VECTOR_OF<In> == 0 && reinterpret_cast<size_t>(A) % 16 == 0;
  const bool b_aligned = (OPT_TRANS_B ? k : n) % VECTOR_OF<In> == 0 && reinterpret_cast<size_t>(B) % 16 == 0;
  if (a_aligned && b_aligned)
    multiply<true>(stages, A, B, C, bias, D, m, n, k);
  else
    multiply<false>(stages, A, B, C, bias, D, m, n, k);
}
