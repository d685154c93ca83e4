// Sums of tensor cores (mma_blocks.cuh) to the output, 128 bits at a time.
//
// A lane holds two neighbours of a row here and two there; a row of 16 bytes is what four lanes have. So a warp lays
// out 16 rows of its sums in shared memory and takes them from there in runs of neighbours:
//
//   WN = 32, f16: runs of eight   row 0   lane 0   lane 1   lane 2   lane 3   gap
//                                 row 1   lane 4   lane 5   lane 6   lane 7   gap
//                                 ...     (and lane 0 again in row 8)
#pragma once
#include "mma_blocks.cuh"
#include "vectors.cuh"

// Elements of Acc that a warp needs of shared memory for sums of WIDTH columns. The gap of 8 puts rows that are
// written at once into different banks.
template <int WIDTH>
constexpr int PATCH_OF = BLOCK_OUTER * (WIDTH + 8);

// Sums of RUN neighbours of a row to the output, together where they are `aligned`; `cols` may end among them. index:
// place(row, col).
template <int RUN, typename Acc, typename Out, typename Place, typename Finish>
__device__ __forceinline__ void write_run(const Acc (&sum)[RUN], Out* to, size_t index, int row, int col, int cols,
                                          bool aligned, const Place& place, const Finish& finish) {
  if (aligned && col + RUN <= cols) {
    Out result[RUN];
    finish.run(result, sum, index, row, col);
    store(to + index, result);
  } else {
    // Each by its own place: neighbouring pixels of two images do not follow each other in an NCHW output.
#pragma unroll
    for (int e = 0; e < RUN; ++e) {
      if (col + e >= cols) continue;
      const size_t at = place(row, col + e);
      to[at] = finish(sum[e], at, row, col + e);
    }
  }
}

// A warp's sums to the output: sum[i][2 j + b] is that of A's block i and B's block j, b as in mma_blocks.cuh.
//
// MIX_A, MIX_B: whether the operand's outers are INTERLEAVED. patch: PATCH_OF<16 * ACROSS_N> elements of this warp's
// own. `aligned`: runs of 16 bytes in the output that start at a multiple of their length lie on a boundary.
// place(row, col), finish(sum, index, row, col): as in epilogue.cuh; finish.run does a run of neighbours.
template <bool MIX_A, bool MIX_B, typename Acc, typename Out, int ACROSS_M, int COUNT_N, typename Place,
          typename Finish>
__device__ __forceinline__ void write_blocks(Acc* patch, const Acc (&sum)[ACROSS_M][COUNT_N][4], Out* to, int row0,
                                             int col0, int rows, int cols, int lane, bool aligned, const Place& place,
                                             const Finish& finish) {
  constexpr int WIDTH = 8 * COUNT_N, STRIDE = WIDTH + 8, RUN = VECTOR_OF<Out>, RUNS = WIDTH / RUN;
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < ACROSS_M; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Acc* const row = patch + (MIX_A ? 2 * g + half : g + 8 * half) * STRIDE;
#pragma unroll
      for (int j = 0; j < COUNT_N; j += 2) {
        const Acc *const low = sum[i][j] + 2 * half, *const high = sum[i][j + 1] + 2 * half;
        if (MIX_B) {
          const Acc four[4] = {low[0], high[0], low[1], high[1]};
          store(row + 8 * j + 4 * t, four);
        } else {
          const Acc two[2] = {low[0], low[1]}, others[2] = {high[0], high[1]};
          store(row + 8 * j + 2 * t, two);
          store(row + 8 * j + 8 + 2 * t, others);
        }
      }
    }
    __syncwarp();
#pragma unroll 2
    for (int n = lane; n < BLOCK_OUTER * RUNS; n += 32) {
      const int row = row0 + i * BLOCK_OUTER + n / RUNS, col = col0 + n % RUNS * RUN;
      if (row >= rows || col >= cols) continue;
      const Acc* const from = patch + n / RUNS * STRIDE + n % RUNS * RUN;
      const size_t index = place(row, col);
      Acc run[RUN];
#pragma unroll
      for (int part = 0; part < RUN; part += 4) {
        Acc four[4];
        load(four, from + part);
#pragma unroll
        for (int e = 0; e < 4; ++e) run[part + e] = four[e];
      }
      write_run(run, to, index, row, col, cols, aligned, place, finish);
    }
    __syncwarp();  // the next rows go through the same patch
  }
}
