/*[tuner]
name = "cuda_split_k"
operator = "gemm"
summary = "Blocks share the depth of a tile (split-K), or even shares of all the work (stream-K): for skinny shapes."
dtypes = ["f32", "f16", "int8"]
claims = ["wide_loads"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "partial", "arrived"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["warps_of_threads", "padded_rows", "pieces", "shares"]

[parameters]
BM = { values = [8, 16, 32, 64, 128], doc = "rows of D a tile" }
BN = { values = [32, 64, 128, 256], doc = "columns of D a tile" }
BK = { values = [8, 16, 32, 64], doc = "depth of the tiles in shared memory" }
WM = { values = [8, 16, 32, 64], doc = "rows of D a warp" }
WN = { values = [16, 32, 64, 128], doc = "columns of D a warp" }
TM = { values = [1, 2, 4, 8], doc = "rows of D a thread" }
TN = { values = [4, 8], doc = "columns of D a thread" }
STREAM_K = { values = [0, 1], doc = "0: SPLIT blocks a tile; 1: SPLIT blocks an SM, equal shares of all tiles" }
SPLIT = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32], doc = "blocks a tile, or an SM" }
STAGES = { values = [2, 3, 4], doc = "tiles in shared memory: one in use, the others on their way" }
UNROLL = { values = [1, 2], doc = "groups of four steps of k in straight-line code" }

[let]
blocks = "sm_count * SPLIT if STREAM_K else tiles * SPLIT"
registers_needed = "TM * TN + 2 * (TM + TN) + 60"

[constraints]
threads_fit = "64 <= threads <= max_threads_block"
vector_divides_rows = "BK * element_bytes % 16 == 0 and (not trans_a or BM * element_bytes % 16 == 0)"
unroll_divides_depth = "BK % (4 * UNROLL) == 0"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_block_fit = "registers_needed * threads <= registers_block"
shares_have_depth = "STREAM_K == 1 or SPLIT == 1 or SPLIT * BK <= k"
blocks_fit_an_sm = "STREAM_K == 0 or SPLIT <= 4"

[features]
# Sums of a split tile go out to memory and come back.
traffic_bytes = """
  tiles * (BM + BN) * k * element_bytes + (8 * BM * BN * blocks if STREAM_K or SPLIT > 1 else 0)"""
stages = "STAGES"
threads = "threads"
shared = "STAGES * tile_bytes"
registers = "TM * TN + TM + TN"

[launch]
grid = ["blocks", "1", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 9: a skinny product has few tiles: 16 x 4096 x 4096 with 16 x 128 tiles is 32 blocks for 108 SMs, each with a
// long walk along k. Here all steps of all tiles are numbered through and every block takes an equal, contiguous
// share: with as many blocks as SPLIT times the tiles that is split-K; with a multiple of the SMs it is stream-K
// (Osama, Merrill, Cecka, Garland, Owens: Stream-K, PPoPP 2023), whose blocks all end together whatever the number
// of tiles. A block whose share is part of a tile leaves its sums in `partial`; the last to arrive, by the count of
// steps in `arrived`, adds up all parts in the order of k, so that the result does not depend on who came when, and
// sets the count back to zero for the next call. No output is initialised, one launch does all.
//
// Three tiles of four steps each, among five blocks (Shares: worker w begins at step w * 12 / 5):
//
//   tile   0         1         2
//   step   0 1 2 3   4 5 6 7   8 9 10 11
//   block  0 0 1 1   2 2 2 3   3 4  4  4     block 3 leaves two parts in `partial`: the end of tile 1, the start of 2
#include "shares.cuh"
#include "tiles.cuh"

constexpr int WARPS_N = BN / WN, THREADS = BM / WM * WARPS_N * 32;
constexpr int LANES_M = WM / TM, LANES_N = WN / TN;
typedef Operand<In, !OPT_TRANS_A, BM, BK, PAD * VECTOR, THREADS> TileA;
typedef Operand<In, bool(OPT_TRANS_B), BN, BK, PAD * VECTOR, THREADS> TileB;

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, bool* last_to_arrive, const In* A, const In* B, const Out* C,
                                         const Out* bias, Out* D, int m, int n, int k, Acc* partial, int* arrived) {
  const int thread = threadIdx.x, warp = thread / 32;
  const int warp_row = warp / WARPS_N * WM, warp_col = warp % WARPS_N * WN;  // in the block's tile
  const int lane_m = thread % 32 / LANES_N, lane_n = thread % LANES_N;
  const int tiles_m = (m + BM - 1) / BM, tiles_n = (n + BN - 1) / BN, depth_steps = (k + BK - 1) / BK;
  const Shares shares = {(long long)OPT_BATCH * tiles_m * tiles_n * depth_steps, (long long)gridDim.x};
  const long long end = shares.first_step(blockIdx.x + 1LL);
  for (long long step = shares.first_step(blockIdx.x); step < end;) {
    const int tile = int(step / depth_steps), first = int(step % depth_steps);
    const int last = int(min((long long)depth_steps, first + end - step));
    step += last - first;
    const int batch = tile / (tiles_m * tiles_n), within = tile % (tiles_m * tiles_n);
    // Down before across: blocks side by side read the same columns of the larger operand where m is small.
    const int row0 = within % tiles_m * BM, col0 = within / tiles_m * BN;
    Acc sum[TM][TN] = {};
    pipelined<TileA, TileB, BK, STAGES, ALIGNED>(
        stages, A + size_t(batch) * m * k, B + size_t(batch) * k * n, row0, col0, m, n, k, first, last, thread,
        [&](const In* a, const In* b) {
          accumulate<TileA, TileB, LANES_M, LANES_N, BK, UNROLL>(sum, a + TileA::offset(warp_row),
                                                                 b + TileB::offset(warp_col), lane_m, lane_n);
        });
    const bool whole = gather_parts<BM * BN, TM * TN, THREADS>(
        [&](int i) -> Acc& { return sum[i / TN][i % TN]; }, shares, tile, first, last, depth_steps, partial, arrived,
        last_to_arrive);
    if (whole)
      write<TileA, TileB, LANES_M, LANES_N, ALIGNED>(sum, C, bias, D, batch, row0 + warp_row, col0 + warp_col, lane_m,
                                                     lane_n, m, n);
    __syncthreads();  // the next tile's copies take the place of this one's
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k, Acc* partial, int* arrived) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ bool last_to_arrive;
  In* stages = reinterpret_cast<In*>(memory);
  // Every matrix of a batch is aligned if the first is and whole pieces make up its rows.
  if (TileA::aligned(A, m, k) && TileB::aligned(B, n, k) && n % 4 == 0 && reinterpret_cast<size_t>(D) % 16 == 0)
    multiply<true>(stages, &last_to_arrive, A, B, C, bias, D, m, n, k, partial, arrived);
  else
    multiply<false>(stages, &last_to_arrive, A, B, C, bias, D, m, n, k, partial, arrived);
}
