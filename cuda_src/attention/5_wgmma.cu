/*[tuner]
name = "cuda_attn_wgmma"
operator = "attention"
summary = "Tensor cores by wgmma (sm_90a): sums of one tile are made while the next tile's powers are computed."
dtypes = ["f16", "bf16"]
claims = ["wide_loads", "tensor_cores"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "kv_h", "rows", "q", "kv", "heads", "factor"]
options = "operator"
requires = ["wgmma"]
shape_generic = false
use = ["scores", "key_tiles", "occupancy", "large_shared"]

[parameters]
GROUPS = { values = [1, 2, 3, 4], doc = "warpgroups a block, each with 64 queries of its own" }
BK = { values = [64, 80, 96, 128, 160, 176, 192], doc = "keys of a tile" }
STAGES = { values = [2, 3], doc = "tiles of keys and values in shared memory" }
MIN_BLOCKS = { values = [1, 2, 3, 4], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
heads = "b * kv_h"
bq = "64 * GROUPS"
threads = "128 * GROUPS"
blocks = "ceildiv(rows, bq) * heads"
depth = "ceildiv(d, 64) * 64"
shared = "2 * depth * (bq + 2 * STAGES * BK)"
# Registers: a thread's sums, scores and packed powers; with those totals, descriptors and addresses.
kept = "depth // 2 + 3 * BK // 4"
registers_needed = "kept + 40"

[constraints]
keys_used = "BK < 2 * kv or BK == 64"
queries_used = "bq < 2 * rows or GROUPS == 1"

[features]
macs = "2 * blocks * bq * keys_computed * depth"
traffic_bytes = "blocks * (2 * bq * d + 2 * keys_computed * d) * element_bytes"
intensity = "bq"
warp_intensity = "64"
registers = "kept"

[launch]
grid = ["blocks"]
block = ["threads"]
shared_bytes = "shared"
*/

// Rung 5: on Hopper, products of whole warpgroups (wgmma_rows.cuh). They take keys and values from shared memory as they
// lie there, and run on while the warps compute: the scores of a tile and the sums of the one before it are issued
// together, and while the sums are made, the scores become powers (Shah et al., FlashAttention-3, 2024). Several blocks
// an SM, or several warpgroups a block, fill what is left. Tiles are walked from the last one on, so that those that a
// mask cuts come first.
//
//   slot i          keys of tile i of the walk, values of tile i - 1: what is multiplied in step i
//   step i          scores i = queries x keys i  |  sums += powers i - 1 x values i - 1
//                   powers i, of scores i        |
#include "wgmma_rows.cuh"
#include <cuda_pipeline.h>

constexpr int BQ = 64 * GROUPS, DEPTH = (HEAD + 63) / 64 * 64, THREADS = 128 * GROUPS;
typedef Panels<Element, true, 64, DEPTH, 128> QTile;  // of a warpgroup
typedef Panels<Element, true, BK, DEPTH, THREADS> KTile;
typedef Panels<Element, false, DEPTH, BK, THREADS> VTile;
typedef WarpgroupRows<QTile, KTile, VTile, BK, DEPTH> Own;
constexpr int SLOT = KTile::SIZE + VTile::SIZE, SLOT_BYTES = SLOT * int(sizeof(Element));
constexpr int VALUES = KTile::SIZE * int(sizeof(Element));  // from a slot's first byte

struct Tensors {
  const Element *Q, *K, *V;
  const int* block_table;
  Element* O;
  float factor;
};

// The 64 rows of a warpgroup, of one head.
struct Part {
  int head, first, count;  // first row, and how many there are; none where the count is not positive
  int tiles, skipped;      // of the block's walk, and at its beginning those that none of these rows sees

  __device__ __forceinline__ Part(const Problem& of, int number, int blocks, int heads, int group) {
    // The last rows of all heads first: under a causal mask they see the most keys, and the longest work is best begun
    // first.
    const int row0 = (blocks - 1 - number / heads) * BQ;
    head = number % heads, first = row0 + group * 64, count = of.rows - first;
    tiles = (of.most_seen(row0, BQ) + BK - 1) / BK;
    skipped = tiles - (count > 0 ? (of.most_seen(first, 64) + BK - 1) / BK : 1);
  }
};

// Begins the copies of slot i of a walk.
template <bool ALIGNED>
__device__ __forceinline__ void fetch(Element* slot, const Problem& of, const Tensors& in, const Part& part, int i) {
  const int key0 = (part.tiles - 1 - i) * BK, thread = threadIdx.x;
  if (i < part.tiles) KTile::copy_async<ALIGNED>(slot, tokens(in.K, in.block_table, of, part.head, key0), thread);
  if (i > 0 && i <= part.tiles)
    VTile::copy_async<ALIGNED>(slot + KTile::SIZE, tokens(in.V, in.block_table, of, part.head, key0 + BK), thread);
  __pipeline_commit();
}

