// What every rung of the CUDA ladder shares: element types, which keys a query sees, where tokens lie.
//
// O = softmax(scale * Q K^T + mask) V, see tuner/operators/attention.py. The `group_h` query heads that use one head
// of keys lie one after the other in memory, so that their queries are the rows of one matrix [rows][HEAD], and one
// walk over the keys serves all of them. HEAD, the head dimension, is a constant: it decides how many registers a
// thread needs. The other macros are DTYPE_*, OPT_CAUSAL, OPT_PAGED, OPT_PAGE_SIZE.
#pragma once
#include "../common/gathers.cuh"
#include "../common/half.cuh"
#include "../common/resources.cuh"
#include "../common/vectors.cuh"

#if DTYPE_F16
typedef __half Element;
#elif DTYPE_BF16
typedef __nv_bfloat16 Element;
#else
typedef float Element;
#endif

constexpr int VECTOR = VECTOR_OF<Element>;  // elements in 128 bits

// The largest score of no keys at all: finite, since a rescaling by the difference of two infinities would be a NaN.
constexpr float LARGEST_OF_NONE = -3.402823466e38f;

// The score of a key that is not seen: below any that is, however negative, and the power of it is exactly 0.
__device__ __forceinline__ float hidden() { return __int_as_float(0xff800000); }

struct Problem {
  int heads, rows, q, kv;  // heads of keys, rows of queries of each

  // How many keys a row sees: the mask is aligned at the bottom right. A row behind the last sees what one before
  // it does; nobody reads its results.
  __device__ __forceinline__ int seen(int row) const { return OPT_CAUSAL ? row % q + 1 + kv - q : kv; }
  // Of `count` neighbouring rows: how many keys one of them sees, how many all of them do.
  __device__ __forceinline__ int most_seen(int row, int count) const {
    count = min(count, rows - row);
    return !OPT_CAUSAL || row % q + count >= q ? kv : seen(row + count - 1);
  }
  __device__ __forceinline__ int all_seen(int row, int count) const {
    count = min(count, rows - row);
    return !OPT_CAUSAL || row % q + count <= q ? seen(row) : kv - q + 1;
  }
};

// Tiles of the tokens of one sequence and one head: rows are tokens, columns the HEAD elements of each.
#if OPT_PAGED
typedef PagedWindow<Element> Tokens;
#else
typedef MatrixWindow<Element, true> Tokens;
#endif

// From a token on. `head` counts the heads of all sequences.
__device__ __forceinline__ Tokens tokens(const Element* cache, const int* block_table, const Problem& of, int head,
                                         int token) {
#if OPT_PAGED
  const int pages = (of.kv + OPT_PAGE_SIZE - 1) / OPT_PAGE_SIZE;
  return Tokens{cache, block_table + size_t(head / of.heads) * pages, OPT_PAGE_SIZE, of.heads, head % of.heads, HEAD,
                token, of.kv};
#else
  return Tokens(cache + size_t(head) * of.kv * HEAD, token, 0, of.kv, HEAD);
#endif
}

// Whether rows of all four tensors are whole 16-byte pieces on boundaries of 16 bytes.
__device__ __forceinline__ bool whole_pieces(const Element* Q, const Element* K, const Element* V, const Element* O) {
  const size_t starts = reinterpret_cast<size_t>(Q) | reinterpret_cast<size_t>(K) | reinterpret_cast<size_t>(V) |
                        reinterpret_cast<size_t>(O);
  return HEAD % VECTOR == 0 && starts % 16 == 0;
}
