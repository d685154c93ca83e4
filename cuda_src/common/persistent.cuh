// Products by blocks that stay on their SM: one thread fetches tiles by the copy engine, warpgroups multiply them.
//
// One thread asks for whole tiles (bulk.cuh), and the warpgroups that multiply wait for nothing but the bytes: slots of
// a ring are handed to and fro by mbarriers. A block takes one tile of the output after the other, so the next one's
// first tiles of A and B are on their way while sums are written.
//
//   warpgroup 0     thread 0: waits for `empty`, fetches ...        (the others of the warpgroup have nothing to do)
//   warpgroup 1     waits for `full`, multiplies rows 0 ... 63,  says `empty`, writes
//   warpgroup 2     waits for `full`, multiplies rows 64 ... 127, says `empty`, writes
//
// Two blocks of a cluster share the operand that both need: each fetches one half of its tiles, for both.
// PINGPONG: each warpgroup has a tile of its own, one writes while the other multiplies.
// SPLIT: a product with few tiles of the output and much depth leaves SMs idle; one with few rows has few blocks that
// stream B. SPLIT blocks (or clusters) then have a part of the depth of the same tiles each, and add up their sums by
// way of a workspace (parts_out.cuh). Clusters of so many blocks, one an SM, would not all find room at once.
//
// The kernel has element types In, Acc and Out, and its configuration as the macros of the parameters below and BK.
/*[tuner.shared]
# For kernels that declare `rows` and `columns` of the output, how many `matrices` of them there are, `depth_bytes` of a
# tile's row, `steps` (tiles along the depth) and `depth`, elements that are multiplied for one of the output.
[persistent_products.parameters]
BM = { values = [64, 128, 192, 256], doc = "rows of the output a block and tile" }
BN = { values = [64, 128, 192, 256], doc = "columns of the output a block and tile" }
WM = { values = [64, 128], doc = "rows of the output a warpgroup: products of 64 rows" }
WN = { values = [64, 128, 192, 256], doc = "columns of the output a warpgroup, and of a product" }
STAGES = { values = [2, 3, 4, 5, 6, 7, 8], doc = "tiles in shared memory, in use or on their way" }
CLUSTER_M = { values = [1, 2], doc = "blocks above each other that share tiles of B" }
CLUSTER_N = { values = [1, 2], doc = "blocks beside each other that share tiles of A" }
PINGPONG = { values = [0, 1], doc = "1: two warpgroups with a tile each, one writes while the other multiplies" }
GROUP_M = { values = [1, 4, 8, 16], doc = "rows of blocks (or of clusters) visited together" }
SPLIT = { values = [1, 2, 3, 4, 6, 8, 12, 16], doc = "blocks (or clusters) that share the depth of a tile and add up their sums" }

[persistent_products.let]
# Elements of 128 bytes; rows and columns of a tile that a block of a cluster fetches.
panel = "128 // element_bytes"
a_share = "BM // CLUSTER_N"
b_share = "BN // CLUSTER_M"
cluster = "CLUSTER_M * CLUSTER_N"
warpgroups = "2 if PINGPONG else (BM // WM) * (BN // WN)"
threads = "128 * (warpgroups + 1)"
# Registers a thread.
sums = "WM * WN // 128"
tile_bytes = "(BM + BN) * depth_bytes"
tiles_bytes = "STAGES * tile_bytes"
# Tiles; rows of finished elements for each warp, or a word for each tile that is added up; barriers.
shared = "tiles_bytes + (4 * warpgroups * 2560 if SPLIT == 1 else 16) + 8 * (2 * STAGES + 2)"
visits = "ceildiv(rows, BM * CLUSTER_M) * ceildiv(columns, BN * CLUSTER_N) * matrices"
tiles = "visits * cluster"
# Blocks that add up what they have of the tiles of a cluster; parts of all tiles; blocks, as many as run at once.
together = "cluster * SPLIT"
all_parts = "tiles * SPLIT"
blocks = "together * max(1, min(sm_count // together, visits))"

[persistent_products.constraints]
group_tiles_divide = "BM % WM == 0 and BN % WN == 0"
a_tile_a_warpgroup = "not PINGPONG or (BM == WM and BN == WN)"
at_most_two_share = "cluster <= 2"
parts_have_depth = "SPLIT <= steps"
# Four rounds of parts: beyond them the tiles alone fill the SMs.
split_needed = "SPLIT == 1 or all_parts <= 4 * sm_count"
groups_fit = "warpgroups <= 4"
threads_fit = "threads <= max_threads_block"
# Beside about 30 for descriptors and loops. More than two groups begin with so few that no product may have more sums;
# two keep what they begin with where they divide the depth.
registers_fit = "sums + 30 <= (128 if warpgroups == 3 else 96 if warpgroups == 4 else 232)"

[persistent_products.features]
macs = "tiles * BM * BN * depth"
# Sums of parts go out to the workspace and come back.
traffic_bytes = "tiles * ((a_share + b_share) * depth * element_bytes + (8 * BM * BN * SPLIT if SPLIT > 1 else 0))"
steps = "ceildiv(steps, SPLIT)"
intensity = "BM * BN / (BM + BN)"
threads = "threads"
stages = "STAGES - 1"
shared = "tiles_bytes"
registers = "sums"

[persistent_products.workspace]
partial = "all_parts * BM * BN * 4 if SPLIT > 1 else 16"
arrived = "tiles * 8 if SPLIT > 1 else 16"
*/
#pragma once
#include "bulk.cuh"
#include "finished_out.cuh"
#include "parts_out.cuh"
#include "visits.cuh"
#include "warpgroup_tiles.cuh"

