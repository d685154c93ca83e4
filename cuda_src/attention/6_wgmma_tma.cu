/*[tuner]
name = "cuda_attn_wgmma_tma"
operator = "attention"
summary = "Rung 5's products, tiles fetched by the copy engine (TMA) for warpgroups that multiply in turn."
dtypes = ["f16", "bf16"]
claims = ["tensor_cores"]
entry = "attention"
arguments = [
  "map_q", "map_k", "map_v", "Q", "K", "V", "block_table", "O", "drawn", "kv_h", "rows", "q", "kv", "heads", "factor",
]
options = "operator"
requires = ["wgmma"]
shape_generic = false
use = ["scores", "key_tiles", "large_shared"]

[supports]
"the copy engine wants heads of a multiple of 8 columns" = "d % 8 == 0"
"pages have a power of two of tokens, 8 at least" = "not paged or page_size in (8, 16, 32, 64, 128, 256, 512, 1024)"

[maps.map_q]
tensor = "Q"
dims = ["d", "rows", "heads"]
box = ["64", "64", "1"]
swizzle = "128"

[maps.map_k]
tensor = "K"
dims = ["d", "middle", "outer"]
box = ["64", "middle_box", "outer_box"]
swizzle = "128"

[maps.map_v]
tensor = "V"
dims = ["d", "middle", "outer"]
box = ["64", "middle_box", "outer_box"]
swizzle = "128"

[parameters]
GROUPS = { values = [1, 2, 3, 4], doc = "warpgroups a block that multiply, each with 64 queries of its own" }
BK = { values = [64, 80, 96, 128, 160, 176, 192], doc = "keys of a tile" }
STAGES = { values = [3, 4, 5, 6, 8], doc = "tiles in shared memory, of keys or of values" }
PRODUCER = { values = [1, 0], doc = "1: a warpgroup of its own asks for tiles; 0: a warp of the first that multiplies" }
PINGPONG = { values = [0, 1], doc = "1: warpgroups issue products in turn, to compute powers at other times" }
PERSISTENT = { values = [0, 1], doc = "1: a block stays on its SM and draws the next queries from a counter" }
HEADS = { values = [1, 4, 8, 16, 64], doc = "heads whose queries are visited together, the last rows first" }
LAG = { values = [0, 8], doc = "powers of two a row's largest score grows by before its sums are scaled anew" }
MIN_BLOCKS = { values = [1, 2, 3, 4], doc = "blocks an SM shall hold: shares out its registers" }

[let]
heads = "b * kv_h"
bq = "64 * GROUPS"
threads = "128 * (GROUPS + PRODUCER)"
threads_held = "threads * MIN_BLOCKS"
visits = "ceildiv(rows, bq) * heads"
blocks = "min(visits, sm_count * MIN_BLOCKS) if PERSISTENT else visits"
depth = "ceildiv(d, 64) * 64"
# Keys and values behind their columns: a head's tokens, and heads. Pages hold tokens of all heads: then a box is a
# page's tokens of one head, or as many of them as a tile has.
middle = "kv_h if paged else kv"
outer = "pool_pages * page_size if paged else heads"
middle_box = "1 if paged else BK"
outer_box = "min(page_size, BK) if paged else 1"
# Queries; tiles; barriers; the number of a visit.
shared = "2 * depth * (bq + STAGES * BK) + 8 * (2 * STAGES + 2) + 16"
# Registers a thread: as many as there are at the launch, in eights. A producer keeps what it needs and leaves the rest
# to the others.
at_first = "min(255, registers_sm // threads_held // 8 * 8)"
shares = "PRODUCER == 1 and at_first < 248"
to_fetch = "40 if paged else 24"
to_multiply = "min(240, ((GROUPS + 1) * at_first - to_fetch) // GROUPS // 8 * 8) if shares else at_first"
# Sums, scores and packed powers; with those totals, descriptors and addresses.
kept = "depth // 2 + 3 * BK // 4"

[constraints]
threads_fit = "threads <= max_threads_block"
threads_of_sm_fit = "threads_held <= max_threads_sm"
registers_fit = "kept + (32 if PRODUCER else 36) <= to_multiply"
keys_used = "BK < 2 * kv or BK == 64"
queries_used = "bq < 2 * rows or GROUPS == 1"
# Two tiles are read in a step while the next is on its way; who multiplies asks for it only when the step has begun.
stages_suffice = "STAGES >= (3 if PRODUCER else 4)"
stages_used = "STAGES <= max(4, 2 * key_tiles)"
heads_used = "HEADS < 4 * heads"
whole_pages = "not paged or BK % page_size == 0 or page_size % BK == 0"
turns_are_of_several = "not PINGPONG or GROUPS > 1"
who_stays_has_a_producer = "PRODUCER or not PERSISTENT"

[features]
macs = "2 * visits * bq * keys_computed * depth"
traffic_bytes = "visits * (2 * bq * d + 2 * keys_computed * d) * element_bytes"
intensity = "bq"
warp_intensity = "64"
registers = "kept"
threads = "threads"
stages = "STAGES"

[macros]
REGISTERS_SHARED_OUT = "shares"
REGISTERS_TO_FETCH = "to_fetch"
REGISTERS_TO_MULTIPLY = "to_multiply"

[workspace]
drawn = "4"

[launch]
grid = ["blocks"]
block = ["threads"]
shared_bytes = "shared"
*/

