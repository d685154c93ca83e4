/*[tuner]
name = "cuda_attn_flash"
operator = "attention"
summary = "FlashAttention: tiles of keys and values in shared memory, the softmax of what has been seen so far."
dtypes = ["f32", "f16", "bf16"]
claims = ["wide_loads"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "kv_h", "rows", "q", "kv", "factor"]
options = "operator"
requires = ["cp_async"]
shape_generic = false
use = ["scores", "small_key_tiles", "key_tiles", "occupancy", "large_shared"]

[parameters]
BQ = { values = [16, 32, 64, 128], doc = "queries a block" }
TM = { values = [1, 2, 4, 8], doc = "queries a thread" }
TN = { values = [1, 2, 4, 8], doc = "keys of a tile a thread" }
PAD = { values = [0, 1], doc = "16-byte pieces after each row in shared memory, against bank conflicts" }
UNROLL = { values = [1, 2], doc = "16 bytes of depth in straight-line code" }
MIN_BLOCKS = { values = [1, 2, 3], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
lanes = "BK // TN"
threads = "(BQ // TM) * lanes"
blocks = "ceildiv(rows, BQ) * b * kv_h"
vector = "16 // element_bytes"
depth = "ceildiv(d, vector) * vector"
# Columns of O a thread: fours where there are so many.
columns = "1 if d <= lanes else 2 if d <= 2 * lanes else 4 * ceildiv(d, 4 * lanes)"
width = "columns * lanes"
# After a row of probabilities: the rows that a warp writes at once then lie in different banks.
p_gap = "0 if BK == lanes == 16 else 8 if BK == 16 else 4 if lanes == 32 else lanes"
shared = "element_bytes * ((BQ + BK) * (depth + PAD * vector) + BK * width) + 4 * BQ * (BK + p_gap)"
pieces = "BK * max(depth, width) // vector"
registers_needed = "TM * (TN + columns + 3) + 5 * (TM + TN) + 48"

[constraints]
thread_tiles_divide = "BQ % TM == 0 and BK % TN == 0"
row_in_a_warp = "8 <= lanes <= warp_size"
whole_warps = "threads % warp_size == 0"
pieces_fit_a_thread = "max(pieces, BQ * depth // vector) <= 32 * threads"
columns_used = "width < 2 * d"
queries_used = "BQ < 2 * rows or BQ == 16"

[features]
macs = "blocks * BQ * keys_computed * (depth + width)"
traffic_bytes = "blocks * (2 * BQ * d + 2 * keys_computed * d) * element_bytes"
intensity = "BQ"
registers = "TM * (TN + columns)"

[macros]
COLUMNS = "columns"
P_GAP = "p_gap"

[launch]
grid = ["blocks"]
block = ["threads"]
shared_bytes = "shared"
*/

// Rung 1: the scores never reach memory. A block keeps some queries and walks along the keys a tile at a time: the
// product of both, the softmax of what has been seen so far (softmax.cuh), the product with the values (Dao et al.,
// FlashAttention, NeurIPS 2022). Keys are read once for BQ queries. Both products are register tiles of shared memory,
// as GEMM's rung 5; the lanes that have a row of scores have the same row of O, so that its factor needs no exchange.
// Values arrive while scores are computed, the next keys while values are used:
//
//   K tile t ready | S = Q K^T, softmax, P to shared memory | barrier | O += P V           | barrier
//                  | copies of V tile t                     |         | copies of K tile t+1
#include "../common/epilogue.cuh"
#include "../common/lanes.cuh"
#include "../common/tiles.cuh"
#include "softmax.cuh"

constexpr int LANES_M = BQ / TM, LANES_N = BK / TN, THREADS = LANES_M * LANES_N;
constexpr int DEPTH = (HEAD + VECTOR - 1) / VECTOR * VECTOR, WIDTH = COLUMNS * LANES_N, GAP = PAD * VECTOR;
typedef Operand<Element, true, BQ, DEPTH, GAP, THREADS> QTile;
typedef Operand<Element, true, BK, DEPTH, GAP, THREADS> KTile;
typedef Operand<Element, false, WIDTH, BK, 0, THREADS> VTile;
typedef Operand<float, true, BQ, BK, P_GAP, THREADS> PTile;

// O += P V of a tile whose keys not every row sees. What is hidden is left out and not multiplied by its probability
// of 0: 0 times a NaN is a NaN.
__device__ __forceinline__ void add_seen(float (&sum)[TM][COLUMNS], const float* p, const Element* v,
                                         const int (&seen)[TM], int most, int lane_m, int lane_n) {
#pragma unroll 1
  for (int key = 0; key < most; ++key) {
    float value[COLUMNS];
    const typename VTile::template Fragment<LANES_N, COLUMNS> row(v, lane_n, key);
    row.step(value, lane_n, 0);
#pragma unroll
    for (int i = 0; i < TM; ++i) {
      if (key >= seen[i]) continue;
      const float weight = p[PTile::offset(PTile::template outer<LANES_M, TM>(lane_m, i), key)];
#pragma unroll
      for (int j = 0; j < COLUMNS; ++j) sum[i][j] = fmaf(weight, value[j], sum[i][j]);
    }
  }
}

