// The tiles of a product, from rung 4 on: common/tiles.cuh with GEMM's types, matrices and epilogue.
//
// Of A [m, k] and B [k, n] as they are, a block of 64 x 64 with BK = 16, PAD = 1 and f32 (VECTOR = 4):
//
//        TileA: depth contiguous                    TileB: outer contiguous
//          depth 0 ... 15   gap                       outer (column of D) 0 ... 63    gap
//   row 0  | 4 pieces  |  . . . .             depth 0 |       16 pieces           |  . . . .
//     ...                                       ...
//   row 63 |           |  . . . .             depth 15|                           |  . . . .
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
