// The tiles of a product, from rung 4 on: common/tiles.cuh with GEMM's types, matrices and epilogue.
//
// Of A [m, k] and B [k, n] as they are, a block of 64 x 64 with BK = 16, PAD = 1 and f32 (VECTOR = 4):
//
//        TileA: depth contiguous                    TileB: outer contiguous
//          depth 0 ... 15   gap                       outer (column of D) 0 ... 63    gap
//   row 0  | 4 pieces  |  . . . .             depth 0 |       16 pieces           |  . . . .
//     ...                                       ...
//   row 63 |           |  . . . .             depth 15|                           |  . . . .
/*[tuner.shared]
# Rows of tiles may have a gap behind them.
[padded_rows.parameters]
PAD = { values = [0, 1], doc = "16-byte pieces after each row in shared memory, against bank conflicts" }

[padded_rows.let]
pad_bytes = "16 * PAD * ((BK if trans_a else BM) + (BN if trans_b else BK))"

[stages.parameters]
STAGES = { values = [2, 3, 4, 5], doc = "tiles in shared memory: one in use, the others on their way" }

[stages.let]
stages_bytes = "STAGES * tile_bytes"

[stages.features]
stages = "STAGES"
shared = "stages_bytes"

# A thread computes TM x TN, of which TN are neighbours.
[thread_tiles.parameters]
UNROLL = { values = [1, 2, 4], doc = "groups of four steps of k in straight-line code" }

[thread_tiles.constraints]
unroll_divides_depth = "BK % (4 * UNROLL) == 0"

[thread_tiles.features]
registers = "TM * TN + TM + TN"

# Threads side by side over the block's tile, without tiles of warps.
[threads_side_by_side.parameters]
BM = { values = [16, 32, 64, 128, 256], doc = "rows of D a block" }
BN = { values = [16, 32, 64, 128, 256], doc = "columns of D a block" }
BK = { values = [4, 8, 16, 32, 64], doc = "depth of the tiles in shared memory" }
TM = { values = [1, 2, 4, 8, 16], doc = "rows of D a thread" }
TN = { values = [4, 8, 16], doc = "columns of D a thread" }

[threads_side_by_side.let]
threads = "BM * BN // (TM * TN)"

[threads_side_by_side.constraints]
thread_tiles_divide = "BM % TM == 0 and BN % TN == 0"
whole_warps = "threads % warp_size == 0"
vector_divides_rows = "BK * element_bytes % 16 == 0 and BM * element_bytes % 16 == 0 and BN * element_bytes % 16 == 0"

# Warps on CUDA cores, each with WM x WN of the block's tile.
[warps_of_threads.let]
threads = "(BM // WM) * (BN // WN) * warp_size"
shared = "STAGES * (tile_bytes + pad_bytes)"

[warps_of_threads.constraints]
warp_tiles_divide = "BM % WM == 0 and BN % WN == 0"
one_warp_a_warp_tile = "WM * WN == warp_size * TM * TN and WM % TM == 0 and WN % TN == 0"

[warps_of_threads.features]
warp_intensity = "WM * WN / (WM + WN)"
*/
#pragma once
#include "../common/epilogue.cuh"
#include "../common/lanes.cuh"
#include "../common/pipeline.cuh"
#include "../common/tiles.cuh"
#include "../common/visits.cuh"
#include "gemm.cuh"

constexpr int VECTOR = VECTOR_OF<In>;  // elements in 128 bits

// Calls use(a, b) for the tiles first ... last - 1 along k, with SLOTS - 1 later ones under way meanwhile (`ring`).
// `stages` is shared memory for SLOTS times (A::SIZE + B::SIZE) elements, a tile of B behind each of A.
template <typename A, typename B, int DEPTH, int SLOTS, bool ALIGNED, typename Use>
__device__ __forceinline__ void pipelined(In* stages, const In* a, const In* b, int row0, int col0, int m, int n,
                                          int k, int first, int last, int thread, const Use& use) {
  const auto start = [&](int tile, In* slot) {
    A::template copy_async<ALIGNED>(slot, typename A::Window(a, row0, tile * DEPTH, m, k), thread);
    B::template copy_async<ALIGNED>(slot + A::SIZE, typename B::Window(b, col0, tile * DEPTH, n, k), thread);
  };
  ring<SLOTS, A::SIZE + B::SIZE>(stages, first, last, start, [&](const In* slot) { use(slot, slot + A::SIZE); });
}

// A lane's sums to D. `row0`, `col0`: of what the lanes share, in D. ALIGNED says that n is a multiple of four.
template <typename A, typename B, int LANES_M, int LANES_N, bool ALIGNED, int COUNT_M, int COUNT_N>
__device__ __forceinline__ void write(const Acc (&sum)[COUNT_M][COUNT_N], const Out* C, const Out* bias, Out* D,
                                      size_t batch, int row0, int col0, int lane_m, int lane_n, int m, int n) {
  write_lanes<A, B, LANES_M, LANES_N, ALIGNED>(sum, D, row0, col0, lane_m, lane_n, m, n, PlaceInD{batch, m, n},
                                               Finish{C, bias});
}
