/*[tuner]
name = "cuda_attn_paged"
operator = "attention"
summary = "Decoding from a paged cache: a block brings its part of the block table first, then streams tokens by it."
dtypes = ["f32", "f16", "bf16"]
claims = ["wide_loads"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "kv_h", "rows", "q", "kv", "factor", "partial", "arrived"]
options = "operator"
shape_generic = false
use = ["scores", "decoding"]

[supports]
"its cache is paged" = "paged"

[let]
# A part of the keys may begin within a page and end within another.
table_bytes = "4 * (ceildiv(part_steps * step, page_size) + 1)"
shared = "max(parts_bytes, table_bytes)"
registers_needed = "held_registers + 48"

[launch]
grid = ["blocks"]
block = ["THREADS"]
shared_bytes = "shared"
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
