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
// stream B. SPLIT blocks of a cluster then have a part of the depth each, and add up their sums by way of each other's
// shared memory (cluster_out.cuh), where the tiles of A and B were. Such a block takes one tile of the output.
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
SPLIT = { values = [1, 2, 4, 8], doc = "blocks of a cluster that share the depth of a tile and add up their sums" }

[persistent_products.let]
# Elements of 128 bytes; rows and columns of a tile that a block of a cluster fetches.
panel = "128 // element_bytes"
a_share = "BM // CLUSTER_N"
b_share = "BN // CLUSTER_M"
sharing = "CLUSTER_M * CLUSTER_N"
cluster = "sharing * SPLIT"
warpgroups = "2 if PINGPONG else (BM // WM) * (BN // WN)"
threads = "128 * (warpgroups + 1)"
# Registers a thread.
sums = "WM * WN // 128"
tile_bytes = "(BM + BN) * depth_bytes"
tiles_bytes = "STAGES * tile_bytes"
# Tiles, in whose place a part of a tile leaves its sums; rows of finished elements for each warp; barriers.
left_bytes = "BM * (BN + 8) * 4"
shared = "tiles_bytes + (4 * warpgroups * 2560 if SPLIT == 1 else 0) + 8 * (2 * STAGES + 2)"
visits = "ceildiv(rows, BM * CLUSTER_M) * ceildiv(columns, BN * CLUSTER_N) * matrices"
tiles = "visits * sharing"
blocks = "cluster * (visits if SPLIT > 1 else min(sm_count // cluster, visits))"

[persistent_products.constraints]
group_tiles_divide = "BM % WM == 0 and BN % WN == 0"
a_tile_a_warpgroup = "not PINGPONG or (BM == WM and BN == WN)"
at_most_two_share = "sharing <= 2"
# More blocks a cluster would have to be asked for at the launch.
cluster_fits = "cluster <= 8"
split_is_of_one_tile = "SPLIT == 1 or not PINGPONG"
left_sums_fit = "SPLIT == 1 or left_bytes <= tiles_bytes"
parts_have_depth = "SPLIT <= steps"
# Two waves of blocks: beyond them the tiles alone fill the SMs.
split_needed = "SPLIT == 1 or tiles * SPLIT <= 2 * sm_count"
groups_fit = "warpgroups <= 4"
threads_fit = "threads <= max_threads_block"
# Beside about 30 for descriptors and loops. More than two groups begin with so few that no product may have more sums;
# two keep what they begin with where they divide the depth.
registers_fit = "sums + 30 <= (128 if warpgroups == 3 else 96 if warpgroups == 4 else 168 if warpgroups * SPLIT > 2 else 232)"

[persistent_products.features]
macs = "tiles * BM * BN * depth"
# A block's rows of the sums of all parts are counted as if they came from L2.
traffic_bytes = "tiles * ((a_share + b_share) * depth * element_bytes + (4 * BM * BN * SPLIT if SPLIT > 1 else 0))"
steps = "ceildiv(steps, SPLIT)"
intensity = "BM * BN / (BM + BN)"
threads = "threads"
stages = "STAGES - 1"
shared = "tiles_bytes"
registers = "sums"
*/
#pragma once
#include "bulk.cuh"
#include "cluster_out.cuh"
#include "finished_out.cuh"
#include "visits.cuh"
#include "warpgroup_tiles.cuh"

