/*[tuner]
name = "cuda_attn_tensor_cores"
operator = "attention"
summary = "FlashAttention-2: tensor cores, queries, probabilities and sums in registers, masked tiles skipped by warps."
dtypes = ["f16", "bf16"]
claims = ["wide_loads", "tensor_cores"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "kv_h", "rows", "q", "kv", "factor"]
options = "operator"
requires = ["cp_async"]
shape_generic = false
use = ["scores", "small_key_tiles", "key_tiles", "occupancy", "large_shared"]

[parameters]
WARPS = { values = [1, 2, 4, 8], doc = "warps a block, each with queries of its own" }
TILES = { values = [1, 2], doc = "rows of sixteen queries a warp" }
KEEP_Q = { values = [1, 0], doc = "1: queries stay in registers, 0: they are read again for each tile" }
MIN_BLOCKS = { values = [1, 2, 3, 4], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
bq = "16 * TILES * WARPS"
threads = "WARPS * warp_size"
blocks = "ceildiv(rows, bq) * b * kv_h"
depth = "ceildiv(d, 16) * 16"
shared = "2 * (bq + 2 * BK) * (depth + 8)"
pieces = "ceildiv(BK * depth // 8, threads)"
# A thread's sums, scores, probabilities and queries of sixteen rows; a piece of a tile has a predicate and an address.
kept = "KEEP_Q * depth // 4"
registers_needed = "TILES * (depth // 2 + 3 * BK // 4 + kept + 8) + 2 * pieces + 72"

[constraints]
pieces_fit_a_thread = "max(BK, bq) * depth // 8 <= 16 * threads"
queries_used = "bq < 2 * rows or bq == 16"

[features]
macs = "2 * blocks * bq * keys_computed * depth"
traffic_bytes = "blocks * (2 * bq * d + 2 * keys_computed * d) * element_bytes"
intensity = "bq"
warp_intensity = "16 * TILES"
registers = "TILES * (BK // 2 + kept) + TILES * depth // 2"

[launch]
grid = ["blocks"]
block = ["threads"]
shared_bytes = "shared"
*/

// Rung 2: tensor cores do both products, and a warp has all that its rows need in registers (Dao, FlashAttention-2,
// 2023): its queries, the scores, their largest and the sums. Warps share keys and values but no rows, so that the
// softmax needs no barrier, and where a tile is behind the last key that a warp's rows see, the warp skips it. Sums of
// the first product are the first operand of the second as they lie (mma.cuh), and rows in shared memory end with a gap
// of 16 bytes, so that the eight rows that ldmatrix reads at a time lie in different banks. Copies run as in rung 1.
#include "../common/mma.cuh"
#include "../common/tiles.cuh"
#include "careful.cuh"

constexpr int THREADS = 32 * WARPS, OWN = 16 * TILES, BQ = OWN * WARPS;  // rows of a warp, of a block
constexpr int DEPTH = (HEAD + 15) / 16 * 16, ACROSS = DEPTH / 16, KEY_TILES = BK / 16;
typedef Operand<Element, true, BQ, DEPTH, 8, THREADS> QTile;
typedef Operand<Element, true, BK, DEPTH, 8, THREADS> KTile;
typedef Operand<Element, false, DEPTH, BK, 8, THREADS> VTile;
constexpr int STRIDE = KTile::STRIDE;  // of all three

// What a lane has of its warp's rows. It has pairs of columns of rows lane / 4 and lane / 4 + 8 of every sixteen.
struct Lane {
  unsigned query[TILES][ACROSS][4];
  float sum[TILES][2 * ACROSS][4];
  float score[TILES][2 * KEY_TILES][4];
  unsigned p[TILES][KEY_TILES][4];
  Row row[TILES][2];

  __device__ __forceinline__ void load_query(unsigned (&to)[4], const Element* queries, int m, int t, int lane) const {
    load_matrices(to, queries + (m * 16 + lane % 16) * STRIDE + t * 16 + lane / 16 * 8);
  }

