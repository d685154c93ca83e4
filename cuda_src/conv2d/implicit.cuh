// The tile of Y that one block computes on CUDA cores: a thread has TP pixels of TF filters. Rung 2 walks all of the
// depth, rung 6 a part of it. Parameters TP, TF and UNROLL are the rung's, the others are walk.cuh's.
/*[tuner.shared]
# A thread computes TP pixels of TF filters.
[pixel_tiles.parameters]
BF = { values = [8, 16, 32, 64, 128], doc = "filters a block" }
BK = { values = [4, 8, 16, 32], doc = "depth of the tiles in shared memory" }
TP = { values = [1, 2, 4, 8], doc = "pixels a thread" }
TF = { values = [1, 2, 4, 8], doc = "filters a thread" }
UNROLL = { values = [1, 2], doc = "groups of four steps of depth in straight-line code" }

[pixel_tiles.let]
threads = "BP * BF // (TP * TF)"
shared = "STAGES * (tile_bytes + pad_bytes)"
# Sums and fragments; windows; about 56 for addresses and loops.
registers_needed = "TP * TF + 2 * (TP + TF) + 4 * windows + 56"

[pixel_tiles.constraints]
thread_tiles_divide = "BP % TP == 0 and BF % TF == 0"
whole_warps = "threads % warp_size == 0"
vector_divides_rows = "row_bytes % 16 == 0 and (nhwc or BP * element_bytes % 16 == 0)"
unroll_divides_depth = "BK % (4 * UNROLL) == 0"
elements_fit_a_thread = "BP * BK <= 32 * threads and tile_bytes <= 256 * threads"
filters_used = "BF < 2 * group_k or BF == 8"

[pixel_tiles.features]
registers = "TP * TF + TP + TF"
*/
#pragma once
#include "walk.cuh"

constexpr int TM = OPT_NHWC ? TP : TF, TN = OPT_NHWC ? TF : TP;
constexpr int LANES_M = BM / TM, LANES_N = BN / TN;

typedef Acc Sums[TM][TN];

template <bool ALIGNED>
struct Block : Walk<ALIGNED> {
  const int lane_m, lane_n;

  // `tile`: number of the tile of Y within its group.
  __device__ __forceinline__ Block(const Sizes& of, int tile, int group)
      : Walk<ALIGNED>(of, tile, group), lane_m(threadIdx.x / LANES_N), lane_n(threadIdx.x % LANES_N) {}

  // sum += the product over the tiles of depth first ... last - 1.
  __device__ __forceinline__ void multiply(Sums& sum, In* stages, const In* X, const In* W, int first, int last) const {
    this->take(stages, X, W, first, last, [&](const In* a, const In* b) {
      accumulate<TileA, TileB, LANES_M, LANES_N, BK, UNROLL>(sum, a, b, lane_m, lane_n);
    });
  }

  __device__ __forceinline__ void write(const Sums& sum, Out* Y, const Finish& finish) const {
    write_lanes<TileA, TileB, LANES_M, LANES_N, ALIGNED>(
        sum, Y, this->row0, this->col0, lane_m, lane_n, this->rows, this->cols,
        [&](int row, int col) { return this->place(row, col); },
        [&](Acc value, size_t place, int row, int col) { return finish(value, this->filter(row, col), place); });
  }
};

// Whether everything moves in whole 16-byte pieces, Y in groups of four elements.
__device__ __forceinline__ bool whole_fours(const Sizes& of, const In* X, const In* W, const Out* Y) {
  return whole_pieces(of, X, W, Y) && whole_groups(of, 4);
}
