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

[let]
# Elements of a row in memory; of 128 bytes; rows and columns of a tile that a block of a cluster fetches.
a_along = "m if trans_a else k"
b_along = "k if trans_b else n"
panel = "128 // element_bytes"
a_share = "BM // CLUSTER_N"
b_share = "BN // CLUSTER_M"
cluster = "CLUSTER_M * CLUSTER_N"
groups = "2 if PINGPONG else (BM // WM) * (BN // WN)"
threads = "128 * (groups + 1)"
# Registers a thread.
sums = "WM * WN // 128"
tile_bytes = "(BM + BN) * BK * element_bytes"
tiles_bytes = "STAGES * tile_bytes"
# Tiles; rows of finished elements for each warp; barriers.
shared = "tiles_bytes + 4 * groups * 2560 + 8 * (2 * STAGES + 2)"
visits = "ceildiv(m, BM * CLUSTER_M) * ceildiv(n, BN * CLUSTER_N) * batch"
tiles = "visits * cluster"
blocks = "min(sm_count // cluster, visits) * cluster"

[constraints]
group_tiles_divide = "BM % WM == 0 and BN % WN == 0"
a_tile_a_warpgroup = "not PINGPONG or (BM == WM and BN == WN)"
rows_are_panels = "BK * element_bytes in (128, 256)"
at_most_two_share = "cluster <= 2"
# Of an operand whose rows are the contiguous ones a share is whole panels of 128 bytes.
a_shares_are_boxes = "not trans_a or a_share % panel == 0"
b_shares_are_boxes = "trans_b or b_share % panel == 0"
groups_fit = "groups <= 4"
threads_fit = "threads <= max_threads_block"
# Beside about 30 for descriptors and loops. More than two groups begin with so few that no product may have more sums.
registers_fit = "sums + 30 <= (232 if groups <= 2 else 128 if groups == 3 else 96)"

[features]
macs = "tiles * BM * BN * k"
traffic_bytes = "tiles * (a_share + b_share) * k * element_bytes"
steps = "ceildiv(k, BK)"
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
// A cluster of two blocks shares the operand that both need: each fetches one half of its tiles, for both.
// PINGPONG: each warpgroup has a tile of its own, one writes while the other multiplies.
#include "../common/bulk.cuh"
#include "../common/finished_out.cuh"
#include "../common/visits.cuh"
#include "warpgroup_tiles.cuh"

