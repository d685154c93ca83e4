// A warpgroup's share of the product of a block's tiles, which lie in panels (panels.cuh): rungs 12 and 13.
#pragma once
#include "../common/panels.cuh"
#include "gemm.cuh"

constexpr int GROUPS_N = BN / WN, HIGH = WM / 64, STEPS = BK / BLOCK_DEPTH<In>;
typedef Acc Sums[HIGH][1][WN / 8][4];

// Tiles of a block, as so many threads fetch them: A's, and behind it B's.
template <int FETCHING>
using TileOfA = Panels<In, !OPT_TRANS_A, BM, BK, FETCHING>;
template <int FETCHING>
using TileOfB = Panels<In, bool(OPT_TRANS_B), BN, BK, FETCHING>;

// Issues the products of one tile; row and column are those of the warpgroup in the block's tile.
template <typename TileA, typename TileB>
__device__ __forceinline__ void multiply_tile(Sums& sum, unsigned tiles, int row, int col) {
  constexpr int A_BYTES = TileA::SIZE * int(sizeof(In));
  const unsigned long long a = describe(tiles + TileA::offset(row, 0), TileA::NEXT_PANEL);
  const unsigned long long b = describe(tiles + A_BYTES + TileB::offset(col, 0), TileB::NEXT_PANEL);
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < STEPS; ++step)
#pragma unroll
    for (int i = 0; i < HIGH; ++i)
      Wgmma<In, WN>::template add<bool(OPT_TRANS_A), !OPT_TRANS_B>(
          sum[i][0], a + (TileA::offset(64 * i, step) >> 4), b + (TileB::offset(0, step) >> 4));
  wgmma_commit();
}
