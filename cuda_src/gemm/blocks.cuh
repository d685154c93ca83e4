// A block's product by mma.sync, of rungs 10 and 11: which tiles, what a step does, how sums leave.
//
// The configuration arrives as macros: BM, BN, BK, WM, WN, STAGES.
/*[tuner.shared]
# Tiles in a ring of stages, their pieces swizzled, and the way of the sums through shared memory.
[swizzled_stages.parameters]
STAGES = { values = [2, 3, 4, 5, 6], doc = "tiles in shared memory: one in use, the others on their way" }

[swizzled_stages.let]
# Tiles, and afterwards 16 rows of sums for each warp.
tiles_bytes = "STAGES * tile_bytes"
shared = "max(tiles_bytes, warps * 16 * (WN + 8) * 4)"

[swizzled_stages.constraints]
# A step is 32 bytes of depth, and a tile has an even number of steps.
tile_has_two_steps = "BK * element_bytes >= 64"
rows_have_four_pieces = "(BM if trans_a else BK) * element_bytes >= 64 and (BK if trans_b else BN) * element_bytes >= 64"

[swizzled_stages.features]
stages = "STAGES"
shared = "tiles_bytes"
*/
#pragma once
#include "../common/blocks_out.cuh"
#include "../common/pipeline.cuh"
#include "../common/swizzled.cuh"
#include "../common/visits.cuh"
#include "gemm.cuh"

constexpr int WARPS_N = BN / WN, WARPS = BM / WM * WARPS_N, THREADS = WARPS * 32;
constexpr int ACROSS_M = WM / BLOCK_OUTER, ACROSS_N = WN / BLOCK_OUTER, STEPS = BK / BLOCK_DEPTH<In>;
typedef Swizzled<In, !OPT_TRANS_A, BM, BK, THREADS> TileA;
typedef Swizzled<In, bool(OPT_TRANS_B), BN, BK, THREADS> TileB;
typedef Acc Sums[ACROSS_M][2 * ACROSS_N][4];

// A step's blocks of a warp, and their product.
struct Step {
  unsigned a[ACROSS_M][4], b[ACROSS_N][4];

  __device__ __forceinline__ void load(const In* tiles, const TileA::Part<false>& part_a, const TileB::Part<true>& part_b,
                                       int step) {
#pragma unroll
    for (int i = 0; i < ACROSS_M; ++i) part_a.load_block(a[i], tiles, i, step);
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j) part_b.load_block(b[j], tiles + TileA::SIZE, j, step);
  }

#if DTYPE_F32
  // f32 on tensor cores that know tf32 (8 bits of exponent, 11 of significand): a number is the sum of two of them, to
  // 2^-22 of it, and of the four products the one of both small parts is left out (Markidis, Chien, Laure, Peng,
  // Vetter: NVIDIA Tensor Core Programmability, Performance & Precision, IPDPSW 2018).
  __device__ __forceinline__ void multiply(Sums& sum) const {
    unsigned b_large[ACROSS_N][4], b_small[ACROSS_N][4];
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j) split(b[j], b_large[j], b_small[j]);
#pragma unroll
    for (int i = 0; i < ACROSS_M; ++i) {
      unsigned a_large[4], a_small[4];
      split(a[i], a_large, a_small);
#pragma unroll
      for (int j = 0; j < 2 * ACROSS_N; ++j) {
        const unsigned *const large = b_large[j / 2] + j % 2 * 2, *const small = b_small[j / 2] + j % 2 * 2;
        mma_tf32(sum[i][j], a_small, large);
        mma_tf32(sum[i][j], a_large, small);
        mma_tf32(sum[i][j], a_large, large);
      }
    }
  }
  // By bits: cvt.rna.tf32 takes eight instructions on sm_80. The large part is rounded to nearest, so that the small
  // one has 12 bits, of which 11 are kept.
  static __device__ __forceinline__ void split(const unsigned (&from)[4], unsigned (&large)[4], unsigned (&small)[4]) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      large[e] = (from[e] + 0x1000u) & 0xffffe000u;
      small[e] = __float_as_uint(__uint_as_float(from[e]) - __uint_as_float(large[e])) & 0xffffe000u;
    }
  }