// Scores to probabilities in `p`; sums so far are brought to the new scale. `seen`: keys of this tile, by row.
__device__ __forceinline__ void soften(float (&score)[TM][TN], float (&sum)[TM][COLUMNS], Row (&state)[TM], float* p,
                                       float factor, bool whole, const int (&seen)[TM], int lane_m, int lane_n) {
#pragma unroll
  for (int i = 0; i < TM; ++i) {
    float largest = LARGEST_OF_NONE;
#pragma unroll
    for (int j = 0; j < TN; ++j) {
      score[i][j] *= factor;
      if (!whole && j * LANES_N + lane_n >= seen[i]) score[i][j] = hidden();
      largest = fmaxf(largest, score[i][j]);
    }
    const float rescale = state[i].raise(largest_of<LANES_N>(largest));
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) sum[i][j] *= rescale;
    float* row = p + PTile::offset(PTile::template outer<LANES_M, TM>(lane_m, i));
#pragma unroll
    for (int j = 0; j < TN; ++j) {
      const float power = state[i].power(score[i][j]);
      state[i].total += power;
      row[j * LANES_N + lane_n] = power;
    }
  }
}

template <bool ALIGNED>
__device__ __forceinline__ void attend(Element* memory, const Problem& of, const Element* Q, const Element* K,
                                       const Element* V, const int* block_table, Element* O, float factor) {
  const int thread = threadIdx.x, lane_m = thread / LANES_N, lane_n = thread % LANES_N;
  const int blocks = (of.rows + BQ - 1) / BQ, head = blockIdx.x / blocks;
  // The last rows first: under a causal mask they see the most keys, and the longest work is best begun first.
  const int row0 = (blocks - 1 - blockIdx.x % blocks) * BQ;
  Element *const queries = memory, *const keys = queries + QTile::SIZE, *const values = keys + KTile::SIZE;
  float* const p = reinterpret_cast<float*>(values + VTile::SIZE);
  Row state[TM];
  float sum[TM][COLUMNS] = {};
#pragma unroll
  for (int i = 0; i < TM; ++i) state[i] = {LARGEST_OF_NONE, 0};

  const int all = of.all_seen(row0, BQ), most = of.most_seen(row0, BQ);
  typedef MatrixWindow<Element, true> Rows;
  QTile::copy_async<ALIGNED>(queries, Rows(Q + size_t(head) * of.rows * HEAD, row0, 0, of.rows, HEAD), thread);
  KTile::copy_async<ALIGNED>(keys, tokens(K, block_table, of, head, 0), thread);
  __pipeline_commit();
  for (int key0 = 0; key0 < most; key0 += BK) {
    __pipeline_wait_prior(0);
    __syncthreads();  // the keys are there, and all are done with the values and probabilities before
    VTile::copy_async<ALIGNED>(values, tokens(V, block_table, of, head, key0), thread);
    __pipeline_commit();
    float score[TM][TN] = {};
    accumulate<QTile, KTile, LANES_M, LANES_N, DEPTH, UNROLL, VECTOR>(score, queries, keys, lane_m, lane_n);
    const bool whole = key0 + BK <= all;
    int seen[TM];
#pragma unroll
    for (int i = 0; i < TM; ++i)
      seen[i] = OPT_CAUSAL ? of.seen(row0 + QTile::outer<LANES_M, TM>(lane_m, i)) - key0 : of.kv - key0;
    soften(score, sum, state, p, factor, whole, seen, lane_m, lane_n);
    __pipeline_wait_prior(0);
    __syncthreads();  // values and probabilities are there, and all are done with the keys
    if (key0 + BK < most) KTile::copy_async<ALIGNED>(keys, tokens(K, block_table, of, head, key0 + BK), thread);
    __pipeline_commit();
    if (!OPT_CAUSAL || whole)
      accumulate<PTile, VTile, LANES_M, LANES_N, BK, UNROLL>(sum, p, values, lane_m, lane_n);
    else
      add_seen(sum, p, values, seen, min(BK, most - key0), lane_m, lane_n);
  }
#pragma unroll
  for (int i = 0; i < TM; ++i) {
    const float share = 1.0f / sum_of<LANES_N>(state[i].total);
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) sum[i][j] *= share;
  }
  const auto place = [&](int row, int col) { return (size_t(head) * of.rows + row) * HEAD + col; };
  write_lanes<PTile, VTile, LANES_M, LANES_N, ALIGNED>(sum, O, row0, 0, lane_m, lane_n, of.rows, HEAD, place,
                                                       [](float value, size_t, int, int) {
                                                         Element result;
                                                         narrow(value, result);
                                                         return result;
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