// Blocks that share operands, a part of the depth; blocks of a cluster.
constexpr int SHARING = CLUSTER_M * CLUSTER_N, CLUSTER = SHARING * SPLIT;
constexpr int GROUPS = PINGPONG ? 2 : BM / WM * GROUPS_N, THREADS = 128 * (GROUPS + 1);
constexpr int PATCH_BYTES = SPLIT > 1 ? 0 : 2560;  // of a warp, in the declaration too
static_assert(SPLIT > 1 || FINISHED_PATCH<Out> * sizeof(Out) <= PATCH_BYTES, "the patch holds 16 rows");
static_assert(SPLIT == 1 || BM * LEFT_STRIDE<BN> * sizeof(Acc) <= STAGES * STAGE_BYTES, "sums take the tiles' place");
// Registers of a thread. What a block began with is shared out anew, in eights: 168, 128 or 96 for each of 3, 4 or 5
// warpgroups. Who asks for more than is left waits for ever. With SPLIT all threads add up in the end: what is left to
// the producer's would then cap the registers of all.
constexpr bool SHARED_OUT = GROUPS > 1 && SPLIT == 1;
constexpr int REGISTERS_AT_FIRST = GROUPS == 2 ? 168 : GROUPS == 3 ? 128 : 96;
constexpr int FOR_PRODUCER = GROUPS == 2 ? 40 : 32;
constexpr int FOR_CONSUMER = GROUPS == 2 ? 232 : GROUPS == 3 ? 160 : 112;
static_assert(!SHARED_OUT || GROUPS * FOR_CONSUMER + FOR_PRODUCER <= (GROUPS + 1) * REGISTERS_AT_FIRST,
              "there are as many");
static_assert(PINGPONG == 0 || (WM == BM && WN == BN), "a warpgroup has a tile of its own");

// Barriers, after the tiles: one of each kind a slot, and one that says whose turn it is.
struct Barriers {
  unsigned first;
  __device__ __forceinline__ unsigned full(int slot) const { return first + 8 * slot; }
  __device__ __forceinline__ unsigned empty(int slot) const { return first + 8 * (STAGES + slot); }
  __device__ __forceinline__ unsigned turn(int group) const { return first + 8 * (2 * STAGES + group); }
};

// A tile of the output.
struct Visit {
  int row, col, matrix;
};

// The tiles of the output that this block computes, and of which steps along the depth: those of its cluster lie side
// by side. Of blocks that share operands rank_m and rank_n are the place among them.
struct Visits {
  int rows, columns, matrices, tiles_m, tiles_n, part, rank_m, rank_n, first_step, steps;

  __device__ __forceinline__ Visits(int rows, int columns, int matrices, int all_steps, int rank)
      : rows(rows), columns(columns), matrices(matrices), tiles_m((rows + BM * CLUSTER_M - 1) / (BM * CLUSTER_M)),
        tiles_n((columns + BN * CLUSTER_N - 1) / (BN * CLUSTER_N)), part(SPLIT > 1 ? rank / SHARING : 0),
        rank_m(rank % CLUSTER_M), rank_n(rank % SHARING / CLUSTER_M), first_step(part * all_steps / SPLIT),
        steps((part + 1) * all_steps / SPLIT - first_step) {}

  // The block's tile `number`; false where there are no more.
  __device__ __forceinline__ bool at(int number, Visit& visit) const {
    const int cluster = blockIdx.x / CLUSTER + number * (gridDim.x / CLUSTER);
    if (cluster >= tiles_m * tiles_n * matrices) return false;
    int tile_m, tile_n;
    grouped_tile<GROUP_M>(cluster % (tiles_m * tiles_n), tiles_m, tiles_n, tile_m, tile_n);
    visit.row = (tile_m * CLUSTER_M + rank_m) * BM;
    visit.col = (tile_n * CLUSTER_N + rank_n) * BN;
    visit.matrix = cluster / (tiles_m * tiles_n);
    return true;
  }

