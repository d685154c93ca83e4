// A warpgroup's walk over the tiles of keys (rungs 5 and 6): what it issues, what it computes meanwhile, and when it is
// through with a tile. How tiles come to shared memory is the rung's.
//
// Products take keys and values from there as they lie, and run on while the warps compute: the scores of a tile and
// the sums of the one before it are issued together, and while the sums are made, the scores become powers (Shah et
// al., FlashAttention-3, 2024). Tiles are walked from the last one on, so that those that a mask cuts come first.
//
//   step i          scores i = queries x keys i  |  sums += powers i - 1 x values i - 1
//                   powers i, of scores i        |
//
// Who includes this declares the parameters GROUPS (warpgroups a block, each with 64 rows of queries) and BK (keys of a
// tile).
#pragma once
#include "wgmma_rows.cuh"

constexpr int BQ = 64 * GROUPS, DEPTH = (HEAD + 63) / 64 * 64, MULTIPLYING = 128 * GROUPS;
typedef Panels<Element, true, 64, DEPTH, 128> QTile;  // of a warpgroup
typedef Panels<Element, true, BK, DEPTH, MULTIPLYING> KTile;
typedef Panels<Element, false, DEPTH, BK, MULTIPLYING> VTile;
template <int GROWTH>
using Rows = WarpgroupRows<QTile, KTile, VTile, BK, DEPTH, GROWTH>;

struct Tensors {
  const Element *Q, *K, *V;
  const int* block_table;
  Element* O;
  float factor;
};

// How many tiles of keys a block's rows see, from row `row0` on.
__device__ __forceinline__ int tiles_seen(const Problem& of, int row0, int rows) {
  return (of.most_seen(row0, rows) + BK - 1) / BK;
}

// The 64 rows of a warpgroup, of one head.
struct Part {
  int head, first, count;  // first row, and how many there are; none where the count is not positive
  int tiles, skipped;      // of the block's walk, and at its beginning those that none of these rows sees

  // Of warpgroup `group` of a block whose rows begin with row0.
  __device__ __forceinline__ Part(const Problem& of, int head, int row0, int group)
      : head(head), first(row0 + group * 64), count(of.rows - first), tiles(tiles_seen(of, row0, BQ)),
        skipped(tiles - (count > 0 ? tiles_seen(of, first, 64) : 1)) {}
  // Of the first row, in Q and in O.
  __device__ __forceinline__ size_t start(const Problem& of) const {
    return (size_t(head) * of.rows + first) * HEAD;
  }
};

// What computes a row of a part anew.
struct Anew {
  const Problem& of;
  const Tensors& in;
  const Part& part;
  int lane;
  __device__ __forceinline__ void operator()(int row) const {
    const size_t at = part.start(of) + size_t(row) * HEAD;
    careful(in.O + at, in.Q + at, tokens(in.K, in.block_table, of, part.head, 0),
            tokens(in.V, in.block_table, of, part.head, 0), of.seen(part.first + row), in.factor, lane);
  }
};

// The walk. Slots: keys and values as they come to shared memory, in the order of the steps:
//
//   skip()                       a step of which nothing is multiplied
//   next()                       the keys of the next step are there, and the values of the step before it
//   last()                       the values of the last step are
//   keys(), values()             where those lie, bytes of shared memory
//   issued()                     products of what next() waited for are issued
//   keys_read(), values_read()   these products are done
template <typename Own, typename Slots>
__device__ __forceinline__ void walk(Own& own, unsigned queries, Slots& slots, const Problem& of, const Part& part,
                                     float factor, int warp, int lane) {
  const int row = part.first + warp * 16 + lane / 4;
  const int upper = OPT_CAUSAL ? of.seen(row) : of.kv, lower = OPT_CAUSAL ? of.seen(row + 8) : of.kv;
  const int all = part.count > 0 ? of.all_seen(part.first, 64) : 0;
  const auto soften = [&](int tile) {
    const int key0 = tile * BK, seen[2] = {upper - key0, lower - key0};
    own.soften(factor, key0 + BK <= all, seen, lane);
  };
  for (int i = 0; i < part.skipped; ++i) slots.skip();
  int tile = part.tiles - 1 - part.skipped;
  slots.next();
  own.multiply_keys(queries, slots.keys());
  slots.issued();
  wgmma_wait<0>();
  slots.keys_read();
  slots.values_read();
  arrived(own.score);
  soften(tile);
  own.pack();
  while (--tile >= 0) {
    slots.next();
    own.multiply_keys(queries, slots.keys());
    own.multiply_values(slots.values());
    slots.issued();
    wgmma_wait<1>();
    slots.keys_read();
    arrived(own.score);
    soften(tile);
    wgmma_wait<0>();
    slots.values_read();
    arrived(own.sum);
    held(own.power);
    own.pack();
  }
  slots.last();
  own.multiply_values(slots.values());
  wgmma_wait<0>();
  slots.values_read();
  arrived(own.sum);
}
