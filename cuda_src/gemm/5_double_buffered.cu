/*[tuner]
name = "cuda_double_buffered"
operator = "gemm"
summary = "The next tile travels while this one is computed: through registers, or cp.async in several stages."
dtypes = ["f32", "f16", "int8"]
claims = ["wide_loads"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["threads_side_by_side", "thread_tiles", "stages", "padded_rows", "pieces", "block_tiles", "occupancy", "large_shared"]

[parameters]
ASYNC = { values = [0, 1], doc = "0: through registers; 1: asynchronous copies (cp.async)" }

[let]
shared = "STAGES * (tile_bytes + pad_bytes)"
# Sums, fragments, about 40 for addresses and loops, and the pieces on their way through registers.
registers_needed = "TM * TN + 2 * (TM + TN) + 40 + (0 if ASYNC else tile_bytes // 4 // threads)"

[constraints]
async_needs_cp_async = "ASYNC <= cp_async"
# What passes through registers is stored before the next fetch: more than two stages gain nothing.
registers_hold_one_stage = "ASYNC == 1 or STAGES == 2"

[launch]
grid = ["tiles", "1", "batch"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 5: rung 4 waits for a tile, then computes, in turn, and hides the wait only behind other blocks of the SM.
// Here the next tiles are on their way while this one is used. With ASYNC they go straight into shared memory
// (cp.async, from sm_80 on, through the pipeline primitives) and STAGES - 1 of them may be under way; without, one
// is held in registers, which serves sm_75 too. One barrier a tile instead of two.
//
// Tiles (TileA, TileB: see rung 4) lie in pairs, a stage each; with STAGES = 3 and ASYNC, step by step:
//
//   stages   [A0 B0][A1 B1][A2 B2]   0 is multiplied, 1 and 2 are under way
//            [A3 B3][A1 B1][A2 B2]   1 is multiplied, 2 and 3 are under way
//            [A3 B3][A4 B4][A2 B2]   2 is multiplied, 3 and 4 are under way
#include "tiles.cuh"

constexpr int LANES_M = BM / TM, LANES_N = BN / TN, THREADS = LANES_M * LANES_N;
typedef Operand<In, !OPT_TRANS_A, BM, BK, PAD * VECTOR, THREADS> TileA;
typedef Operand<In, bool(OPT_TRANS_B), BN, BK, PAD * VECTOR, THREADS> TileB;
constexpr int STAGE = TileA::SIZE + TileB::SIZE;  // elements; B's tile lies behind A's

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, const In* A, const In* B, const Out* C, const Out* bias, Out* D,
                                         int m, int n, int k) {
  const int thread = threadIdx.x, lane_m = thread / LANES_N, lane_n = thread % LANES_N;
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (m + BM - 1) / BM, (n + BN - 1) / BN, tile_m, tile_n);
  const int row0 = tile_m * BM, col0 = tile_n * BN;
  const int tiles = (k + BK - 1) / BK;
  Acc sum[TM][TN] = {};
  if (ASYNC || !ALIGNED) {
    pipelined<TileA, TileB, BK, STAGES, ALIGNED>(
        stages, A, B, row0, col0, m, n, k, 0, tiles, thread, [&](const In* a, const In* b) {
          accumulate<TileA, TileB, LANES_M, LANES_N, BK, UNROLL>(sum, a, b, lane_m, lane_n);
        });
  } else {
    uint4 a_pieces[TileA::FETCHES], b_pieces[TileB::FETCHES];
    TileA::fetch(a_pieces, typename TileA::Window(A, row0, 0, m, k), thread);
    TileB::fetch(b_pieces, typename TileB::Window(B, col0, 0, n, k), thread);
    for (int tile = 0; tile < tiles; ++tile) {
      In* a = stages + tile % 2 * STAGE;
      TileA::put(a, a_pieces, thread);
      TileB::put(a + TileA::SIZE, b_pieces, thread);
      __syncthreads();  // also keeps the next `put` from a buffer that is still read: it writes the other one
      if (tile + 1 < tiles) {
        TileA::fetch(a_pieces, typename TileA::Window(A, row0, (tile + 1) * BK, m, k), thread);
        TileB::fetch(b_pieces, typename TileB::Window(B, col0, (tile + 1) * BK, n, k), thread);
      }
      accumulate<TileA, TileB, LANES_M, LANES_N, BK, UNROLL>(sum, a, a + TileA::SIZE, lane_m, lane_n);
    }
  }
  write<TileA, TileB, LANES_M, LANES_N, ALIGNED>(sum, C, bias, D, blockIdx.z, row0, col0, lane_m, lane_n, m, n);
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
