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

// Rung 5: on Hopper, products of whole warpgroups, which run on while the warps compute (wgmma_walk.cuh). Several
// blocks an SM, or several warpgroups a block, fill what is left.
//
//   slot i          keys of tile i of the walk, values of tile i - 1: what is multiplied in step i
#include "wgmma_walk.cuh"
#include <cuda_pipeline.h>

constexpr int THREADS = MULTIPLYING;
constexpr int SLOT = KTile::SIZE + VTile::SIZE, SLOT_BYTES = SLOT * int(sizeof(Element));
constexpr int VALUES = KTile::SIZE * int(sizeof(Element));  // from a slot's first byte

// Begins the copies of slot i of a walk.
template <bool ALIGNED>
__device__ __forceinline__ void fetch(Element* slot, const Problem& of, const Tensors& in, const Part& part, int i) {
  const int key0 = (part.tiles - 1 - i) * BK, thread = threadIdx.x;
  if (i < part.tiles) KTile::copy_async<ALIGNED>(slot, tokens(in.K, in.block_table, of, part.head, key0), thread);
  if (i > 0 && i <= part.tiles)
    VTile::copy_async<ALIGNED>(slot + KTile::SIZE, tokens(in.V, in.block_table, of, part.head, key0 + BK), thread);
  __pipeline_commit();
}

// The slots in turn. When the products of one are issued, that of the step before may be filled again.
template <bool ALIGNED>
struct Slots {
  Element* const memory;
  const Problem& of;
  const Tensors& in;
  const Part& part;
  int step = 0, slot = 0;

  __device__ __forceinline__ void next() {
    __pipeline_wait_prior(STAGES - 2);
    fence_async_proxy();
    // By number, since warpgroups of a block come here from different places.
    asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
  }
  __device__ __forceinline__ void skip() {
    next();
    issued();
  }
  __device__ __forceinline__ void last() { next(); }
  __device__ __forceinline__ unsigned keys() const {
    return unsigned(__cvta_generic_to_shared(memory)) + slot * SLOT_BYTES;
  }
  __device__ __forceinline__ unsigned values() const { return keys() + VALUES; }
  __device__ __forceinline__ void issued() {
    fetch<ALIGNED>(memory + (slot == 0 ? STAGES - 1 : slot - 1) * SLOT, of, in, part, step + STAGES - 1);
    slot = slot + 1 == STAGES ? 0 : slot + 1;
    ++step;
  }
  __device__ __forceinline__ void keys_read() {}
  __device__ __forceinline__ void values_read() {}
};

template <bool ALIGNED>
__device__ __forceinline__ void attend(Element* memory, const Problem& of, const Tensors& in, int heads) {
  const int thread = threadIdx.x, lane = thread % 32;
  // The same for all lanes, and known to be: descriptors are then worked out once a warp.
  const int warp = __shfl_sync(~0u, thread / 32, 0), group = warp / 4;
  // The last rows of all heads first: under a causal mask they see the most keys, and the longest work is best begun
  // first.
  const int blocks = (of.rows + BQ - 1) / BQ, number = blockIdx.x;
  const Part part(of, number % heads, (blocks - 1 - number / heads) * BQ, group);
  Element *const queries = memory + group * QTile::SIZE, *const tiles = memory + GROUPS * QTile::SIZE;
  const MatrixWindow<Element, true> rows(in.Q + size_t(part.head) * of.rows * HEAD, part.first, 0, of.rows, HEAD);
  QTile::copy_async<ALIGNED>(queries, rows, thread % 128);
  for (int i = 0; i < STAGES - 1; ++i) fetch<ALIGNED>(tiles + i * SLOT, of, in, part, i);
  Slots<ALIGNED> slots{tiles, of, in, part};
  Rows<0> own;
  own.clear();
  walk(own, unsigned(__cvta_generic_to_shared(queries)), slots, of, part, in.factor, warp % 4, lane);
  if (part.count <= 0) return;
  own.template write<ALIGNED>(queries, in.O + part.start(of), part.count, warp % 4, lane, Anew{of, in, part, lane});
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
