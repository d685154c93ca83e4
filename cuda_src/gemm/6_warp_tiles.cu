/*[tuner]
name = "cuda_warp_tiles"
operator = "gemm"
summary = "Each warp owns a WM x WN tile near square: fewer distinct reads of shared memory a warp."
dtypes = ["f32", "f16", "int8"]
claims = ["wide_loads"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
options = "operator"

[parameters]
BM = { values = [32, 64, 128, 256], doc = "rows of D a block" }
BN = { values = [32, 64, 128, 256], doc = "columns of D a block" }
BK = { values = [8, 16, 32, 64], doc = "depth of the tiles in shared memory" }
WM = { values = [16, 32, 64, 128], doc = "rows of D a warp" }
WN = { values = [16, 32, 64, 128], doc = "columns of D a warp" }
TM = { values = [2, 4, 8, 16], doc = "rows of D a thread" }
TN = { values = [4, 8, 16], doc = "columns of D a thread" }
STAGES = { values = [2, 3, 4, 5], doc = "tiles in shared memory: one in use, the others on their way" }
PAD = { values = [0, 1], doc = "16-byte pieces after each row in shared memory, against bank conflicts" }
UNROLL = { values = [1, 2, 4], doc = "groups of four steps of k in straight-line code" }
GROUP_M = { values = [1, 4, 8, 16], doc = "rows of blocks visited together" }
MIN_BLOCKS = { values = [1, 2, 3, 4], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
tiles = "ceildiv(m, BM) * ceildiv(n, BN)"
blocks = "tiles * batch"
threads = "(BM // WM) * (BN // WN) * warp_size"
tile_bytes = "(BM + BN) * BK * element_bytes"
pad_bytes = "16 * PAD * ((BK if trans_a else BM) + (BN if trans_b else BK))"
shared = "STAGES * (tile_bytes + pad_bytes)"
registers_needed = "TM * TN + 2 * (TM + TN) + 40"

[constraints]
warp_tiles_divide = "BM % WM == 0 and BN % WN == 0"
one_warp_a_warp_tile = "WM * WN == warp_size * TM * TN and WM % TM == 0 and WN % TN == 0"
threads_fit = "threads <= max_threads_block"
vector_divides_rows = "BK * element_bytes % 16 == 0"
unroll_divides_depth = "BK % (4 * UNROLL) == 0"
threads_have_pieces = "2 * max(BM, BN) * BK * element_bytes >= 16 * threads"
# At most 16 pieces a thread: they are unrolled, and each wants its predicate.
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
shared = "STAGES * tile_bytes"
intensity = "BM * BN / (BM + BN)"
warp_intensity = "WM * WN / (WM + WN)"
registers = "TM * TN + TM + TN"

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
