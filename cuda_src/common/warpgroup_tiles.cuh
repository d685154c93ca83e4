// A warpgroup's share of the product of a block's tiles, which lie in panels (panels.cuh).
//
// The kernel has element types In and Acc, and its configuration as macros: tiles BM x BK and BN x BK of a block, of
// which a warpgroup multiplies WM x WN.
#pragma once
#include "panels.cuh"

constexpr int GROUPS_N = BN / WN, HIGH = WM / 64, STEPS = BK / BLOCK_DEPTH<In>;
constexpr int A_BYTES = BM * BK * int(sizeof(In)), STAGE_BYTES = A_BYTES + BN * BK * int(sizeof(In));
typedef Acc Sums[HIGH][1][WN / 8][4];

// Issues the products of one stage, a tile of A and behind it one of B; row and column are those of the warpgroup in
// the block's tile.
template <typename TileA, typename TileB>
__device__ __forceinline__ void multiply_tile(Sums& sum, unsigned tiles, int row, int col) {
  static_assert(TileA::SIZE * sizeof(In) == A_BYTES, "A's tile is BM x BK");
  const unsigned long long a = describe(tiles + TileA::offset(row, 0), TileA::NEXT_PANEL);
  const unsigned long long b = describe(tiles + A_BYTES + TileB::offset(col, 0), TileB::NEXT_PANEL);
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < STEPS; ++step)
#pragma unroll
    for (int i = 0; i < HIGH; ++i)
      Wgmma<In, WN>::template add<TileA::OUTER_CONTIGUOUS, TileB::OUTER_CONTIGUOUS>(
          sum[i][0], a + (TileA::offset(64 * i, step) >> 4), b + (TileB::offset(0, step) >> 4));
  wgmma_commit();
}
