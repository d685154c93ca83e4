// What rung 6 asks the copy engine for (bulk.cuh): queries of a visit, and its tiles of keys and values in the order in
// which the walk (wgmma_walk.cuh) needs them, through one ring of slots that takes either.
//
//   step             0    1        2              n - 1            n
//   tile             K0   K1 V0    K2 V1   ...    K(n-1) V(n-2)    V(n-1)
//
// Who includes this declares beside what the walk wants the parameters STAGES (slots) and HEADS.
#pragma once
#include "../common/bulk.cuh"
#include "../common/visits.cuh"
#include "wgmma_walk.cuh"

constexpr int QUERY_BYTES = QTile::SIZE * int(sizeof(Element)), TILE_BYTES = KTile::SIZE * int(sizeof(Element));
static_assert(KTile::SIZE == VTile::SIZE && KTile::NEXT_PANEL == VTile::NEXT_PANEL, "one slot takes keys or values");

// What lies behind the tiles: barriers, one of each kind a slot and two of the queries; the number of the visit.
struct Barriers {
  unsigned first;
  __device__ __forceinline__ unsigned full(int slot) const { return first + 8 * slot; }
  __device__ __forceinline__ unsigned empty(int slot) const { return first + 8 * (STAGES + slot); }
  __device__ __forceinline__ unsigned queries() const { return first + 8 * (2 * STAGES); }
  __device__ __forceinline__ unsigned queries_read() const { return first + 8 * (2 * STAGES + 1); }

  __device__ __forceinline__ void init() const {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(full(i), 1);
      barrier_init(empty(i), 4 * GROUPS);  // warps
    }
    barrier_init(queries(), 1);
    barrier_init(queries_read(), 4 * GROUPS);
    barriers_ready();
  }
};

// BQ rows of queries of one head. Under a causal mask the last rows of a head see the most keys, and the longest work
// is best begun first. HEADS heads are visited together: their keys and values stay in L2 meanwhile.
struct Visit {
  int head, row0, tiles;
  __device__ __forceinline__ Visit(const Problem& of, int number, int heads) {
    const int blocks = (of.rows + BQ - 1) / BQ;
    int block;
    grouped_tile<HEADS>(number, heads, blocks, head, block);
    row0 = (blocks - 1 - block) * BQ;
    tiles = tiles_seen(of, row0, BQ);
  }
};
__device__ __forceinline__ int visits_of(const Problem& of, int heads) { return (of.rows + BQ - 1) / BQ * heads; }

struct Maps {
  const TensorMap *q, *k, *v;
};

// What one warp asks for. Its first lane does; that all of them know where they are lets the compiler work out
// addresses once a warp, also where the warp is one that multiplies.
struct Fetches {
  const Maps maps;
  const Problem of;
  const int* const block_table;
  const unsigned memory;  // queries, and behind them the slots
  const Barriers barriers;
  const int lane;
  Ring<STAGES> ring{0};

  // For all lanes: the first one may then change what the others have waited for.
  __device__ __forceinline__ void await_all(unsigned barrier, int parity) const {
    await(barrier, parity);
    __syncwarp();
  }

  // Queries of all warpgroups, when those of the visit before are read.
  __device__ __forceinline__ void queries(const Visit& visit, int turn) const {
    await_all(barriers.queries_read(), turn % 2 ^ 1);
    if (lane != 0) return;
    arrive_expecting(barriers.queries(), GROUPS * QUERY_BYTES);
    for (int i = 0; i < GROUPS; ++i)
#pragma unroll
      for (int panel = 0; panel < DEPTH / 64; ++panel)
        fetch_box(memory + i * QUERY_BYTES + panel * QTile::NEXT_PANEL, maps.q, panel * 64, visit.row0 + i * 64,
                  visit.head, barriers.queries());
  }

  // The visit's tile of this number: K0, K1, V0, K2, V1, ...
  __device__ __forceinline__ void tile(const Visit& visit, int number) {
    const bool keys = number == 0 || (number % 2 == 1 && number + 1 < 2 * visit.tiles);
    const int key0 = (visit.tiles - 1 - (keys ? number + 1 : number - 1) / 2) * BK;
    const TensorMap* const map = keys ? maps.k : maps.v;
    const unsigned to = memory + GROUPS * QUERY_BYTES + ring.slot * TILE_BYTES, full = barriers.full(ring.slot);
    await_all(barriers.empty(ring.slot), ring.parity ^ 1);
    ring.next();
    if (lane != 0) return;
    arrive_expecting(full, TILE_BYTES);
#if OPT_PAGED
    pages(to, map, visit.head, key0, full);
#else
#pragma unroll
    for (int panel = 0; panel < DEPTH / 64; ++panel)
      fetch_box(to + panel * KTile::NEXT_PANEL, map, panel * 64, key0, visit.head, full);
#endif
  }

#if OPT_PAGED
  // Behind the last page there is nothing to fetch: what lies in front of the pool stands in for it, which is zeros.
  // What lies behind the last token of its page arrives as it is: rows whose sums it makes a NaN are left to careful().
  __device__ __forceinline__ void pages(unsigned to, const TensorMap* map, int head, int key0, unsigned full) const {
    constexpr int PAGE_ROWS = OPT_PAGE_SIZE < BK ? OPT_PAGE_SIZE : BK;
    static_assert(BK % PAGE_ROWS == 0 && OPT_PAGE_SIZE % PAGE_ROWS == 0 && PAGE_ROWS % 8 == 0, "boxes are of one page");
    const int* const listed = block_table + size_t(head / of.heads) * ((of.kv + OPT_PAGE_SIZE - 1) / OPT_PAGE_SIZE);
#pragma unroll 2
    for (int i = 0; i < BK; i += PAGE_ROWS) {
      const int token = key0 + i;
      const int row =
          token < of.kv ? listed[token / OPT_PAGE_SIZE] * OPT_PAGE_SIZE + token % OPT_PAGE_SIZE : -PAGE_ROWS;
#pragma unroll
      for (int panel = 0; panel < DEPTH / 64; ++panel)
        fetch_box(to + panel * KTile::NEXT_PANEL + i * 128, map, panel * 64, head % of.heads, row, full);
    }
  }
#endif
};
