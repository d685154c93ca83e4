/*[tuner]
name = "cuda_mma"
operator = "gemm"
summary = "Tensor cores by mma.sync: ldmatrix from swizzled tiles, registers a step ahead, 128-bit stores."
dtypes = ["f16", "bf16", "int8"]
claims = ["wide_loads", "tensor_cores", "tensor_cores:int8"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
requires = ["cp_async"]
options = "operator"

[parameters]
BM = { values = [16, 32, 64, 128, 256], doc = "rows of D a block" }
BN = { values = [16, 32, 64, 128, 256], doc = "columns of D a block" }
BK = { values = [16, 32, 64, 128], doc = "depth of the tiles in shared memory" }
WM = { values = [16, 32, 64, 128], doc = "rows of D a warp" }
WN = { values = [16, 32, 64, 128], doc = "columns of D a warp" }
STAGES = { values = [2, 3, 4, 5, 6], doc = "tiles in shared memory: one in use, the others on their way" }
GROUP_M = { values = [1, 4, 8, 16], doc = "rows of blocks visited together" }
MIN_BLOCKS = { values = [1, 2, 3, 4], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
tiles = "ceildiv(m, BM) * ceildiv(n, BN)"
blocks = "tiles * batch"
warps = "(BM // WM) * (BN // WN)"
threads = "warps * warp_size"
tile_bytes = "(BM + BN) * BK * element_bytes"
# Tiles, and afterwards 16 rows of sums for each warp.
tiles_bytes = "STAGES * tile_bytes"
shared = "max(tiles_bytes, warps * 16 * (WN + 8) * 4)"
# Sums; two steps' blocks; about 40 for addresses and loops.
sums = "WM * WN // 32"
registers_needed = "sums + (WM + WN) // 2 + 40"

[constraints]
warp_tiles_divide = "BM % WM == 0 and BN % WN == 0"
threads_fit = "32 <= threads <= max_threads_block"
# A step is 32 bytes of depth, and a tile has an even number of steps.
tile_has_two_steps = "BK * element_bytes >= 64"
rows_have_four_pieces = "(BM if trans_a else BK) * element_bytes >= 64 and (BK if trans_b else BN) * element_bytes >= 64"
threads_have_pieces = "2 * max(BM, BN) * BK * element_bytes >= 16 * threads"
pieces_fit_a_thread = "tile_bytes <= 16 * 16 * threads"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_sm_fit = "registers_needed * threads * MIN_BLOCKS <= registers_sm"
threads_of_sm_fit = "threads * MIN_BLOCKS <= max_threads_sm"
shared_fits = "shared <= shared_bytes_block_optin"
grid_fits = "batch <= max_grid_z"

[features]
macs = "blocks * BM * BN * k"
traffic_bytes = "blocks * (BM + BN) * k * element_bytes"
steps = "ceildiv(k, BK)"
stages = "STAGES"
threads = "threads"
shared = "tiles_bytes"
intensity = "BM * BN / (BM + BN)"
warp_intensity = "WM * WN / (WM + WN)"
registers = "sums"

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
