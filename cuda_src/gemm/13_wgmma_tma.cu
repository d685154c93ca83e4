/*[tuner]
name = "cuda_wgmma_tma"
operator = "gemm"
summary = "Rung 12's products, whole tiles fetched by the copy engine (TMA) for warpgroups that only multiply."
dtypes = ["f16", "int8", "e4m3", "e5m2", "bf16"]
claims = ["tensor_cores", "tensor_cores:int8"]
entry = "gemm"
arguments = ["map_a", "map_b", "C", "bias", "D", "m", "n", "k", "batch", "partial", "arrived"]
requires = ["wgmma"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["persistent_products", "large_shared"]

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
BK = { values = [64, 128, 256], doc = "depth of the tiles in shared memory" }

[let]
rows = "m"
columns = "n"
matrices = "batch"
depth = "k"
depth_bytes = "BK * element_bytes"
steps = "ceildiv(k, BK)"
# Elements of a row in memory.
a_along = "m if trans_a else k"
b_along = "k if trans_b else n"

[constraints]
rows_are_panels = "depth_bytes in (128, 256)"
# Of an operand whose rows are the contiguous ones a share is whole panels of 128 bytes.
a_shares_are_boxes = "not trans_a or a_share % panel == 0"
b_shares_are_boxes = "trans_b or b_share % panel == 0"

[launch]
grid = ["blocks", "1", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 13: rung 12's warps ask for every piece of a tile themselves, 16 bytes at a time, and all meet at a barrier for
// every tile. Here one thread asks the copy engine for whole tiles, of blocks that stay on their SM (persistent.cuh).
#include "warpgroup_tiles.cuh"

#include "../common/persistent.cuh"

typedef TileOfA<128> TileA;
typedef TileOfB<128> TileB;

// A tile's boxes, as the tensor map has them: 128 bytes of the contiguous dimension. Of SHARES blocks that need the
// same tile, each fetches one share for all.
template <typename Tile, int SHARES>
__device__ __forceinline__ void fetch_tile(unsigned to, const TensorMap* map, int outer0, int depth0, int batch,
                                           unsigned full, int share, unsigned short ranks) {
  constexpr bool DEPTH_CONTIGUOUS = !Tile::OUTER_CONTIGUOUS;
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

struct Fetch {
  const TensorMap *map_a, *map_b;
  const Visits& visits;
  Visit visit;
  int depth;

  __device__ __forceinline__ void prefetch() const {
    prefetch_map(map_a);
    prefetch_map(map_b);
  }
  __device__ __forceinline__ void begin(const Visit& next, int step) { visit = next, depth = step * BK; }
  __device__ __forceinline__ void operator()(unsigned to, unsigned full) {
    fetch_tile<TileA, CLUSTER_N>(to, map_a, visit.row, depth, visit.matrix, full, visits.rank_n, visits.sharing_a());
    fetch_tile<TileB, CLUSTER_M>(to + A_BYTES, map_b, visit.col, depth, visit.matrix, full, visits.rank_m,
                                 visits.sharing_b());
    depth += BK;
  }
};

struct Output {
  static constexpr bool READS = OPT_BETA != 0 || OPT_BIAS;
  const Out *C, *bias;
  Out* to;
  int m, n;
  bool aligned;

  __device__ __forceinline__ PlaceInD place(int batch) const { return {size_t(batch), m, n}; }
  __device__ __forceinline__ Finish finish(int) const { return {C, bias}; }
};

#if CLUSTER_M * CLUSTER_N > 1
extern "C" __global__ void __cluster_dims__(CLUSTER_M * CLUSTER_N, 1, 1) __launch_bounds__(THREADS, 1)
#else
extern "C" __global__ void __launch_bounds__(THREADS, 1)
#endif
    gemm(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k, int batches,
         Acc* partial, PartsOfTile* arrived) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const size_t addresses = reinterpret_cast<size_t>(D) | reinterpret_cast<size_t>(C) | reinterpret_cast<size_t>(bias);
  const Output output{C, bias, D, m, n, addresses % 16 == 0 && n % VECTOR_OF<Out> == 0};
  multiply_persistently<TileA, TileB>(
      memory, m, n, batches, (k + BK - 1) / BK,
      [&](const Visits& visits) { return Fetch{&map_a, &map_b, visits}; }, output, {partial, arrived});
}