  __device__ __forceinline__ void multiply_keys(const Element* queries, const Element* keys, int lane) {
#pragma unroll
    for (int m = 0; m < TILES; ++m)
#pragma unroll
      for (int j = 0; j < 2 * KEY_TILES; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) score[m][j][e] = 0;
#pragma unroll
    for (int t = 0; t < ACROSS; ++t) {
      if (!KEEP_Q)
#pragma unroll
        for (int m = 0; m < TILES; ++m) load_query(query[m][0], queries, m, t, lane);
#pragma unroll
      for (int j = 0; j < KEY_TILES; ++j) {
        unsigned key[4];  // eight keys, eight more
        load_matrices(key, keys + (j * 16 + lane / 16 * 8 + lane % 8) * STRIDE + t * 16 + lane / 8 % 2 * 8);
#pragma unroll
        for (int m = 0; m < TILES; ++m) {
          Narrow<Element>::multiply_add(score[m][2 * j], query[m][KEEP_Q ? t : 0], key[0], key[1]);
          Narrow<Element>::multiply_add(score[m][2 * j + 1], query[m][KEEP_Q ? t : 0], key[2], key[3]);
        }
      }
    }
  }

  // Scores to probabilities; sums so far are brought to the new scale. `seen`: keys of this tile, by row.
  __device__ __forceinline__ void soften(float factor, bool whole, const int (&seen)[TILES][2], int lane) {
#pragma unroll
    for (int m = 0; m < TILES; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = LARGEST_OF_NONE;
#pragma unroll
        for (int j = 0; j < 2 * KEY_TILES; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& value = score[m][j][2 * half + e];
            value *= factor;
            if (!whole && j * 8 + lane % 4 * 2 + e >= seen[m][half]) value = hidden();
            largest = fmaxf(largest, value);
          }
        Row& state = row[m][half];
        const float rescale = state.raise(largest_of<4>(largest));
#pragma unroll
        for (int j = 0; j < 2 * ACROSS; ++j) sum[m][j][2 * half] *= rescale, sum[m][j][2 * half + 1] *= rescale;
#pragma unroll
        for (int j = 0; j < 2 * KEY_TILES; ++j) {
          const float low = state.power(score[m][j][2 * half]), high = state.power(score[m][j][2 * half + 1]);
          state.total += low + high;
          p[m][j / 2][j % 2 * 2 + half] = Narrow<Element>::pack(low, high);
        }
      }
  }

  __device__ __forceinline__ void multiply_values(const Element* values, int lane) {
#pragma unroll
    for (int j = 0; j < KEY_TILES; ++j)
#pragma unroll
      for (int t = 0; t < ACROSS; ++t) {
        unsigned value[4];  // eight columns, eight more
        load_transposed(value, values + (j * 16 + lane % 16) * STRIDE + t * 16 + lane / 16 * 8);
#pragma unroll
        for (int m = 0; m < TILES; ++m) {
          Narrow<Element>::multiply_add(sum[m][2 * t], p[m][j], value[0], value[1]);
          Narrow<Element>::multiply_add(sum[m][2 * t + 1], p[m][j], value[2], value[3]);
        }
      }
  }

  // Rows of eight to shared memory, but for those with a sum that is infinite or NaN, which it returns, four bits each.
  __device__ __forceinline__ unsigned put(Element* patch, int m, int half, int lane) const {
    float nothing = 0;  // a NaN as soon as anything is not finite
#pragma unroll
    for (int j = 0; j < 2 * ACROSS; ++j)
      nothing = fmaf(sum[m][j][2 * half], 0.0f, fmaf(sum[m][j][2 * half + 1], 0.0f, nothing));
    const unsigned special = __ballot_sync(0xFFFFFFFFu, nothing != 0);
    const float share = 1.0f / sum_of<4>(row[m][half].total);
    if ((special >> lane / 4 * 4 & 15) != 0) return special;
    Element* const to = patch + (m * 16 + half * 8 + lane / 4) * STRIDE + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < 2 * ACROSS; ++j)
      *reinterpret_cast<unsigned*>(to + j * 8) = Narrow<Element>::pack(sum[m][j][2 * half] * share, sum[m][j][2 * half + 1] * share);
    return special;
  }
};

// A warp's rows to O, by way of the shared memory that its queries lay in, so that 16 bytes are stored at a time.
// careful(row, to) computes one row anew.
template <bool ALIGNED, typename Careful>
__device__ __forceinline__ void write(const Lane& own, Element* patch, Element* O, int rows, int lane,
                                      const Careful& careful) {
#pragma unroll
  for (int m = 0; m < TILES; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const unsigned special = own.put(patch, m, half, lane);
      for (int r = 0; special != 0 && r < 8; ++r) {
        const int row = m * 16 + half * 8 + r;
        if ((special >> 4 * r & 15) != 0 && row < rows) careful(row, patch + row * STRIDE);
      }
    }
  __syncwarp();
  constexpr int PIECES = DEPTH / VECTOR;
  for (int i = lane; i < OWN * PIECES; i += 32) {
    const int row = i / PIECES, col = i % PIECES * VECTOR;
    if (row >= rows) break;
    const Element* const from = patch + row * STRIDE + col;
    Element* const to = O + size_t(row) * HEAD + col;
    if (!ALIGNED)
      for (int e = 0; e < VECTOR && col + e < HEAD; ++e) to[e] = from[e];
    else if (col < HEAD)
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
  }
}

