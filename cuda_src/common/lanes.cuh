// A product of two tiles in shared memory, shared out among lanes that hold sums in registers.
//
//   2 x 2 lanes (LANES_M, LANES_N) with 2 x 4 sums each (COUNT_M, COUNT_N). Lane (1, 1) owns the o, where A's depth is
//   contiguous and
//
//             B's depth is too                B's columns are: four neighbours are one load
//     col     0  1  2  3  4  5  6  7          0  1  2  3  4  5  6  7
//     row 0   .  .  .  .  .  .  .  .          .  .  .  .  .  .  .  .
//     row 1   .  o  .  o  .  o  .  o          .  .  .  .  o  o  o  o
//     row 2   .  .  .  .  .  .  .  .          .  .  .  .  .  .  .  .
//     row 3   .  o  .  o  .  o  .  o          .  .  .  .  o  o  o  o
#pragma once
#include "tiles.cuh"

// sum += a b over a tile of DEPTH, of LANES_M x LANES_N lanes with TM x TN elements each. `a` and `b` point to
// what the lanes share, of types of their own. GROUPS: groups of SPAN steps of depth in straight-line code.
template <typename A, typename B, int LANES_M, int LANES_N, int DEPTH, int GROUPS, int SPAN = 4, typename TA,
          typename TB, typename Acc, int COUNT_M, int COUNT_N>
__device__ __forceinline__ void accumulate(Acc (&sum)[COUNT_M][COUNT_N], const TA* a, const TB* b, int lane_m,
                                           int lane_n) {
#pragma unroll GROUPS
  for (int depth = 0; depth < DEPTH; depth += SPAN) {
    const typename A::template Fragment<LANES_M, COUNT_M, SPAN> a_span(a, lane_m, depth);
    const typename B::template Fragment<LANES_N, COUNT_N, SPAN> b_span(b, lane_n, depth);
#pragma unroll
    for (int step = 0; step < SPAN; ++step) {
      Acc a_part[COUNT_M], b_part[COUNT_N];
      a_span.step(a_part, lane_m, step);
      b_span.step(b_part, lane_n, step);
#pragma unroll
      for (int i = 0; i < COUNT_M; ++i)
#pragma unroll
        for (int j = 0; j < COUNT_N; ++j) sum[i][j] = multiply_add(a_part[i], b_part[j], sum[i][j]);
    }
  }
}
