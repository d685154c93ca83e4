/*[tuner]
name = "cuda_wgmma_tma"
operator = "gemm"
summary = "Rung 12's products, whole tiles fetched by the copy engine (TMA) for warpgroups that only multiply."
dtypes = ["f16", "int8", "e4m3", "e5m2", "bf16"]
claims = ["tensor_cores", "tensor_cores:int8"]
entry = "gemm"
arguments = ["map_a", "map_b", "C", "bias", "D", "m", "n", "k", "batch"]
requires = ["wgmma"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["large_shared"]

[supports]
"8-bit elements are multiplied where k is contiguous in both operands" = "element_bytes > 1 or (trans_b and not trans_a)"
"the copy engine wants rows of A that are a multiple of 16 bytes apart" = "a_along * element_bytes % 16 == 0"
"the copy engine wants rows of B that are a multiple of 16 bytes apart" = "b_along * element_bytes % 16 == 0"

[maps.map_a]
tensor = "A"
dims = ["a_along", "k if trans_a else m", "batch"]
box = ["panel", "BK if trans_a else a_share", "1"]
swizzle = "128"

[maps.map_b]
tensor = "B"
dims = ["b_along", "n if trans_b else k", "batch"]
box = ["panel", "b_share if trans_b else BK", "1"]
swizzle = "128"

[parameters]
BM = { values = [64, 128, 192, 256], doc = "rows of D a block and tile" }
BN = { values = [64, 128, 192, 256], doc = "columns of D a block and tile" }
BK = { values = [64, 128, 256], doc = "depth of the tiles in shared memory" }
WM = { values = [64, 128], doc = "rows of D a warpgroup: products of 64 rows" }
WN = { values = [64, 128, 192, 256], doc = "columns of D a warpgroup, and of a product" }
STAGES = { values = [2, 3, 4, 5, 6, 7, 8], doc = "tiles in shared memory, in use or on their way" }
CLUSTER_M = { values = [1, 2], doc = "blocks above each other that share tiles of B" }
CLUSTER_N = { values = [1, 2], doc = "blocks beside each other that share tiles of A" }
PINGPONG = { values = [0, 1], doc = "1: two warpgroups with a tile of D each, one writes while the other multiplies" }
GROUP_M = { values = [1, 4, 8, 16], doc = "rows of blocks (or of clusters) visited together" }
SPLIT = { values = [1, 2, 4, 8], doc = "blocks of a cluster that share the depth of a tile and add up their sums" }

[let]
# Elements of a row in memory; of 128 bytes; rows and columns of a tile that a block of a cluster fetches.
a_along = "m if trans_a else k"
b_along = "k if trans_b else n"
panel = "128 // element_bytes"
a_share = "BM // CLUSTER_N"
b_share = "BN // CLUSTER_M"
cluster = "CLUSTER_M * CLUSTER_N * SPLIT"
groups = "2 if PINGPONG else (BM // WM) * (BN // WN)"
threads = "128 * (groups + 1)"
# Registers a thread.
sums = "WM * WN // 128"
tile_bytes = "(BM + BN) * BK * element_bytes"
tiles_bytes = "STAGES * tile_bytes"
# Tiles, in whose place a part of a tile of D leaves its sums; rows of finished elements for each warp; barriers.
left_bytes = "BM * (BN + 8) * 4"
shared = "tiles_bytes + (4 * groups * 2560 if SPLIT == 1 else 0) + 8 * (2 * STAGES + 2)"
visits = "ceildiv(m, BM * CLUSTER_M) * ceildiv(n, BN * CLUSTER_N) * batch"
tiles = "visits * CLUSTER_M * CLUSTER_N"
blocks = "cluster * (visits if SPLIT > 1 else min(sm_count // cluster, visits))"

[constraints]
group_tiles_divide = "BM % WM == 0 and BN % WN == 0"
a_tile_a_warpgroup = "not PINGPONG or (BM == WM and BN == WN)"
rows_are_panels = "BK * element_bytes in (128, 256)"
at_most_two_share = "CLUSTER_M * CLUSTER_N <= 2"
# More blocks a cluster would have to be asked for at the launch.
cluster_fits = "cluster <= 8"
split_is_of_one_tile = "SPLIT == 1 or not PINGPONG"
left_sums_fit = "SPLIT == 1 or left_bytes <= tiles_bytes"
parts_have_depth = "SPLIT == 1 or SPLIT * BK <= k"
# Two waves of blocks: beyond them the tiles alone fill the SMs.
split_needed = "SPLIT == 1 or tiles * SPLIT <= 2 * sm_count"
# Of an operand whose rows are the contiguous ones a share is whole panels of 128 bytes.
a_shares_are_boxes = "not trans_a or a_share % panel == 0"
b_shares_are_boxes = "trans_b or b_share % panel == 0"
groups_fit = "groups <= 4"
threads_fit = "threads <= max_threads_block"
# Beside about 30 for descriptors and loops. More than two groups begin with so few that no product may have more sums;
# two keep what they begin with where they divide k.
registers_fit = "sums + 30 <= (128 if groups == 3 else 96 if groups == 4 else 168 if groups * SPLIT > 2 else 232)"

[features]
macs = "tiles * BM * BN * k"
# A block's rows of the sums of all parts are counted as if they came from L2.
traffic_bytes = "tiles * ((a_share + b_share) * k * element_bytes + (4 * BM * BN * SPLIT if SPLIT > 1 else 0))"
steps = "ceildiv(k, BK * SPLIT)"
intensity = "BM * BN / (BM + BN)"
threads = "threads"
stages = "STAGES - 1"
shared = "tiles_bytes"
registers = "sums"

[launch]
grid = ["blocks", "1", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 13: rung 12's warps ask for every piece of a tile themselves, 16 bytes at a time, and all meet at a barrier for
// every tile. Here one thread asks the copy engine for whole tiles (bulk.cuh), and the warpgroups that multiply wait
// for nothing but the bytes: slots of a ring are handed to and fro by mbarriers. A block stays on its SM and takes one
// tile of D after the other, so the next one's first tiles of A and B are on their way while sums are written.
//
//   warpgroup 0     thread 0: waits for `empty`, fetches ...        (the others of the warpgroup have nothing to do)
//   warpgroup 1     waits for `full`, multiplies rows 0 ... 63,  says `empty`, writes
//   warpgroup 2     waits for `full`, multiplies rows 64 ... 127, says `empty`, writes
//
// Two blocks of a cluster share the operand that both need: each fetches one half of its tiles, for both.
// PINGPONG: each warpgroup has a tile of its own, one writes while the other multiplies.
// SPLIT: a product with few tiles of D and a deep k leaves SMs idle; one with few rows has few blocks that stream B.
// SPLIT blocks of a cluster then have a part of k each, and add up their sums by way of each other's shared memory
// (cluster_out.cuh), where the tiles of A and B were. Such a block takes one tile of D.
#include "../common/bulk.cuh"
#include "../common/cluster_out.cuh"
#include "../common/finished_out.cuh"
#include "../common/visits.cuh"
#include "warpgroup_tiles.cuh"

// Blocks that share operands, a part of k; blocks of a cluster.
constexpr int SHARING = CLUSTER_M * CLUSTER_N, CLUSTER = SHARING * SPLIT;
constexpr int GROUPS = PINGPONG ? 2 : BM / WM * GROUPS_N, THREADS = 128 * (GROUPS + 1);
typedef TileOfA<128> TileA;
typedef TileOfB<128> TileB;
constexpr int A_BYTES = TileA::SIZE * sizeof(In), STAGE_BYTES = A_BYTES + TileB::SIZE * int(sizeof(In));
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

// A tile's boxes, as the tensor map has them: 128 bytes of the contiguous dimension. Of SHARES blocks that need the
// same tile, each fetches one share for all.
template <typename Tile, bool DEPTH_CONTIGUOUS, int SHARES>
__device__ __forceinline__ void fetch_tile(unsigned to, const TensorMap* map, int outer0, int depth0, int batch,
                                           unsigned full, int share, unsigned short ranks) {
  constexpr int PANELS = Tile::COLS / Tile::ROW, COUNT = DEPTH_CONTIGUOUS ? PANELS : PANELS / SHARES;
  constexpr int ROWS = DEPTH_CONTIGUOUS ? Tile::ROWS / SHARES : Tile::ROWS;
  static_assert(DEPTH_CONTIGUOUS ? ROWS % 8 == 0 : PANELS % SHARES == 0, "shares are whole boxes");
#pragma unroll
  for (int i = 0; i < COUNT; ++i) {
    const int panel = DEPTH_CONTIGUOUS ? i : share * COUNT + i, row = DEPTH_CONTIGUOUS ? share * ROWS : 0;
    const int outer = DEPTH_CONTIGUOUS ? outer0 + row : outer0 + panel * Tile::ROW;
    const int depth = DEPTH_CONTIGUOUS ? depth0 + panel * Tile::ROW : depth0;
    const int x = DEPTH_CONTIGUOUS ? depth : outer, y = DEPTH_CONTIGUOUS ? outer : depth;
    if (SHARES > 1)
      fetch_box_for(to + panel * Tile::NEXT_PANEL + row * 128, map, x, y, batch, full, ranks);
    else
      fetch_box(to + panel * Tile::NEXT_PANEL, map, x, y, batch, full);
  }
}

// Where the ring stands after so many tiles.
struct Ring {
  int slot, parity;
  __device__ __forceinline__ explicit Ring(int tiles) : slot(tiles % STAGES), parity(tiles / STAGES % 2) {}
  __device__ __forceinline__ void next() {
    if (++slot == STAGES) slot = 0, parity ^= 1;
  }
};

// The tiles of D that this block computes, and of which steps along k: those of its cluster lie side by side. Of blocks
// that share operands rank_m and rank_n are the place among them.
struct Visits {
  int m, n, batches, tiles_m, tiles_n, part, rank_m, rank_n, first_step, steps;
  __device__ __forceinline__ Visits(int m, int n, int k, int batches, int rank)
      : m(m), n(n), batches(batches), tiles_m((m + BM * CLUSTER_M - 1) / (BM * CLUSTER_M)),
        tiles_n((n + BN * CLUSTER_N - 1) / (BN * CLUSTER_N)), part(SPLIT > 1 ? rank / SHARING : 0),
        rank_m(rank % CLUSTER_M), rank_n(rank % SHARING / CLUSTER_M) {
    const int all = (k + BK - 1) / BK;
    first_step = part * all / SPLIT;
    steps = (part + 1) * all / SPLIT - first_step;
  }
  // Row, column and batch entry of the block's tile `number`; false where there are no more.
  __device__ __forceinline__ bool at(int number, int& row, int& col, int& batch) const {
    const int visit = blockIdx.x / CLUSTER + number * (gridDim.x / CLUSTER);
    if (visit >= tiles_m * tiles_n * batches) return false;
    int tile_m, tile_n;
    grouped_tile<GROUP_M>(visit % (tiles_m * tiles_n), tiles_m, tiles_n, tile_m, tile_n);
    row = (tile_m * CLUSTER_M + rank_m) * BM;
    col = (tile_n * CLUSTER_N + rank_n) * BN;
    batch = visit / (tiles_m * tiles_n);
    return true;
  }
};

// Barriers, after the tiles: one of each kind a slot, and one that says whose turn it is.
struct Barriers {
  unsigned first;
  __device__ __forceinline__ unsigned full(int slot) const { return first + 8 * slot; }
  __device__ __forceinline__ unsigned empty(int slot) const { return first + 8 * (STAGES + slot); }
  __device__ __forceinline__ unsigned turn(int group) const { return first + 8 * (2 * STAGES + group); }
};

__device__ __forceinline__ void produce(unsigned stages, const Barriers& barriers, const Visits& visits,
                                        const TensorMap* map_a, const TensorMap* map_b) {
  const int rank_m = visits.rank_m, rank_n = visits.rank_n;
  // Blocks of a part with the same rows share A, those with the same columns B.
  const unsigned short for_a = ((1 << SHARING) - 1) / ((1 << CLUSTER_M) - 1) << visits.part * SHARING + rank_m;
  const unsigned short for_b = ((1 << CLUSTER_M) - 1) << visits.part * SHARING + rank_n * CLUSTER_M;
  Ring ring(0);
  int row, col, batch;
  for (int number = 0; visits.at(number, row, col, batch); ++number)
    for (int step = 0; step < visits.steps; ++step, ring.next()) {
      await(barriers.empty(ring.slot), ring.parity ^ 1);
      const unsigned full = barriers.full(ring.slot), to = stages + ring.slot * STAGE_BYTES;
      const int depth = (visits.first_step + step) * BK;
      arrive_expecting(full, STAGE_BYTES);
      fetch_tile<TileA, !OPT_TRANS_A, CLUSTER_N>(to, map_a, row, depth, batch, full, rank_n, for_a);
      fetch_tile<TileB, bool(OPT_TRANS_B), CLUSTER_M>(to + A_BYTES, map_b, col, depth, batch, full, rank_m, for_b);
    }
}

// Whether runs of 16 bytes of a row lie on boundaries in all that is read and written at the end.
__device__ __forceinline__ bool rows_aligned(const Out* C, const Out* bias, const Out* D, int n) {
  const size_t addresses = reinterpret_cast<size_t>(D) | reinterpret_cast<size_t>(C) | reinterpret_cast<size_t>(bias);
  return addresses % 16 == 0 && n % VECTOR_OF<Out> == 0;
}

__device__ __forceinline__ void consume(unsigned stages, unsigned char* memory, const Barriers& barriers,
                                        const Visits& visits, const Out* C, const Out* bias, Out* D, int warp,
                                        int lane) {
  const int group = warp / 4, steps = visits.steps;
  const int within_row = PINGPONG ? 0 : group / GROUPS_N * WM, within_col = PINGPONG ? 0 : group % GROUPS_N * WN;
  const bool aligned = rows_aligned(C, bias, D, visits.n);
  const auto release = [&](int slot) {
    if (lane != 0) return;
    if (SHARING == 1) arrive(barriers.empty(slot));
#pragma unroll
    for (int i = 0; SHARING > 1 && i < SHARING; ++i) arrive_at(barriers.empty(slot), visits.part * SHARING + i);
  };
  int row, col, batch;
  for (int number = PINGPONG ? group : 0; visits.at(number, row, col, batch); number += PINGPONG ? 2 : 1) {
    Ring ring(number * steps);
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
        write_finished<OPT_BETA != 0 || OPT_BIAS>(patch, sum[i][0], D, row + first_row + 64 * i, col + within_col,
                                                  visits.m, visits.n, lane, aligned,
                                                  PlaceInD{size_t(batch), visits.m, visits.n}, Finish{C, bias});
    }
  }
}

// The sums of a tile that all parts have left, to D.
__device__ __forceinline__ void add_up(const unsigned char* memory, const Visits& visits, const Out* C, const Out* bias,
                                       Out* D, int row, int col, int batch) {
  write_parts<SPLIT, SHARING, BM, BN, THREADS>(
      reinterpret_cast<const Acc*>(memory), visits.rank_n * CLUSTER_M + visits.rank_m, visits.part, D, row, col,
      visits.m, visits.n, threadIdx.x, rows_aligned(C, bias, D, visits.n),
      PlaceInD{size_t(batch), visits.m, visits.n}, Finish{C, bias});
}

#if CLUSTER_M * CLUSTER_N * SPLIT > 1
extern "C" __global__ void __cluster_dims__(CLUSTER_M * CLUSTER_N * SPLIT, 1, 1) __launch_bounds__(THREADS, 1)
#else
extern "C" __global__ void __launch_bounds__(THREADS, 1)
#endif
    gemm(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k, int batches) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const unsigned stages = unsigned(__cvta_generic_to_shared(memory));
  const Barriers barriers = {stages + STAGES * STAGE_BYTES + 4 * GROUPS * PATCH_BYTES};
  // The same for all lanes, and known to be: descriptors are then worked out once a warp.
  const int thread = threadIdx.x, warp = __shfl_sync(~0u, thread / 32, 0);
  const int rank = CLUSTER > 1 ? rank_in_cluster() : 0;
  if (thread == 0) {
    prefetch_map(&map_a);
    prefetch_map(&map_b);
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
  const Visits visits(m, n, k, batches, rank);
  // With SPLIT, of the block's tile: worked out where no copies and no sums wait for the divisions.
  int row = 0, col = 0, batch = 0;
  if (warp < 4) {
    if (SHARED_OUT) give_registers<FOR_PRODUCER>();
    if (thread == 0) produce(stages, barriers, visits, &map_a, &map_b);
    if (SPLIT > 1) visits.at(0, row, col, batch);
  } else {
    if (SHARED_OUT) take_registers<FOR_CONSUMER>();
    if (SPLIT > 1) visits.at(0, row, col, batch);
    consume(stages, memory, barriers, visits, C, bias, D, warp - 4, thread % 32);
  }
  if constexpr (SPLIT > 1) {
    cluster_barrier();  // all have left their sums
    add_up(memory, visits, C, bias, D, row, col, batch);
  }
  // A block's memory is there for the others' copies, arrivals and loads until all are through.
  if (CLUSTER > 1) cluster_end();
}
