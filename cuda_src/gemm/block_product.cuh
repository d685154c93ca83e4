// The kernel of rung 10: a block computes one tile of D, over all of the depth. Parameters are those of blocks.cuh,
// GROUP_M and MIN_BLOCKS.
#pragma once
#include "blocks.cuh"

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, const In* A, const In* B, const Out* C, const Out* bias, Out* D,
                                         int m, int n, int k) {
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (m + BM - 1) / BM, (n + BN - 1) / BN, tile_m, tile_n);
  const int row0 = tile_m * BM, col0 = tile_n * BN;
  Sums sum = {};
  accumulate_blocks<ALIGNED>(sum, stages, A, B, row0, col0, m, n, k, 0, (k + BK - 1) / BK);
  // The sums go through the tiles' memory: nobody reads tiles after the last barrier of ring_ahead.
  write_sums(sum, stages, C, bias, D, blockIdx.z, row0, col0, m, n);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  extern __shared__ __align__(128) unsigned char memory[];
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
