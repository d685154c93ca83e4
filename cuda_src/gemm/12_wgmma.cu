/*[tuner]
name = "cuda_wgmma"
operator = "gemm"
summary = "Tensor cores by wgmma (sm_90a): a warpgroup's products read shared memory themselves, and run on meanwhile."
dtypes = ["f16", "int8", "e4m3", "e5m2", "bf16"]
claims = ["wide_loads", "tensor_cores", "tensor_cores:int8"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
requires = ["wgmma"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["pieces", "block_tiles", "occupancy", "large_shared"]

[supports]
"8-bit elements are multiplied where k is contiguous in both operands" = "element_bytes > 1 or (trans_b and not trans_a)"

[parameters]
BM = { values = [64, 128, 192, 256], doc = "rows of D a block" }
BN = { values = [64, 128, 192, 256], doc = "columns of D a block" }
BK = { values = [64, 128, 256], doc = "depth of the tiles in shared memory" }
WM = { values = [64, 128], doc = "rows of D a warpgroup: products of 64 rows" }
WN = { values = [64, 128, 192, 256], doc = "columns of D a warpgroup, and of a product" }
STAGES = { values = [3, 4, 5, 6], doc = "tiles in shared memory: two in use, the others on their way" }

[let]
groups = "(BM // WM) * (BN // WN)"
threads = "128 * groups"
# Registers a thread.
sums = "WM * WN // 128"
# Sums; addresses and predicates of pieces; about 40 for descriptors and loops.
registers_needed = "sums + 40 + ceildiv(tile_bytes, 16 * threads)"
tiles_bytes = "STAGES * tile_bytes"
# Tiles, and afterwards 16 rows of sums for each warp.
shared = "max(tiles_bytes, 4 * groups * 16 * (WN + 8) * 4)"

[constraints]
group_tiles_divide = "BM % WM == 0 and BN % WN == 0"
rows_are_panels = "BK * element_bytes in (128, 256)"
# Else MIN_BLOCKS would cap registers for blocks that shared memory keeps out.
blocks_fit_an_sm = "MIN_BLOCKS * (shared + 1024) <= shared_bytes_sm"

[features]
stages = "STAGES - 1"
shared = "tiles_bytes"
registers = "sums"

[launch]
grid = ["tiles", "1", "batch"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 12: on Hopper mma.sync reaches less than two thirds of the tensor cores' rate, since every warp has to bring its
// operands to registers and waits for each product. wgmma takes both operands from shared memory as they lie there
// (panels.cuh), 64 rows and up to 256 columns at once, and goes on while the warps fetch the next tiles: no loads of
// blocks, no registers but the sums. One batch of products always runs while the next is issued.
//
//   STAGES = 4        tile t - 1   tile t        tile t + 1   tile t + 2
//   barrier of t      multiplied   is there      on its way   slot of t - 2, done: fetched from here on
#include "../common/blocks_out.cuh"
#include "../common/visits.cuh"
#include "warpgroup_tiles.cuh"
#include <cuda_pipeline.h>

constexpr int GROUPS = BM / WM * GROUPS_N, THREADS = 128 * GROUPS;
typedef TileOfA<THREADS> TileA;
typedef TileOfB<THREADS> TileB;

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, const In* A, const In* B, const Out* C, const Out* bias, Out* D,
                                         int m, int n, int k) {
  constexpr int STAGE = TileA::SIZE + TileB::SIZE, AHEAD = STAGES - 2;
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (m + BM - 1) / BM, (n + BN - 1) / BN, tile_m, tile_n);
  const int row0 = tile_m * BM, col0 = tile_n * BN, thread = threadIdx.x, tiles = (k + BK - 1) / BK;
  // The same for all lanes, and known to be: descriptors are then worked out once a warp.
  const int warp = __shfl_sync(~0u, thread / 32, 0), group = warp / 4;
  const int row = group / GROUPS_N * WM, col = group % GROUPS_N * WN;
  const auto start = [&](int tile, int slot) {
    if (tile < tiles) {
      In* const to = stages + slot * STAGE;
      TileA::copy_async<ALIGNED>(to, TileA::Window(A, row0, tile * BK, m, k), thread);
      TileB::copy_async<ALIGNED>(to + TileA::SIZE, TileB::Window(B, col0, tile * BK, n, k), thread);
    }
    __pipeline_commit();
  };
  for (int i = 0; i < AHEAD; ++i) start(i, i);
  const unsigned first = unsigned(__cvta_generic_to_shared(stages));
  Sums sum = {};
  int slot = 0, free_slot = AHEAD;
  for (int tile = 0; tile < tiles; ++tile) {
    __pipeline_wait_prior(AHEAD - 1);
    fence_async_proxy();
    // This tile is there for all; all are done with the tile before the last.
    __syncthreads();
    multiply_tile<TileA, TileB>(sum, first + slot * STAGE * int(sizeof(In)), row, col);
    start(tile + AHEAD, free_slot);
    wgmma_wait<1>();
    slot = slot + 1 == STAGES ? 0 : slot + 1;
    free_slot = free_slot + 1 == STAGES ? 0 : free_slot + 1;
  }
  wgmma_wait<0>();
#pragma unroll
  for (int i = 0; i < HIGH; ++i) arrived(sum[i][0]);
  // The sums go through the tiles' memory, which others may still read.
  __syncthreads();
  Acc* const patch = reinterpret_cast<Acc*>(stages) + warp * PATCH_OF<WN>;
  const size_t addresses = reinterpret_cast<size_t>(D) | reinterpret_cast<size_t>(C) | reinterpret_cast<size_t>(bias);
  const bool aligned = addresses % 16 == 0 && n % VECTOR_OF<Out> == 0;
#pragma unroll
  for (int i = 0; i < HIGH; ++i)
    write_blocks<false, false>(patch, sum[i], D, row0 + row + 64 * i + warp % 4 * 16, col0 + col, m, n, thread % 32,
                               aligned, PlaceInD{blockIdx.z, m, n}, Finish{C, bias});
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C, const Out* __restrict__ bias,
         Out* __restrict__ D, int m, int n, int k) {
  extern __shared__ __align__(1024) unsigned char memory[];
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
