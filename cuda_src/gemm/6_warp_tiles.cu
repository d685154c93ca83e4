/*[tuner]
name = "cuda_warp_tiles"
operator = "gemm"
summary = "Each warp owns a WM x WN tile near square: fewer distinct reads of shared memory a warp."
dtypes = ["f32", "f16", "int8"]
claims = ["wide_loads"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["warps_of_threads", "thread_tiles", "stages", "padded_rows", "pieces", "block_tiles", "occupancy", "large_shared"]

[parameters]
BM = { values = [32, 64, 128, 256], doc = "rows of D a block" }
BN = { values = [32, 64, 128, 256], doc = "columns of D a block" }
BK = { values = [8, 16, 32, 64], doc = "depth of the tiles in shared memory" }
WM = { values = [16, 32, 64, 128], doc = "rows of D a warp" }
WN = { values = [16, 32, 64, 128], doc = "columns of D a warp" }
TM = { values = [2, 4, 8, 16], doc = "rows of D a thread" }
TN = { values = [4, 8, 16], doc = "columns of D a thread" }

[let]
registers_needed = "TM * TN + 2 * (TM + TN) + 40"

[constraints]
vector_divides_rows = "BK * element_bytes % 16 == 0"

[launch]
grid = ["tiles", "1", "batch"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 6: in rung 5 the 32 threads of a warp lie along rows of the block's tile, so that a warp reads few rows of
// A's tile and many columns of B's. What lanes have in common is read once and broadcast: a warp that owns a near
// square tile, 8 x 4 lanes say, reads WM + WN elements of shared memory a step, the least there is for its area.
//
// BM x BN = 64 x 128 with WM x WN = 32 x 64 is four warps; TM x TN = 8 x 8 then makes LANES_M x LANES_N = 4 x 8 lanes
// of each. Tiles and what a lane owns within its warp's part are those of rung 4, `TileA::offset` where it begins.
//
//               columns 0 ... 63   columns 64 ... 127
//   rows  0 ... 31       warp 0               warp 1
//   rows 32 ... 63       warp 2               warp 3
#include "tiles.cuh"

constexpr int WARPS_N = BN / WN, THREADS = BM / WM * WARPS_N * 32;
constexpr int LANES_M = WM / TM, LANES_N = WN / TN;
typedef Operand<In, !OPT_TRANS_A, BM, BK, PAD * VECTOR, THREADS> TileA;
typedef Operand<In, bool(OPT_TRANS_B), BN, BK, PAD * VECTOR, THREADS> TileB;

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, const In* A, const In* B, const Out* C, const Out* bias, Out* D,
                                         int m, int n, int k) {
  const int thread = threadIdx.x, warp = thread / 32;
  const int warp_row = warp / WARPS_N * WM, warp_col = warp % WARPS_N * WN;  // in the block's tile
  const int lane_m = thread % 32 / LANES_N, lane_n = thread % LANES_N;
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (m + BM - 1) / BM, (n + BN - 1) / BN, tile_m, tile_n);
  const int row0 = tile_m * BM, col0 = tile_n * BN;
  const int tiles = (k + BK - 1) / BK;
  Acc sum[TM][TN] = {};
  pipelined<TileA, TileB, BK, STAGES, ALIGNED>(
      stages, A, B, row0, col0, m, n, k, 0, tiles, thread, [&](const In* a, const In* b) {
        accumulate<TileA, TileB, LANES_M, LANES_N, BK, UNROLL>(sum, a + TileA::offset(warp_row),
                                                               b + TileB::offset(warp_col), lane_m, lane_n);
      });
  write<TileA, TileB, LANES_M, LANES_N, ALIGNED>(sum, C, bias, D, blockIdx.z, row0 + warp_row, col0 + warp_col,
                                                 lane_m, lane_n, m, n);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  extern __shared__ __align__(16) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  if (TileA::aligned(A, m, k) && TileB::aligned(B, n, k) && n % 4 == 0 && reinterpret_cast<size_t>(D) % 16 == 0)
    multiply<true>(stages, A, B, C, bias, D, m, n, k);
  else
    multiply<false>(stages, A, B, C, bias, D, m, n, k);
}