// The slots in turn: next() waits for one, and issued() says that its products are, so that the slot of the step before
// may be filled again.
template <bool ALIGNED>
struct Slots {
  Element* const memory;
  const Problem& of;
  const Tensors& in;
  const Part& part;
  int step = 0, slot = 0;

  __device__ __forceinline__ unsigned next() {
    __pipeline_wait_prior(STAGES - 2);
    fence_async_proxy();
    // By number, since warpgroups of a block come here from different places.
    asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
    return unsigned(__cvta_generic_to_shared(memory)) + slot * SLOT_BYTES;
  }
  __device__ __forceinline__ void issued() {
    fetch<ALIGNED>(memory + (slot == 0 ? STAGES - 1 : slot - 1) * SLOT, of, in, part, step + STAGES - 1);
    slot = slot + 1 == STAGES ? 0 : slot + 1;
    ++step;
  }
};

template <bool ALIGNED>
__device__ __forceinline__ void walk(Own& own, unsigned queries, Slots<ALIGNED>& slots, int warp, int lane) {
  const Problem& of = slots.of;
  const Part& part = slots.part;
  const int row = part.first + warp * 16 + lane / 4;
  const int upper = OPT_CAUSAL ? of.seen(row) : of.kv, lower = OPT_CAUSAL ? of.seen(row + 8) : of.kv;
  const int all = part.count > 0 ? of.all_seen(part.first, 64) : 0;
  const auto soften = [&](int tile) {
    const int key0 = tile * BK, seen[2] = {upper - key0, lower - key0};
    own.soften(slots.in.factor, key0 + BK <= all, seen, lane);
  };
  for (int i = 0; i < part.skipped; ++i) {
    slots.next();
    slots.issued();
  }
  int tile = part.tiles - 1 - part.skipped;
  own.multiply_keys(queries, slots.next());
  slots.issued();
  wgmma_wait<0>();
  arrived(own.score);
  soften(tile);
  own.pack();
  while (--tile >= 0) {
    const unsigned slot = slots.next();
    own.multiply_keys(queries, slot);
    own.multiply_values(slot + VALUES);
    slots.issued();
    wgmma_wait<1>();
    arrived(own.score);
    soften(tile);
    wgmma_wait<0>();
    arrived(own.sum);
    held(own.power);
    own.pack();
  }
  own.multiply_values(slots.next() + VALUES);
  wgmma_wait<0>();
  arrived(own.sum);
}

template <bool ALIGNED>
__device__ __forceinline__ void attend(Element* memory, const Problem& of, const Tensors& in, int heads) {
  const int thread = threadIdx.x, lane = thread % 32;
  // The same for all lanes, and known to be: descriptors are then worked out once a warp.
  const int warp = __shfl_sync(~0u, thread / 32, 0), group = warp / 4;
  const Part part(of, blockIdx.x, (of.rows + BQ - 1) / BQ, heads, group);
  Element *const queries = memory + group * QTile::SIZE, *const tiles = memory + GROUPS * QTile::SIZE;
  const size_t head = size_t(part.head) * of.rows * HEAD;
  const MatrixWindow<Element, true> rows(in.Q + head, part.first, 0, of.rows, HEAD);
  QTile::copy_async<ALIGNED>(queries, rows, thread % 128);
  for (int i = 0; i < STAGES - 1; ++i) fetch<ALIGNED>(tiles + i * SLOT, of, in, part, i);
  Slots<ALIGNED> slots{tiles, of, in, part};
  Own own;
  own.clear();
  walk(own, unsigned(__cvta_generic_to_shared(queries)), slots, warp % 4, lane);
  if (part.count <= 0) return;
  const size_t start = head + size_t(part.first) * HEAD;
  own.template write<ALIGNED>(queries, in.O + start, part.count, warp % 4, lane, [&](int row) {
    careful(in.O + start + size_t(row) * HEAD, in.Q + start + size_t(row) * HEAD,
            tokens(in.K, in.block_table, of, part.head, 0), tokens(in.V, in.block_table, of, part.head, 0),
            of.seen(part.first + row), in.factor, lane);
  });
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    attention(const Element* __restrict__ Q, const Element* __restrict__ K, const Element* __restrict__ V,
              const int* __restrict__ block_table, Element* __restrict__ O, int kv_h, int rows, int q, int kv,
              int heads, float factor) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const Problem of{kv_h, rows, q, kv};
  const Tensors in{Q, K, V, block_table, O, factor};
  Element* const tiles = reinterpret_cast<Element*>(memory);
  if (whole_pieces(Q, K, V, O))
    attend<true>(tiles, of, in, heads);
  else
    attend<false>(tiles, of, in, heads);
}
