// Sums of tensor cores (mma_blocks.cuh) to the output, finished in registers and laid out as elements of the output.
//
// As blocks_out.cuh, but what passes through shared memory is the finished element: half as much for 16 bits, and 16
// rows of 128 bytes at a time, so that a persistent kernel has room for it beside its tiles.
#pragma once
#include "mma_blocks.cuh"
#include "vectors.cuh"

// Elements after a row of the patch: rows that are written at once begin in different banks, each on 16 bytes.
template <typename Out>
constexpr int FINISHED_GAP = VECTOR_OF<Out> > 8 ? VECTOR_OF<Out> : 8;
// Elements of Out that a warp needs of shared memory.
template <typename Out>
constexpr int FINISHED_PATCH = BLOCK_OUTER * (8 * VECTOR_OF<Out> + FINISHED_GAP<Out>);

// A warp's sums to the output. `aligned`: as of write_blocks. finish(sum, index, row, col) and finish.run as there; READS:
// whether it reads memory at the index.
template <bool READS, typename Acc, typename Out, int COUNT_N, typename Place, typename Finish>
__device__ __forceinline__ void write_finished(Out* patch, const Acc (&sum)[COUNT_N][4], Out* to, int row0, int col0,
                                               int rows, int cols, int lane, bool aligned, const Place& place,
                                               const Finish& finish) {
  // Columns at a time: 128 bytes, or half of it where the warp's columns are no multiple.
  constexpr int RUN = VECTOR_OF<Out>, WIDTH = COUNT_N % RUN == 0 ? 8 * RUN : 4 * RUN;
  constexpr int STRIDE = WIDTH + FINISHED_GAP<Out>;
  constexpr int LANES = WIDTH / RUN, TOGETHER = 32 / LANES;  // lanes a row, rows at a time
  static_assert(8 * COUNT_N % WIDTH == 0, "columns are taken in whole runs");
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int at = 0; at < 8 * COUNT_N; at += WIDTH) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row0 + g + 8 * half;
#pragma unroll
      for (int j = 0; j < WIDTH / 8; ++j) {
        const int col = col0 + at + 8 * j + 2 * t;
        const Acc* const from = sum[at / 8 + j] + 2 * half;
        const Acc two[2] = {from[0], from[1]};
        Out result[2] = {};
        if constexpr (!READS) {
          result[0] = finish(two[0], 0, row, col);
          result[1] = finish(two[1], 0, row, col + 1);
        } else if (aligned && row < rows && col + 2 <= cols) {
          finish.run(result, two, place(row, col), row, col);
        } else {
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (row < rows && col + e < cols) result[e] = finish(two[e], place(row, col + e), row, col + e);
        }
        store(patch + (g + 8 * half) * STRIDE + 8 * j + 2 * t, result);
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < BLOCK_OUTER / TOGETHER; ++i) {
      const int r = lane / LANES + TOGETHER * i, row = row0 + r, col = col0 + at + lane % LANES * RUN;
      Out run[RUN];
      load(run, patch + r * STRIDE + lane % LANES * RUN);
      if (row >= rows) continue;
      if (aligned && col + RUN <= cols) {
        store(to + place(row, col), run);
      } else {
#pragma unroll
        for (int e = 0; e < RUN; ++e)
          if (col + e < cols) to[place(row, col + e)] = run[e];
      }
    }
    __syncwarp();  // the next columns go through the same patch
  }
}
