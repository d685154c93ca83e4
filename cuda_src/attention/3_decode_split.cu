/*[tuner]
name = "cuda_attn_decode"
operator = "attention"
summary = "Decoding: the keys of a head split over blocks, each a stream in registers; the last block combines."
dtypes = ["f32", "f16"]
claims = ["wide_loads"]
entry = "attention"
arguments = ["Q", "K", "V", "O", "kv_h", "rows", "q", "kv", "factor", "partial", "arrived"]
options = ["causal", "kv_heads", "scale"]
shape_generic = false

[supports]
"it is for decoding, up to 64 queries of each head of keys" = "rows <= 64"

[parameters]
ROWS = { values = [1, 2, 4, 8], doc = "queries of a head of keys a block" }
KEY_LANES = { values = [4, 8, 16, 32], doc = "threads that take a key together" }
KEYS = { values = [1, 2, 4, 8], doc = "keys that such a group loads before it uses one" }
THREADS = { values = [32, 64, 128, 256], doc = "threads a block" }
SPLIT = { values = [1, 2, 4, 8, 16, 32, 64, 128], doc = "blocks that share the keys of a head" }

[let]
factor = "(scale if scale > 0 else d ** -0.5) * 1.4426950408889634"
vector = "16 // element_bytes"
lane_pieces = "ceildiv(d, KEY_LANES * vector)"
width = "lane_pieces * KEY_LANES * vector"
tiles = "ceildiv(rows, ROWS) * b * kv_h"
blocks = "tiles * SPLIT"
step = "THREADS // KEY_LANES * KEYS"
part_bytes = "4 * ROWS * (width + 2)"
shared = "THREADS // warp_size * part_bytes"
# A query and its sums, the pieces of keys and values under way, and one of each as f32.
held = "2 * lane_pieces * vector"
widened = "held if element_bytes == 2 else 0"
registers_needed = "ROWS * (held + KEYS + 3) + KEYS * lane_pieces * 8 + widened + 40"

[constraints]
threads_fit = "THREADS <= max_threads_block"
rows_used = "ROWS < 2 * rows or ROWS == 1"
lanes_used = "width < 2 * d or KEY_LANES == 4"
parts_have_keys = "SPLIT == 1 or SPLIT * step <= kv"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_block_fit = "registers_needed * THREADS <= registers_block"
shared_fits = "shared <= shared_bytes_block"
grid_fits = "blocks <= max_grid_x"

[features]
macs = "2 * tiles * ROWS * kv * width"
traffic_bytes = """
  2 * tiles * kv * d * element_bytes + (2 * blocks * part_bytes if SPLIT > 1 else 0)"""
steps = "ceildiv(kv, SPLIT * step)"
stages = "KEYS"
threads = "THREADS"
shared = "shared"
blocks = "blocks"
registers = "ROWS * held"

[macros]
HEAD = "d"

[launch]
grid = ["blocks"]
block = ["THREADS"]
shared_bytes = "shared"

[workspace]
partial = "blocks * part_bytes if SPLIT > 1 else 16"
arrived = "tiles * 4"
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