  // Blocks of a part with the same rows share A, those with the same columns B: a bit for each.
  __device__ __forceinline__ unsigned short sharing_a() const {
    return ((1 << SHARING) - 1) / ((1 << CLUSTER_M) - 1) << part * SHARING + rank_m;
  }
  __device__ __forceinline__ unsigned short sharing_b() const {
    return ((1 << CLUSTER_M) - 1) << part * SHARING + rank_n * CLUSTER_M;
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
}

// `output` has what write_finished takes: `to`, `aligned`, place(matrix), finish(matrix), and as a constant whether it
// READS.
template <typename TileA, typename TileB, typename Output>
__device__ __forceinline__ void consume(unsigned stages, unsigned char* memory, const Barriers& barriers,
                                        const Visits& visits, const Output& output, int warp, int lane) {
  const int group = warp / 4, steps = visits.steps;
  const int within_row = PINGPONG ? 0 : group / GROUPS_N * WM, within_col = PINGPONG ? 0 : group % GROUPS_N * WN;
  const auto release = [&](int slot) {
    if (lane != 0) return;
    if (SHARING == 1) arrive(barriers.empty(slot));
#pragma unroll
    for (int i = 0; SHARING > 1 && i < SHARING; ++i) arrive_at(barriers.empty(slot), visits.part * SHARING + i);
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
    release(last);
#pragma unroll
    for (int i = 0; i < HIGH; ++i) arrived(sum[i][0]);
    const int first_row = within_row + warp % 4 * 16;
    if constexpr (SPLIT > 1) {
      // No product reads the tiles any more, and no copy is on its way to them: each was waited for.
      asm volatile("bar.sync 1, %0;" ::"n"(128 * GROUPS) : "memory");
      Acc* const left = reinterpret_cast<Acc*>(memory) + first_row * LEFT_STRIDE<BN> + within_col;
#pragma unroll
      for (int i = 0; i < HIGH; ++i) leave_sums<LEFT_STRIDE<BN>>(left + 64 * i * LEFT_STRIDE<BN>, sum[i][0], lane);
    } else {
      Out* const patch = reinterpret_cast<Out*>(memory + STAGES * STAGE_BYTES + warp * PATCH_BYTES);
#pragma unroll
      for (int i = 0; i < HIGH; ++i)
        write_finished<Output::READS>(patch, sum[i][0], output.to, visit.row + first_row + 64 * i,
                                      visit.col + within_col, visits.rows, visits.columns, lane, output.aligned,
                                      output.place(visit.matrix), output.finish(visit.matrix));
    }
  }
}

// All of a block's work. `memory`: what the declaration calls `shared`, on a boundary of 1024 bytes. `steps`: along the
// whole depth. make_fetch(visits): see `produce`; its prefetch() brings its maps near.
template <typename TileA, typename TileB, typename MakeFetch, typename Output>
__device__ __forceinline__ void multiply_persistently(unsigned char* memory, int rows, int columns, int matrices,
                                                      int steps, const MakeFetch& make_fetch, const Output& output) {
  const unsigned stages = unsigned(__cvta_generic_to_shared(memory));
  const Barriers barriers = {stages + STAGES * STAGE_BYTES + 4 * GROUPS * PATCH_BYTES};
  // The same for all lanes, and known to be: descriptors are then worked out once a warp.
  const int thread = threadIdx.x, warp = __shfl_sync(~0u, thread / 32, 0);
  const Visits visits(rows, columns, matrices, steps, CLUSTER > 1 ? rank_in_cluster() : 0);
  auto fetch = make_fetch(visits);
  if (thread == 0) {
    fetch.prefetch();
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(barriers.full(i), 1);
      barrier_init(barriers.empty(i), SHARING * 4 * (PINGPONG ? 1 : GROUPS));
    }
    for (int i = 0; i < 2; ++i) barrier_init(barriers.turn(i), 4);
    barriers_ready();
  }
  if (SHARING > 1)
    cluster_barrier();
  else
    __syncthreads();
  // With SPLIT, the block's tile: worked out where no copies and no sums wait for the divisions.
  Visit only = {};
  if (warp < 4) {
    if (SHARED_OUT) give_registers<FOR_PRODUCER>();
    if (thread == 0) produce(stages, barriers, visits, fetch);
    if (SPLIT > 1) visits.at(0, only);
  } else {
    if (SHARED_OUT) take_registers<FOR_CONSUMER>();
    if (SPLIT > 1) visits.at(0, only);
    consume<TileA, TileB>(stages, memory, barriers, visits, output, warp - 4, thread % 32);
  }
  if constexpr (SPLIT > 1) {
    cluster_barrier();  // all have left their sums
    write_parts<SPLIT, SHARING, BM, BN, THREADS>(
        reinterpret_cast<const Acc*>(memory), visits.rank_n * CLUSTER_M + visits.rank_m, visits.part, output.to, only.row,
        only.col, rows, columns, thread, output.aligned, output.place(only.matrix), output.finish(only.matrix));
  }
  // A block's memory is there for the others' copies, arrivals and loads until all are through.
  if (CLUSTER > 1) cluster_end();
}