template <bool ALIGNED>
__device__ __forceinline__ void attend(Element* memory, const Problem& of, const Element* Q, const Element* K,
                                       const Element* V, const int* block_table, Element* O, float factor) {
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int blocks = (of.rows + BQ - 1) / BQ, head = blockIdx.x / blocks;
  // The last rows first: under a causal mask they see the most keys, and the longest work is best begun first.
  const int row0 = (blocks - 1 - blockIdx.x % blocks) * BQ, first = row0 + warp * OWN;
  Element *const queries = memory, *const keys = queries + QTile::SIZE, *const values = keys + KTile::SIZE;
  Element* const mine = queries + warp * OWN * STRIDE;
  Lane own;
#pragma unroll
  for (int m = 0; m < TILES; ++m) {
    own.row[m][0] = own.row[m][1] = {LARGEST_OF_NONE, 0};
#pragma unroll
    for (int j = 0; j < 2 * ACROSS; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) own.sum[m][j][e] = 0;
  }
  const int most = of.most_seen(row0, BQ);
  const int own_all = first < of.rows ? of.all_seen(first, OWN) : 0;
  const int own_most = first < of.rows ? of.most_seen(first, OWN) : 0;
  typedef MatrixWindow<Element, true> Rows;
  QTile::copy_async<ALIGNED>(queries, Rows(Q + size_t(head) * of.rows * HEAD, row0, 0, of.rows, HEAD), thread);
  KTile::copy_async<ALIGNED>(keys, tokens(K, block_table, of, head, 0), thread);
  __pipeline_commit();
  for (int key0 = 0; key0 < most; key0 += BK) {
    __pipeline_wait_prior(0);
    __syncthreads();  // the keys are there, and all are done with the values before
    VTile::copy_async<ALIGNED>(values, tokens(V, block_table, of, head, key0), thread);
    __pipeline_commit();
    if (KEEP_Q && key0 == 0)
#pragma unroll
      for (int m = 0; m < TILES; ++m)
#pragma unroll
        for (int t = 0; t < ACROSS; ++t) own.load_query(own.query[m][t], mine, m, t, lane);
    const bool whole = key0 + BK <= own_all, needed = key0 < own_most;
    int seen[TILES][2];
#pragma unroll
    for (int m = 0; m < TILES; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        seen[m][half] = (OPT_CAUSAL ? of.seen(first + m * 16 + half * 8 + lane / 4) : of.kv) - key0;
    if (needed) {
      own.multiply_keys(mine, keys, lane);
      own.soften(factor, whole, seen, lane);
    }
    __pipeline_wait_prior(0);
    __syncthreads();  // the values are there, and all are done with the keys
    if (key0 + BK < most) KTile::copy_async<ALIGNED>(keys, tokens(K, block_table, of, head, key0 + BK), thread);
    __pipeline_commit();
    if (needed) own.multiply_values(values, lane);
  }
  if (first >= of.rows) return;
  const size_t start = (size_t(head) * of.rows + first) * HEAD;
  write<ALIGNED>(own, mine, O + start, of.rows - first, lane, [&](int row, Element* to) {
    careful(to, Q + start + size_t(row) * HEAD, tokens(K, block_table, of, head, 0),
            tokens(V, block_table, of, head, 0), of.seen(first + row), factor, lane);
  });
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    attention(const Element* __restrict__ Q, const Element* __restrict__ K, const Element* __restrict__ V,
              const int* __restrict__ block_table, Element* __restrict__ O, int kv_h, int rows, int q, int kv,
              float factor) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Problem of{kv_h, rows, q, kv};
  Element* tiles = reinterpret_cast<Element*>(memory);
  if (whole_pieces(Q, K, V, O))
    attend<true>(tiles, of, Q, K, V, block_table, O, factor);
  else
    attend<false>(tiles, of, Q, K, V, block_table, O, factor);
}
