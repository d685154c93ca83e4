// Rung 3 for int8: exact products of 16 x 8 with a depth of 32, by mma.sync. wmma has int8 with a depth of 16 only, at
// half the rate.
//
// Both operands of such a product want their depth together, four bytes a register. Filters have it so, NHWC's pixels
// too; NCHW's tiles are TURNED on the way (image.cuh). So ldmatrix reads either operand as four matrices of 8 rows by
// 16 bytes: a block (mma_blocks.cuh).
#pragma once
#define TURNED (!OPT_NHWC)
#include "../common/blocks_out.cuh"
#include "walk.cuh"

constexpr int WM = OPT_NHWC ? WP : WF, WN = OPT_NHWC ? WF : WP;
constexpr int WARPS_N = BN / WN, ACROSS_M = WM / BLOCK_OUTER, ACROSS_N = WN / BLOCK_OUTER;
static_assert(TileA::ROWS == BM && TileB::ROWS == BN && BK % BLOCK_DEPTH<In> == 0, "depth is contiguous, in whole blocks");

// Where a lane's row of a part of a tile begins, of the part's first block. OF_B: as in mma_blocks.cuh.
template <typename Tile, bool OF_B>
__device__ __forceinline__ int lane_offset(int outer0, int lane) {
  const int second = lane / 8 % 2, pair = lane / 16;  // lanes 8 i ... 8 i + 7 ask for register i
  return Tile::offset(outer0 + (OF_B ? pair : second) * 8 + lane % 8, (OF_B ? second : pair) * 16);
}

// Sums to Y, one by one or a run of neighbours at a time (blocks_out.cuh).
template <class Block>
struct FinishRuns {
  const Block& block;
  const Finish& finish;

  __device__ __forceinline__ Out operator()(Acc value, size_t place, int row, int col) const {
    return finish(value, block.filter(row, col), place);
  }
  template <int RUN>
  __device__ __forceinline__ void run(Out (&to)[RUN], const Acc (&sum)[RUN], size_t place, int row, int col) const {
#pragma unroll
    for (int e = 0; e < RUN; ++e) to[e] = finish(sum[e], block.filter(row, col + e), place + e);
  }
};

template <bool ALIGNED>
__device__ __forceinline__ void convolve(In* stages, const Sizes& of, const In* X, const In* W, const Finish& finish,
                                         Out* Y) {
  const Walk<ALIGNED> walk(of, blockIdx.x, blockIdx.y);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_row = warp / WARPS_N * WM, warp_col = warp % WARPS_N * WN;  // in the block's tile
  const int a_offset = lane_offset<TileA, false>(warp_row, lane), b_offset = lane_offset<TileB, true>(warp_col, lane);
  Acc sum[ACROSS_M][2 * ACROSS_N][4] = {};
  walk.take(stages, X, W, 0, walk.steps(of), [&](const In* a, const In* b) {
    const unsigned a_row = unsigned(__cvta_generic_to_shared(a + a_offset));
    const unsigned b_row = unsigned(__cvta_generic_to_shared(b + b_offset));
#pragma unroll
    for (int step = 0; step < BK; step += BLOCK_DEPTH<In>) {
      unsigned a_block[ACROSS_M][4], b_block[ACROSS_N][4];
#pragma unroll
      for (int i = 0; i < ACROSS_M; ++i) load_matrices(a_block[i], a_row + TileA::offset(i * BLOCK_OUTER, step));
#pragma unroll
      for (int j = 0; j < ACROSS_N; ++j) load_matrices(b_block[j], b_row + TileB::offset(j * BLOCK_OUTER, step));
#pragma unroll
      for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
        for (int j = 0; j < 2 * ACROSS_N; ++j) mma_int8(sum[i][j], a_block[i], b_block[j / 2] + j % 2 * 2);
    }
  });
  __syncthreads();  // the patches lie where the tiles were
  Acc* const patch = reinterpret_cast<Acc*>(stages) + warp * PATCH_OF<WN>;
  const bool aligned = ALIGNED && whole_groups(of, VECTOR_OF<Out>);
  write_blocks<false, false>(patch, sum, Y, walk.row0 + warp_row, walk.col0 + warp_col, walk.rows, walk.cols, lane,
                             aligned, [&](int row, int col) { return walk.place(row, col); },
                             FinishRuns<Walk<ALIGNED>>{walk, finish});
}
