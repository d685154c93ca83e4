// From sums to the output: what is done to each, and how a lane's sums are written.
#pragma once
#include "half.cuh"
#include "vectors.cuh"

// max(value, 0) that keeps a NaN; `value > 0 ? value : 0` would hide it.
template <typename Acc>
__device__ __forceinline__ Acc relu(Acc value) {
  return value < Acc(0) ? Acc(0) : value;
}

// A lane's sums (lanes.cuh) to the output, with 128-bit stores (or as wide as four elements are) where columns lie
// together.
//
// finish(sum, index, row, col): the element of the output for a sum.
// place(row, col): its index in `to`; with ALIGNED the next three of a multiple of four follow it, on a boundary.
// row0, col0: of what the lanes share. rows, cols: the output's; ALIGNED says that cols is a multiple of four.
template <typename A, typename B, int LANES_M, int LANES_N, bool ALIGNED, typename Acc, typename Out, int COUNT_M,
          int COUNT_N, typename Place, typename Finish>
__device__ __forceinline__ void write_lanes(const Acc (&sum)[COUNT_M][COUNT_N], Out* to, int row0, int col0, int lane_m,
                                            int lane_n, int rows, int cols, const Place& place, const Finish& finish) {
  constexpr int GROUP = ALIGNED && B::RUNS_OF_FOUR && COUNT_N >= 4 ? 4 : 1;
#pragma unroll
  for (int i = 0; i < COUNT_M; ++i) {
    const int row = row0 + A::template outer<LANES_M, COUNT_M>(lane_m, i);
    if (row >= rows) continue;
#pragma unroll
    for (int j = 0; j < COUNT_N; j += GROUP) {
      const int col = col0 + B::template outer<LANES_N, COUNT_N>(lane_n, j);
      if (col >= cols) continue;
      const size_t index = place(row, col);
      Out result[GROUP];
#pragma unroll
      for (int g = 0; g < GROUP; ++g) result[g] = finish(sum[i][j + g], index + g, row, col + g);
      store(to + index, result);
    }
  }
}
