/*[tuner]
name = "cuda_attn_paged"
operator = "attention"
summary = "Decoding from a paged cache: a block brings its part of the block table first, then streams tokens by it."
dtypes = ["f32", "f16"]
claims = ["wide_loads"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "kv_h", "rows", "q", "kv", "factor", "partial", "arrived"]
options = "operator"
shape_generic = false

[supports]
"it is for decoding, up to 64 queries of each head of keys" = "rows <= 64"
"its cache is paged" = "paged"

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
# A part of the keys may begin within a page and end within another.
part_steps = "ceildiv(kv, SPLIT * step)"
table_bytes = "4 * (ceildiv(part_steps * step, page_size) + 1)"
shared = "max(THREADS // warp_size * part_bytes, table_bytes)"
# A query and its sums, the pieces of keys and values under way, and one of each as f32.
held = "2 * lane_pieces * vector"
widened = "held if element_bytes == 2 else 0"
registers_needed = "ROWS * (held + KEYS + 3) + KEYS * lane_pieces * 8 + widened + 48"

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
steps = "part_steps"
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

// Rung 4: a server's cache lies in pages (Kwon et al., PagedAttention, SOSP 2023), and where a token is says the block
// table. Asked for every token, it puts one load from memory before another: the stream of rung 3 would wait twice as
// long for each step. Here a block reads the pages of its part of the keys into shared memory, all threads side by
// side, before it begins; from then on a token's place is a division by a constant and a load from shared memory.
#include "decode.cuh"

template <bool ALIGNED>
__device__ __forceinline__ void decode(unsigned char* memory, const Problem& of, const Element* Q, const Element* K,
                                       const Element* V, const int* block_table, Element* O, float factor,
                                       float* partial, int* arrived) {
  const int tile = blockIdx.x / SPLIT, part = blockIdx.x % SPLIT, tiles = (of.rows + ROWS - 1) / ROWS;
  const int head = tile / tiles, row0 = tile % tiles * ROWS;
  const size_t first_row = size_t(head) * of.rows + row0;
  const Range range = share(of.most_seen(row0, ROWS), part);
  const int first_page = range.first / OPT_PAGE_SIZE;
  const int pages = (range.last + OPT_PAGE_SIZE - 1) / OPT_PAGE_SIZE - first_page;
  int* const table = reinterpret_cast<int*>(memory);
  const int* const listed = block_table + size_t(head / of.heads) * ((of.kv + OPT_PAGE_SIZE - 1) / OPT_PAGE_SIZE);
  for (int i = threadIdx.x; i < pages; i += THREADS) table[i] = listed[first_page + i];
  __syncthreads();
  Lane own;
  const int within = head % of.heads;
  stream<ALIGNED>(own, of, Q + first_row * HEAD, K, V, row0, range, factor, [&](int token) {
    const size_t place = size_t(table[token / OPT_PAGE_SIZE - first_page]) * OPT_PAGE_SIZE + token % OPT_PAGE_SIZE;
    return (place * of.heads + within) * HEAD;
  });
  own.combine_warp();
  __syncthreads();  // the parts lie where the table was
  float* const parts = reinterpret_cast<float*>(memory);
  if (threadIdx.x % 32 < KEY_LANES) own.leave(parts + threadIdx.x / 32 * PART, threadIdx.x % 32);
  __syncthreads();
  Output{O + first_row * HEAD, of.rows - row0, partial, arrived}.write(parts, tile, part);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention(const Element* __restrict__ Q, const Element* __restrict__ K, const Element* __restrict__ V,
              const int* __restrict__ block_table, Element* __restrict__ O, int kv_h, int rows, int q, int kv,
              float factor, float* partial, int* arrived) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Problem of{kv_h, rows, q, kv};
  if (whole_pieces(Q, K, V, O))
    decode<true>(memory, of, Q, K, V, block_table, O, factor, partial, arrived);
  else
    decode<false>(memory, of, Q, K, V, block_table, O, factor, partial, arrived);
}
