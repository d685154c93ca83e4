// Sums of tensor cores (wmma) to the output: fragments have no known order, so a warp passes them through memory.
#pragma once
#include <mma.h>

constexpr int EDGE = 16;                // fragments are 16 x 16 x 16
constexpr int PATCH_STRIDE = EDGE + 4;  // 4 more elements of 4 bytes, so that rows start in different banks
constexpr int PATCH = EDGE * PATCH_STRIDE;

template <typename Acc>
using SumFragment = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, EDGE, EDGE, EDGE, Acc>;

// One fragment of sums to the output; two lanes a row, eight columns each: lane 5 has row 2, columns 8 ... 15.
//
// patch: PATCH elements of shared memory of this warp's own. `aligned`: `to` starts on 16 bytes, and eight columns
// from a multiple of eight follow each other there, on a boundary.
// finish(sum, index, row, col), place(row, col): as in epilogue.cuh.
template <typename Acc, typename Out, typename Place, typename Finish>
__device__ __forceinline__ void write_fragment(Acc* patch, const SumFragment<Acc>& sum, Out* to, int row0, int col0,
                                               int rows, int cols, int lane, bool aligned, const Place& place,
                                               const Finish& finish) {
  nvcuda::wmma::store_matrix_sync(patch, sum, PATCH_STRIDE, nvcuda::wmma::mem_row_major);
  __syncwarp();
  const int row = row0 + lane / 2, col = col0 + lane % 2 * 8;
  const Acc* from = patch + lane / 2 * PATCH_STRIDE + lane % 2 * 8;
  if (row < rows && aligned && col + 8 <= cols) {
    const size_t index = place(row, col);
    __align__(16) Out results[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) results[i] = finish(from[i], index + i, row, col + i);
#pragma unroll
    for (int i = 0; i < int(8 * sizeof(Out) / 16); ++i)
      reinterpret_cast<uint4*>(to + index)[i] = reinterpret_cast<const uint4*>(results)[i];
  } else if (row < rows) {
    // Each by its own place: neighbouring pixels of two images do not follow each other in an NCHW output.
    for (int i = 0; i < 8 && col + i < cols; ++i) {
      const size_t index = place(row, col + i);
      to[index] = finish(from[i], index, row, col + i);
    }
  }
  __syncwarp();  // the next fragment goes through the same patch
}