// Rung 6: all threads of rung 5 ask for every piece of a tile, 16 bytes at a time, and all warpgroups of a block meet
// for every tile, so that they compute powers at the same time and leave the tensor cores idle meanwhile. Here one
// thread asks the copy engine for whole tiles (fetches.cuh), and a warpgroup waits for nothing but the bytes: slots and
// the queries' memory are handed to and fro by mbarriers (Shah et al., FlashAttention-3, 2024).
//
// PINGPONG: warpgroups issue the products of a step in turn, by named barriers. The turn is the next one's as soon as
// they are issued, so the tensor cores have work while powers are computed:
//
//   warpgroup 0     [products i] powers i               [products i + 1] powers i + 1
//   warpgroup 1                  [products i] powers i                   [products i + 1] powers i + 1
//
// PERSISTENT: a block takes one visit after the other (BQ rows of queries of a head), and the next one's first tiles
// are on their way while the last one's results are written. Which visit is next says a counter that all blocks draw
// from, since under a causal mask they are of different lengths.
#include "fetches.cuh"

constexpr int THREADS = 128 * (GROUPS + PRODUCER);
static_assert(STAGES >= (PRODUCER ? 3 : 4), "two tiles are read in a step while one is on its way, or asked for");
static_assert(PRODUCER == 1 || PERSISTENT == 0, "who multiplies fetches for one visit");

// The number of the next visit, for all lanes of a warp. As many are drawn as there are visits, and who draws last
// leaves the counter as it was.
__device__ __forceinline__ int draw(int* drawn, int visits, int lane) {
  int before = 0;
  if (lane == 0) {
    before = atomicAdd(drawn, 1);
    if (before == visits - 1) atomicExch(drawn, 0);
  }
  return __shfl_sync(~0u, before, 0) + gridDim.x;
}

// The producer, a warp: `visit` is where it says whose queries it has fetched, -1 where there are no more.
__device__ __forceinline__ void produce(Fetches& fetches, int heads, int* drawn, int* visit) {
  const int visits = visits_of(fetches.of, heads);
  const auto say = [&](int number, int turn) {
    fetches.await_all(fetches.barriers.queries_read(), turn % 2 ^ 1);
    if (fetches.lane == 0) *visit = number;
  };
  int turn = 0;
  for (int number = blockIdx.x; number < visits; ++turn) {
    const Visit next(fetches.of, number, heads);
    // First of all keys, since the last queries may still be read.
    fetches.tile(next, 0);
    if (PERSISTENT) say(number, turn);
    fetches.queries(next, turn);
    for (int i = 1; i < 2 * next.tiles; ++i) fetches.tile(next, i);
    number = PERSISTENT ? draw(drawn, visits, fetches.lane) : visits;
  }
  if (!PERSISTENT) return;
  say(-1, turn);
  if (fetches.lane == 0) arrive(fetches.barriers.queries());
}

// Whose turn it is to issue products: warpgroup g's barrier is met by itself and by the one before it, which passes on.
__device__ __forceinline__ void take_turn(int group) {
  asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");
}
__device__ __forceinline__ void pass_turn(int group) {
  asm volatile("bar.arrive %0, 256;" ::"r"(1 + (group + 1 == GROUPS ? 0 : group + 1)) : "memory");
}

// The slots of a visit as the walk takes them.
struct Slots {
  const Barriers barriers;
  const unsigned memory;  // the first slot
  const Visit& visit;
  Fetches& fetches;
  const bool fetching;  // whether this warp does, of those that multiply
  const int group, lane;
  Ring<STAGES>& ring;
  int asked, step = 0, of_keys = 0, of_values = 0;

