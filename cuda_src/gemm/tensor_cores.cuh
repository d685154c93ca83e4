// The epilogue of the tensor-core rungs.
#pragma once
#include "../common/fragments.cuh"
#include "gemm.cuh"

typedef SumFragment<Acc> Sum;

// One fragment of sums to D, from (row0, col0) on. `aligned`: D starts on 16 bytes and n is a multiple of eight.
__device__ __forceinline__ void write_fragment(Acc* patch, const Sum& sum, const Out* C, const Out* bias, Out* D,
                                               size_t batch, int row0, int col0, int m, int n, int lane,
                                               bool aligned) {
  write_fragment(patch, sum, D, row0, col0, m, n, lane, aligned, PlaceInD{batch, m, n}, Finish{C, bias});
}