constexpr int CLUSTER = CLUSTER_M * CLUSTER_N;
constexpr int GROUPS = PINGPONG ? 2 : BM / WM * GROUPS_N, THREADS = 128 * (GROUPS + 1);
// After the tiles, in the declaration too: a patch for each warp, or with SPLIT a word for each tile in work.
constexpr int PATCH_BYTES = 2560, WRITING_BYTES = SPLIT > 1 ? 16 : 4 * GROUPS * PATCH_BYTES;
static_assert(FINISHED_PATCH<Out> * sizeof(Out) <= PATCH_BYTES, "the patch holds 16 rows");
// Registers of a thread. What a block began with is shared out anew, in eights: 168, 128 or 96 for each of 3, 4 or 5
// warpgroups. Who asks for more than is left waits for ever.
constexpr bool SHARED_OUT = GROUPS > 1;
constexpr int REGISTERS_AT_FIRST = GROUPS == 2 ? 168 : GROUPS == 3 ? 128 : 96;
constexpr int FOR_PRODUCER = GROUPS == 2 ? 40 : 32;
constexpr int FOR_CONSUMER = GROUPS == 2 ? 232 : GROUPS == 3 ? 160 : 112;
static_assert(!SHARED_OUT || GROUPS * FOR_CONSUMER + FOR_PRODUCER <= (GROUPS + 1) * REGISTERS_AT_FIRST,
              "there are as many");
static_assert(PINGPONG == 0 || (WM == BM && WN == BN), "a warpgroup has a tile of its own");

// Barriers, after the tiles: two a slot, and with PINGPONG one a warpgroup, which says that it is its turn.
struct Barriers {
  unsigned first;
  __device__ __forceinline__ unsigned full(int slot) const { return first + 8 * slot; }
  __device__ __forceinline__ unsigned empty(int slot) const { return first + 8 * (STAGES + slot); }
  __device__ __forceinline__ unsigned turn(int group) const { return first + 8 * (2 * STAGES + group); }
};

// A tile of the output, and its number among all.
struct Visit {
  int row, col, matrix, tile;
};

// The tiles of the output that this block computes, and of which steps along the depth: the same of all. Those of a
// cluster lie side by side; rank_m and rank_n are the place among them.
struct Visits {
  int rows, columns, matrices, tiles_m, tiles_n, part, rank_m, rank_n, first_step, steps;

  __device__ __forceinline__ Visits(int rows, int columns, int matrices, int all_steps, int rank)
      : rows(rows), columns(columns), matrices(matrices), tiles_m((rows + BM * CLUSTER_M - 1) / (BM * CLUSTER_M)),
        tiles_n((columns + BN * CLUSTER_N - 1) / (BN * CLUSTER_N)), part(SPLIT > 1 ? blockIdx.x / CLUSTER % SPLIT : 0),
        rank_m(rank % CLUSTER_M), rank_n(rank / CLUSTER_M), first_step(part * all_steps / SPLIT),
        steps((part + 1) * all_steps / SPLIT - first_step) {}

