// The epilogue of the tensor-core rungs: fragments have no known order, so a warp passes them through shared memory.
#pragma once
#include <mma.h>

#include "gemm.cuh"

constexpr int EDGE = 16;             // fragments are 16 x 16 x 16
constexpr int PATCH_STRIDE = EDGE + 4;  // 4 more elements of 4 bytes, so that rows start in different banks
constexpr int PATCH = EDGE * PATCH_STRIDE;

typedef nvcuda::wmma::fragment<nvcuda::wmma::accumulator, EDGE, EDGE, EDGE, Acc> Sum;

// One fragment of sums to D; two lanes a row, eight columns each. `patch`: PATCH elements of this warp's own.
// `aligned`: D starts on 16 bytes and n is a multiple of eight.
__device__ __forceinline__ void write_fragment(Acc* patch, const Sum& sum, const Out* C, const Out* bias, Out* D,
                                               size_t batch, int row0, int col0, int m, int n, int lane,
                                               bool aligned) {
  nvcuda::wmma::store_matrix_sync(patch, sum, PATCH_STRIDE, nvcuda::wmma::mem_row_major);
  __syncwarp();
  const int row = row0 + lane / 2, col = col0 + lane % 2 * 8;
  const Acc* from = patch + lane / 2 * PATCH_STRIDE + lane % 2 * 8;
  const size_t index = (batch * m + row) * n + col;
  if (row < m && aligned && col + 8 <= n) {
    __align__(16) Out results[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) results[i] = finish(from[i], C, bias, index + i, col + i);
#pragma unroll
    for (int i = 0; i < int(8 * sizeof(Out) / 16); ++i)
      reinterpret_cast<uint4*>(D + index)[i] = reinterpret_cast<const uint4*>(results)[i];
  } else if (row < m) {
    for (int i = 0; i < 8; ++i)
      if (col + i < n) D[index + i] = finish(from[i], C, bias, index + i, col + i);
  }
  __syncwarp();  // the next fragment goes through the same patch
}