constexpr int CLUSTER = CLUSTER_M * CLUSTER_N;
constexpr int GROUPS = PINGPONG ? 2 : BM / WM * GROUPS_N, THREADS = 128 * (GROUPS + 1);
typedef TileOfA<128> TileA;
typedef TileOfB<128> TileB;
constexpr int A_BYTES = TileA::SIZE * sizeof(In), STAGE_BYTES = A_BYTES + TileB::SIZE * int(sizeof(In));
constexpr int PATCH_BYTES = 2560;  // of a warp, in the declaration too
static_assert(FINISHED_PATCH<Out> * sizeof(Out) <= PATCH_BYTES, "the patch holds 16 rows");
// Registers of a thread. What a block began with is shared out anew, in eights: 168, 128 or 96 for each of 3, 4 or 5
// warpgroups. Who asks for more than is left waits for ever.
constexpr int REGISTERS_AT_FIRST = GROUPS == 2 ? 168 : GROUPS == 3 ? 128 : 96;
constexpr int FOR_PRODUCER = GROUPS == 2 ? 40 : 32;
constexpr int FOR_CONSUMER = GROUPS == 2 ? 232 : GROUPS == 3 ? 160 : 112;
static_assert(GROUPS == 1 || GROUPS * FOR_CONSUMER + FOR_PRODUCER <= (GROUPS + 1) * REGISTERS_AT_FIRST,
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

// The tiles of D that this block computes: those of its cluster lie side by side.
struct Visits {
  int m, n, batches, tiles_m, tiles_n, rank;
  __device__ __forceinline__ Visits(int m, int n, int batches, int rank)
      : m(m), n(n), batches(batches), tiles_m((m + BM * CLUSTER_M - 1) / (BM * CLUSTER_M)),
        tiles_n((n + BN * CLUSTER_N - 1) / (BN * CLUSTER_N)), rank(rank) {}
  // Row, column and batch entry of the block's tile `number`; false where there are no more.
  __device__ __forceinline__ bool at(int number, int& row, int& col, int& batch) const {
    const int visit = blockIdx.x / CLUSTER + number * (gridDim.x / CLUSTER);
    if (visit >= tiles_m * tiles_n * batches) return false;
    int tile_m, tile_n;
    grouped_tile<GROUP_M>(visit % (tiles_m * tiles_n), tiles_m, tiles_n, tile_m, tile_n);
    row = (tile_m * CLUSTER_M + rank % CLUSTER_M) * BM;
    col = (tile_n * CLUSTER_N + rank / CLUSTER_M) * BN;
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
                                        const TensorMap* map_a, const TensorMap* map_b, int k) {
  const int tiles = (k + BK - 1) / BK, rank_m = visits.rank % CLUSTER_M, rank_n = visits.rank / CLUSTER_M;
  // Blocks with the same rows share A, those with the same columns B.
  const unsigned short for_a = ((1 << CLUSTER) - 1) / ((1 << CLUSTER_M) - 1) << rank_m;
  const unsigned short for_b = ((1 << CLUSTER_M) - 1) << rank_n * CLUSTER_M;
  Ring ring(0);
  int row, col, batch;
  for (int number = 0; visits.at(number, row, col, batch); ++number)
    for (int tile = 0; tile < tiles; ++tile, ring.next()) {
      await(barriers.empty(ring.slot), ring.parity ^ 1);
      const unsigned full = barriers.full(ring.slot), to = stages + ring.slot * STAGE_BYTES;
      arrive_expecting(full, STAGE_BYTES);
      fetch_tile<TileA, !OPT_TRANS_A, CLUSTER_N>(to, map_a, row, tile * BK, batch, full, rank_n, for_a);
      fetch_tile<TileB, bool(OPT_TRANS_B), CLUSTER_M>(to + A_BYTES, map_b, col, tile * BK, batch, full, rank_m, for_b);
    }
}

__device__ __forceinline__ void consume(unsigned stages, Out* patches, const Barriers& barriers, const Visits& visits,
                                        const Out* C, const Out* bias, Out* D, int k, int warp, int lane) {
  const int tiles = (k + BK - 1) / BK, group = warp / 4;
  const int within_row = PINGPONG ? 0 : group / GROUPS_N * WM, within_col = PINGPONG ? 0 : group % GROUPS_N * WN;
  const size_t addresses = reinterpret_cast<size_t>(D) | reinterpret_cast<size_t>(C) | reinterpret_cast<size_t>(bias);
  const bool aligned = addresses % 16 == 0 && visits.n % VECTOR_OF<Out> == 0;
  Out* const patch = patches + warp * int(PATCH_BYTES / sizeof(Out));
  const auto release = [&](int slot) {
    if (lane != 0) return;
    if (CLUSTER == 1) arrive(barriers.empty(slot));
#pragma unroll
    for (int i = 0; CLUSTER > 1 && i < CLUSTER; ++i) arrive_at(barriers.empty(slot), i);
  };
  int row, col, batch;
  for (int number = PINGPONG ? group : 0; visits.at(number, row, col, batch); number += PINGPONG ? 2 : 1) {
    Ring ring(number * tiles);
    Sums sum = {};
    if (PINGPONG) await(barriers.turn(group), number / 2 % 2 ^ (group == 0));
    int last = 0;
    for (int tile = 0; tile < tiles; ++tile, ring.next()) {
      await(barriers.full(ring.slot), ring.parity);
      multiply_tile<TileA, TileB>(sum, stages + ring.slot * STAGE_BYTES, within_row, within_col);
      // The products before these are done.
      wgmma_wait<1>();
      if (tile > 0) release(last);
      last = ring.slot;
    }
    if (PINGPONG && lane == 0) arrive(barriers.turn(1 - group));
    wgmma_wait<0>();
    release(last);
#pragma unroll
    for (int i = 0; i < HIGH; ++i) arrived(sum[i][0]);
#pragma unroll
    for (int i = 0; i < HIGH; ++i)
      write_finished<OPT_BETA != 0 || OPT_BIAS>(patch, sum[i][0], D, row + within_row + 64 * i + warp % 4 * 16,
                                                col + within_col, visits.m, visits.n, lane, aligned,
                                                PlaceInD{size_t(batch), visits.m, visits.n}, Finish{C, bias});
  }
}

#if CLUSTER_M * CLUSTER_N > 1
extern "C" __global__ void __cluster_dims__(CLUSTER_M * CLUSTER_N, 1, 1) __launch_bounds__(THREADS, 1)
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
      barrier_init(barriers.empty(i), CLUSTER * 4 * (PINGPONG ? 1 : GROUPS));
    }
    for (int i = 0; i < 2; ++i) barrier_init(barriers.turn(i), 4);
    barriers_ready();
  }
  if (CLUSTER > 1)
    cluster_barrier();
  else
    __syncthreads();
  const Visits visits(m, n, batches, rank);
  if (warp < 4) {
    if (GROUPS > 1) give_registers<FOR_PRODUCER>();
    if (thread == 0) produce(stages, barriers, visits, &map_a, &map_b, k);
  } else {
    if (GROUPS > 1) take_registers<FOR_CONSUMER>();
    consume(stages, reinterpret_cast<Out*>(memory + STAGES * STAGE_BYTES), barriers, visits, C, bias, D, k, warp - 4,
            thread % 32);
  }
  // A block's memory is there for the other's copies and arrivals until both are through.
  if (CLUSTER > 1) cluster_barrier();
}