  // The block's tile `number`; false where there are no more.
  __device__ __forceinline__ bool at(int number, Visit& visit) const {
    constexpr int TOGETHER = CLUSTER * SPLIT;
    const int place = blockIdx.x / TOGETHER + number * (gridDim.x / TOGETHER);
    if (place >= tiles_m * tiles_n * matrices) return false;
    int tile_m, tile_n;
    grouped_tile<GROUP_M>(place % (tiles_m * tiles_n), tiles_m, tiles_n, tile_m, tile_n);
    visit.row = (tile_m * CLUSTER_M + rank_m) * BM;
    visit.col = (tile_n * CLUSTER_N + rank_n) * BN;
    visit.matrix = place / (tiles_m * tiles_n);
    visit.tile = place * CLUSTER + rank_n * CLUSTER_M + rank_m;
    return true;
  }

  // Blocks with the same rows share A, those with the same columns B: a bit for each.
  __device__ __forceinline__ unsigned short sharing_a() const {
    return ((1 << CLUSTER) - 1) / ((1 << CLUSTER_M) - 1) << rank_m;
  }
  __device__ __forceinline__ unsigned short sharing_b() const {
    return ((1 << CLUSTER_M) - 1) << rank_n * CLUSTER_M;
  }
};

// `fetch` knows where tiles lie. fetch.begin(visit, step): what follows is of that tile of the output, from that step
// on. fetch(to, full): asks for the next step's tiles of A and B, whose bytes the barrier `full` counts. Blocks that
// share a tile ask for a part of it each.
template <typename Fetch>
__device__ __forceinline__ void produce(unsigned stages, const Barriers& barriers, const Visits& visits, Fetch& fetch) {
  Ring<STAGES> ring(0);
  Visit visit;
  for (int number = 0; visits.at(number, visit); ++number) {
    fetch.begin(visit, visits.first_step);
    for (int step = 0; step < visits.steps; ++step, ring.next()) {
      await(barriers.empty(ring.slot), ring.parity ^ 1);
      arrive_expecting(barriers.full(ring.slot), STAGE_BYTES);
      fetch(stages + ring.slot * STAGE_BYTES, barriers.full(ring.slot));
    }
  }
  // Blocks of a cluster arrive at each other's barriers, which are gone when their block is: it stays until the last
  // round of slots is read by all. What other blocks fetched for it has come before, since that is read too.
#pragma unroll 1
  for (int i = 0; CLUSTER > 1 && i < STAGES; ++i, ring.next()) await(barriers.empty(ring.slot), ring.parity ^ 1);
}

// A warpgroup's sums of a tile to the output, or those of its part of the depth to the workspace, from where the blocks
// that have the other parts add them up together.
//
// `output` has what write_finished takes: `to`, `aligned`, place(matrix), finish(matrix), and as a constant whether it
// READS. `writing`: WRITING_BYTES of shared memory. row, col: of the warpgroup's sums in the tile.
template <typename Output>
__device__ __forceinline__ void write_tile(const Sums& sum, unsigned char* writing, const Visits& visits,
                                           const Visit& visit, const Output& output, const Parts<Acc>& parts, int row,
                                           int col, int warp, int lane) {
  const int group = warp / 4, within = row + warp % 4 * 16;
  const auto place = output.place(visit.matrix);
  const auto finish = output.finish(visit.matrix);
  if constexpr (SPLIT > 1) {
    // The warpgroups that have sums of the tile.
    constexpr int WRITERS = 128 * (PINGPONG ? 1 : GROUPS);
    const int pair = PINGPONG ? group : 0;
    const auto leave = [&](Acc* to) {
#pragma unroll
      for (int i = 0; i < HIGH; ++i)
        leave_sums<BN>(to + (within + 64 * i) * BN + col, sum[i][0], lane,
                       visits.rows - (visit.row + within + 64 * i), visit.col + col, visits.columns);
    };
    add_parts<SPLIT, BM, BN, WRITERS>(parts, visit.tile, visits.part, reinterpret_cast<unsigned*>(writing) + pair,
                                      1 + pair, leave, output.to, visit.row, visit.col, visits.rows, visits.columns,
                                      (warp * 32 + lane) % WRITERS, output.aligned, place, finish);
  } else {
    Out* const patch = reinterpret_cast<Out*>(writing + warp * PATCH_BYTES);
#pragma unroll
    for (int i = 0; i < HIGH; ++i)
      write_finished<Output::READS>(patch, sum[i][0], output.to, visit.row + within + 64 * i, visit.col + col,
                                    visits.rows, visits.columns, lane, output.aligned, place, finish);
  }
}