  __device__ __forceinline__ int take() {
    const int slot = ring.slot;
    await(barriers.full(slot), ring.parity);
    ring.next();
    return slot;
  }
  __device__ __forceinline__ void skip() {
    next();
    issued();
    // As a product's wait does else: a lane that has not seen yet that a slot is full would not see it again, when
    // another lane has given it away.
    __syncwarp();
    keys_read();
    values_read();
  }
  __device__ __forceinline__ void next() {
    of_keys = take();
    if (step == 0) return;
    of_values = take();
    if (PINGPONG) take_turn(group);
  }
  __device__ __forceinline__ void last() {
    of_values = take();
    ++step;
  }
  __device__ __forceinline__ unsigned keys() const { return memory + of_keys * TILE_BYTES; }
  __device__ __forceinline__ unsigned values() const { return memory + of_values * TILE_BYTES; }
  __device__ __forceinline__ void issued() {
    if (PINGPONG && step > 0) pass_turn(group);
    // Into the slots of the steps before. Other warpgroups may still be in the last of them, and get through it with
    // what has been fetched; whose turn it is has been passed on.
    if (PRODUCER == 0 && fetching)
      for (; asked < min(2 * visit.tiles, STAGES + 2 * step - 1); ++asked) fetches.tile(visit, asked);
    ++step;
  }
  __device__ __forceinline__ void keys_read() const {
    if (lane != 0) return;
    arrive(barriers.empty(of_keys));
    if (step == visit.tiles) arrive(barriers.queries_read());
  }
  __device__ __forceinline__ void values_read() const {
    if (lane == 0 && step > 1) arrive(barriers.empty(of_values));
  }
};

// A warpgroup's part of every visit of its block.
__device__ __forceinline__ void consume(Fetches& fetches, const Tensors& in, const int* number_at, int heads, int group,
                                        int warp, int lane) {
  const Problem& of = fetches.of;
  const Barriers& barriers = fetches.barriers;
  const unsigned queries = fetches.memory + group * QUERY_BYTES, slots_at = fetches.memory + GROUPS * QUERY_BYTES;
  const bool fetching = PRODUCER == 0 && group == 0 && warp == 0;
  const bool aligned = reinterpret_cast<size_t>(in.O) % 16 == 0;
  Ring<STAGES> ring(0);
  // Of as many turns as are taken each is passed on to somebody: the first comes from the last warpgroup.
  if (PINGPONG && group == GROUPS - 1) pass_turn(group);
  for (int turn = 0;; ++turn) {
    int number = blockIdx.x, asked = 0;
    if (fetching) {
      const Visit first(of, number, heads);
      fetches.tile(first, 0);
      fetches.queries(first, 0);
      for (asked = 1; asked < min(2 * first.tiles, STAGES); ++asked) fetches.tile(first, asked);
    }
    await(barriers.queries(), turn % 2);
    // Read by the lane that says when it may be written again.
    if (PERSISTENT) number = __shfl_sync(~0u, lane == 0 ? *number_at : 0, 0);
    if (number < 0) break;
    const Visit visit(of, number, heads);
    const Part part(of, visit.head, visit.row0, group);
    Slots slots{barriers, slots_at, visit, fetches, fetching, group, lane, ring, asked};
    Rows<LAG> own;
    own.clear();
    walk(own, queries, slots, of, part, in.factor, warp, lane);
    if (part.count > 0)
      own.write_by_quads(in.O + part.start(of), part.count, warp, lane, aligned, Anew{of, in, part, lane});
    if (!PERSISTENT) break;
  }
  if (PINGPONG && group == 0) take_turn(group);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    attention(const __grid_constant__ TensorMap map_q, const __grid_constant__ TensorMap map_k,
              const __grid_constant__ TensorMap map_v, const Element* __restrict__ Q, const Element* __restrict__ K,
              const Element* __restrict__ V, const int* __restrict__ block_table, Element* __restrict__ O, int* drawn,
              int kv_h, int rows, int q, int kv, int heads, float factor) {
  extern __shared__ __align__(1024) unsigned char memory[];
  constexpr int TILES = GROUPS * QUERY_BYTES + STAGES * TILE_BYTES;
  const unsigned start = unsigned(__cvta_generic_to_shared(memory));
  const Barriers barriers{start + TILES};
  int* const visit = reinterpret_cast<int*>(memory + TILES + 8 * (2 * STAGES + 2));
  // The same for all lanes, and known to be: descriptors are then worked out once a warp.
  const int thread = threadIdx.x, warp = __shfl_sync(~0u, thread / 32, 0);
  if (thread == 0) {
    prefetch_map(&map_q);
    prefetch_map(&map_k);
    prefetch_map(&map_v);
    barriers.init();
  }
  __syncthreads();
  const Problem of{kv_h, rows, q, kv};
  const Tensors in{Q, K, V, block_table, O, factor};
  Fetches fetches{{&map_q, &map_k, &map_v}, of, block_table, start, barriers, thread % 32};
  if (PRODUCER && warp < 4) {
    if (REGISTERS_SHARED_OUT) give_registers<REGISTERS_TO_FETCH>();
    if (warp == 0) produce(fetches, heads, drawn, visit);
  } else {
    if (REGISTERS_SHARED_OUT) take_registers<REGISTERS_TO_MULTIPLY>();
    consume(fetches, in, visit, heads, warp / 4 - PRODUCER, warp % 4, thread % 32);
  }
}
