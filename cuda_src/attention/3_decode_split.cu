/*[tuner]
name = "cuda_attn_decode"
operator = "attention"
summary = "Decoding: the keys of a head split over blocks, each a stream in registers; the last block combines."
dtypes = ["f32", "f16", "bf16"]
claims = ["wide_loads"]
entry = "attention"
arguments = ["Q", "K", "V", "O", "kv_h", "rows", "q", "kv", "factor", "partial", "arrived"]
options = ["causal", "kv_heads", "scale"]
shape_generic = false
use = ["scores", "decoding"]

[let]
shared = "parts_bytes"
registers_needed = "held_registers + 40"

[launch]
grid = ["blocks"]
block = ["THREADS"]
shared_bytes = "shared"
*/

// Rung 3: a step of decoding has one query a head, and rung 1's blocks, one for some queries, leave most of a GPU
// idle. Here the keys of a head are split over SPLIT blocks (Dao, Haziza, Massa, Sizov, Flash-Decoding, 2023), and all
// queries that share them (group_h of them with grouped heads) are answered by one walk along them. A block leaves its
// sums with the largest score and the total that they are relative to; the last to arrive combines them.
#include "decode.cuh"

template <bool ALIGNED>
__device__ __forceinline__ void decode(float* parts, const Problem& of, const Element* Q, const Element* K,
                                       const Element* V, Element* O, float factor, float* partial, int* arrived) {
  const int tile = blockIdx.x / SPLIT, part = blockIdx.x % SPLIT, tiles = (of.rows + ROWS - 1) / ROWS;
  const int head = tile / tiles, row0 = tile % tiles * ROWS;
  const size_t first_row = size_t(head) * of.rows + row0, cache = size_t(head) * of.kv * HEAD;
  Lane own;
  stream<ALIGNED>(own, of, Q + first_row * HEAD, K + cache, V + cache, row0, share(of.most_seen(row0, ROWS), part),
                  factor, [](int token) { return size_t(token) * HEAD; });
  own.combine_warp();
  if (threadIdx.x % 32 < KEY_LANES) own.leave(parts + threadIdx.x / 32 * PART, threadIdx.x % 32);
  __syncthreads();
  Output{O + first_row * HEAD, of.rows - row0, partial, arrived}.write(parts, tile, part);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention(const Element* __restrict__ Q, const Element* __restrict__ K, const Element* __restrict__ V,
              Element* __restrict__ O, int kv_h, int rows, int q, int kv, float factor, float* partial, int* arrived) {
  extern __shared__ __align__(16) float parts[];
  const Problem of{kv_h, rows, q, kv};
  if (whole_pieces(Q, K, V, O))
    decode<true>(parts, of, Q, K, V, O, factor, partial, arrived);
  else
    decode<false>(parts, of, Q, K, V, O, factor, partial, arrived);
}