// Multiplies what `produce` fetches, and writes. `output`, `writing`: as of write_tile.
template <typename TileA, typename TileB, typename Output>
__device__ __forceinline__ void consume(unsigned stages, unsigned char* writing, const Barriers& barriers,
                                        const Visits& visits, const Output& output, const Parts<Acc>& parts, int warp,
                                        int lane) {
  const int group = warp / 4, steps = visits.steps;
  const int within_row = PINGPONG ? 0 : group / GROUPS_N * WM, within_col = PINGPONG ? 0 : group % GROUPS_N * WN;
  const auto release = [&](int slot) {
    if (lane != 0) return;
    if (CLUSTER == 1) arrive(barriers.empty(slot));
#pragma unroll
    for (int i = 0; CLUSTER > 1 && i < CLUSTER; ++i) arrive_at(barriers.empty(slot), i);
  };
  Visit visit;
  for (int number = PINGPONG ? group : 0; visits.at(number, visit); number += PINGPONG ? 2 : 1) {
    Ring<STAGES> ring(number * steps);
    Sums sum = {};
    if (PINGPONG) await(barriers.turn(group), number / 2 % 2 ^ (group == 0));
    int last = 0;
    for (int step = 0; step < steps; ++step, ring.next()) {
      await(barriers.full(ring.slot), ring.parity);
      multiply_tile<TileA, TileB>(sum, stages + ring.slot * STAGE_BYTES, within_row, within_col);
      // The products before these are done.
      wgmma_wait<1>();
      if (step > 0) release(last);
      last = ring.slot;
    }
    if (PINGPONG && lane == 0) arrive(barriers.turn(1 - group));
    wgmma_wait<0>();
    // A part without depth has read no slot: arrivals for none would count for the wait at a cluster's end.
    if (CLUSTER == 1 || steps > 0) release(last);
#pragma unroll
    for (int i = 0; i < HIGH; ++i) arrived(sum[i][0]);
    write_tile(sum, writing, visits, visit, output, parts, within_row, within_col, warp, lane);
  }
}

// All of a block's work. `memory`: what the declaration calls `shared`, on a boundary of 1024 bytes. `steps`: along the
// whole depth. make_fetch(visits): see `produce`; its prefetch() brings its maps near. `output`: as of write_tile.
template <typename TileA, typename TileB, typename MakeFetch, typename Output>
__device__ __forceinline__ void multiply_persistently(unsigned char* memory, int rows, int columns, int matrices,
                                                      int steps, const MakeFetch& make_fetch, const Output& output,
                                                      const Parts<Acc>& parts) {
  const unsigned stages = unsigned(__cvta_generic_to_shared(memory));
  const Barriers barriers = {stages + STAGES * STAGE_BYTES + WRITING_BYTES};
  // The same for all lanes, and known to be: descriptors are then worked out once a warp.
  const int thread = threadIdx.x, warp = __shfl_sync(~0u, thread / 32, 0);
  const Visits visits(rows, columns, matrices, steps, CLUSTER > 1 ? rank_in_cluster() : 0);
  auto fetch = make_fetch(visits);
  if (thread == 0) {
    fetch.prefetch();
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(barriers.full(i), 1);
      barrier_init(barriers.empty(i), CLUSTER * 4 * (PINGPONG ? 1 : GROUPS));
    }
    for (int i = 0; i < 2; ++i) barrier_init(barriers.turn(i), 4);
    barriers_ready();
  }
  if (CLUSTER > 1)
    cluster_barrier();
  else
    __syncthreads();
  if (warp < 4) {
    if (SHARED_OUT) give_registers<FOR_PRODUCER>();
    if (thread == 0) produce(stages, barriers, visits, fetch);
  } else {
    if (SHARED_OUT) take_registers<FOR_CONSUMER>();
    consume<TileA, TileB>(stages, memory + STAGES * STAGE_BYTES, barriers, visits, output, parts, warp - 4,
                          thread % 32);
  }
}