#elif DTYPE_TF32
  // To the nearest number of 11 bits of significand: the tensor core would cut off the others. By bits, as in `split`;
  // of a NaN the carry could reach the sign.
  __device__ __forceinline__ void multiply(Sums& sum) const {
    unsigned b_near[ACROSS_N][4];
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j) round(b[j], b_near[j]);
#pragma unroll
    for (int i = 0; i < ACROSS_M; ++i) {
      unsigned a_near[4];
      round(a[i], a_near);
#pragma unroll
      for (int j = 0; j < 2 * ACROSS_N; ++j) mma_tf32(sum[i][j], a_near, b_near[j / 2] + j % 2 * 2);
    }
  }
  static __device__ __forceinline__ void round(const unsigned (&from)[4], unsigned (&near)[4]) {
#pragma unroll
    for (int e = 0; e < 4; ++e) near[e] = from[e] + (isnan(__uint_as_float(from[e])) ? 0 : 0x1000u);
  }
#else
  __device__ __forceinline__ void multiply(Sums& sum) const {
#pragma unroll
    for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
      for (int j = 0; j < 2 * ACROSS_N; ++j) {
        const unsigned* const half = b[j / 2] + j % 2 * 2;
#if DTYPE_INT8
        mma_int8(sum[i][j], a[i], half);
#elif DTYPE_E4M3
        mma_e4m3(sum[i][j], a[i], half);
#elif DTYPE_E5M2
        mma_e5m2(sum[i][j], a[i], half);
#elif DTYPE_BF16
        mma_bf16(sum[i][j], a[i], half);
#else
        mma_f16(sum[i][j], a[i], half);
#endif
      }
  }
#endif
};

// Adds the product of steps first ... last - 1 (of BK along k) of the tile at (row0, col0) to a warp's sums.
template <bool ALIGNED>
__device__ __forceinline__ void accumulate_blocks(Sums& sum, In* stages, const In* A, const In* B, int row0, int col0,
                                                  int m, int n, int k, int first, int last) {
  const int thread = threadIdx.x, warp = thread / 32;
  const TileA::Part<false> part_a(warp / WARPS_N * WM, thread % 32);
  const TileB::Part<true> part_b(warp % WARPS_N * WN, thread % 32);
  Step steps[2];
  const auto start = [&](int tile, In* slot) {
    TileA::copy_async<ALIGNED>(slot, TileA::Window(A, row0, tile * BK, m, k), thread);
    TileB::copy_async<ALIGNED>(slot + TileA::SIZE, TileB::Window(B, col0, tile * BK, n, k), thread);
  };
  const auto load = [&](const In* slot, int step, int buffer) { steps[buffer].load(slot, part_a, part_b, step); };
#if DTYPE_F32
  // Tensor cores cut off what a sum has below its last place, always towards zero (Fasi, Higham, Mikaitis, Pranesh:
  // Numerical behavior of NVIDIA tensor cores, PeerJ CS 2021), which adds up over a long k. They sum one step only,
  // from zero; the sums over k are made by rounding additions (Ootomo, Yokota: Recovering single precision accuracy
  // from Tensor Cores while surpassing the FP32 theoretical peak performance, IJHPCA 2022).
  ring_ahead<STAGES, TileA::SIZE + TileB::SIZE, STEPS>(stages, first, last, start, load, [&](int buffer) {
    Sums part = {};
    steps[buffer].multiply(part);
#pragma unroll
    for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
      for (int j = 0; j < 2 * ACROSS_N; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[i][j][e] += part[i][j][e];
  });
#else
  ring_ahead<STAGES, TileA::SIZE + TileB::SIZE, STEPS>(stages, first, last, start, load,
                                                       [&](int buffer) { steps[buffer].multiply(sum); });
#endif
}

// A warp's sums to D, through `memory`, of which every warp takes a patch of its own.
__device__ __forceinline__ void write_sums(const Sums& sum, void* memory, const Out* C, const Out* bias, Out* D,
                                           size_t batch, int row0, int col0, int m, int n) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Acc* patch = static_cast<Acc*>(memory) + warp * PATCH_OF<WN>;
  const size_t addresses = reinterpret_cast<size_t>(D) | reinterpret_cast<size_t>(C) | reinterpret_cast<size_t>(bias);
  write_blocks<TileA::INTERLEAVED, TileB::INTERLEAVED>(
      patch, sum, D, row0 + warp / WARPS_N * WM, col0 + warp % WARPS_N * WN, m, n, lane,
      addresses % 16 == 0 && n % VECTOR_OF<Out> == 0, PlaceInD{batch, m, n}, Finish{C, bias});
}
