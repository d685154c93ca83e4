// Tiles of an operand in shared memory, from rung 4 on: copied 16 bytes at a time and kept as they lie in memory.
//
// op(A) and op(B) are treated alike: an operand has an outer dimension (m or n) and a depth (k), and one of the
// two is contiguous. A tile keeps that order, so that 16-byte pieces go in unchanged (and asynchronously).
#pragma once
#include <cuda_pipeline.h>

#include "gemm.cuh"

constexpr int VECTOR = 16 / sizeof(In);  // elements in 128 bits

// COUNT consecutive elements as one access of COUNT * sizeof(In) bytes.
template <int BYTES> struct Word;
template <> struct Word<16> { typedef uint4 type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<4> { typedef unsigned int type; };
template <> struct Word<2> { typedef unsigned short type; };
template <> struct Word<1> { typedef unsigned char type; };

template <int COUNT, typename T>
__device__ __forceinline__ void load(T (&to)[COUNT], const T* from) {
  typedef typename Word<COUNT * sizeof(T)>::type W;
  const W word = *reinterpret_cast<const W*>(from);
  memcpy(to, &word, sizeof(W));
}
template <int COUNT, typename T>
__device__ __forceinline__ void store(T* to, const T (&from)[COUNT]) {
  typedef typename Word<COUNT * sizeof(T)>::type W;
  W word;
  memcpy(&word, from, sizeof(W));
  *reinterpret_cast<W*>(to) = word;
}

// A tile of OUTER x DEPTH elements of an operand, used by THREADS threads.
//
// DEPTH_CONTIGUOUS: whether neighbours along k are neighbours in memory (A as it is, B transposed).
// GAP: elements after each row of the tile, a multiple of VECTOR: rows then start in different banks.
template <bool DEPTH_CONTIGUOUS, int OUTER, int DEPTH, int GAP, int THREADS>
struct Operand {
  static constexpr int ROWS = DEPTH_CONTIGUOUS ? OUTER : DEPTH;
  static constexpr int COLS = DEPTH_CONTIGUOUS ? DEPTH : OUTER;
  static constexpr int STRIDE = COLS + GAP;
  static constexpr int SIZE = ROWS * STRIDE;  // elements
  static constexpr int PIECES = ROWS * COLS / VECTOR;
  static constexpr int FETCHES = (PIECES + THREADS - 1) / THREADS;  // 16-byte pieces a thread
  static_assert(COLS % VECTOR == 0 && GAP % VECTOR == 0, "rows of a tile are whole 16-byte pieces");

  // Where the tile lies in the matrix: its first row and column, and the matrix's bounds.
  struct Window {
    const In* source;
    int row0, col0, rows, cols;
    __device__ __forceinline__ Window(const In* matrix, int outer0, int depth0, int outers, int depths)
        : source(matrix),
          row0(DEPTH_CONTIGUOUS ? outer0 : depth0),
          col0(DEPTH_CONTIGUOUS ? depth0 : outer0),
          rows(DEPTH_CONTIGUOUS ? outers : depths),
          cols(DEPTH_CONTIGUOUS ? depths : outers) {}
    __device__ __forceinline__ bool holds(int row, int col) const {
      return row0 + row < rows && col0 + col < cols;
    }
    __device__ __forceinline__ const In* at(int row, int col) const {
      return source + size_t(row0 + row) * cols + (col0 + col);
    }
  };

  // Whether every row of the matrix starts on 16 bytes and ends with a whole piece.
  static __device__ __forceinline__ bool aligned(const In* matrix, int outers, int depths) {
    const int cols = DEPTH_CONTIGUOUS ? depths : outers;
    return cols % VECTOR == 0 && reinterpret_cast<size_t>(matrix) % 16 == 0;
  }

  // Element by element, for matrices that are not aligned. What lies outside the matrix becomes zero.
  static __device__ void copy_elements(In* tile, const Window& window, int thread) {
#pragma unroll 2
    for (int i = thread; i < ROWS * COLS; i += THREADS) {
      const int row = i / COLS, col = i % COLS;
      tile[row * STRIDE + col] = window.holds(row, col) ? *window.at(row, col) : In(0);
    }
  }

  // This thread's pieces, into registers.
  static __device__ __forceinline__ void fetch(uint4 (&pieces)[FETCHES], const Window& window, int thread) {
#pragma unroll
    for (int i = 0; i < FETCHES; ++i) {
      const int piece = thread + i * THREADS;
      const int row = piece / (COLS / VECTOR), col = piece % (COLS / VECTOR) * VECTOR;
      pieces[i] = make_uint4(0, 0, 0, 0);
      if ((PIECES % THREADS == 0 || piece < PIECES) && window.holds(row, col))
        pieces[i] = *reinterpret_cast<const uint4*>(window.at(row, col));
    }
  }

  // What `fetch` brought, into the tile.
  static __device__ __forceinline__ void put(In* tile, const uint4 (&pieces)[FETCHES], int thread) {
#pragma unroll
    for (int i = 0; i < FETCHES; ++i) {
      const int piece = thread + i * THREADS;
      const int row = piece / (COLS / VECTOR), col = piece % (COLS / VECTOR) * VECTOR;
      if (PIECES % THREADS == 0 || piece < PIECES)
        *reinterpret_cast<uint4*>(tile + row * STRIDE + col) = pieces[i];
    }
  }

  // The whole tile, complete for this thread on return.
  template <bool ALIGNED>
  static __device__ __forceinline__ void copy(In* tile, const Window& window, int thread) {
    if (ALIGNED) {
      uint4 pieces[FETCHES];
      fetch(pieces, window, thread);
      put(tile, pieces, thread);
    } else {
      copy_elements(tile, window, thread);
    }
  }

  // The whole tile, without passing through registers; complete after the pipeline's wait.
  template <bool ALIGNED>
  static __device__ __forceinline__ void copy_async(In* tile, const Window& window, int thread) {
    if (!ALIGNED) return copy_elements(tile, window, thread);
#pragma unroll
    for (int i = 0; i < FETCHES; ++i) {
      const int piece = thread + i * THREADS;
      if (PIECES % THREADS != 0 && piece >= PIECES) break;
      const int row = piece / (COLS / VECTOR), col = piece % (COLS / VECTOR) * VECTOR;
      In* to = tile + row * STRIDE + col;
      if (window.holds(row, col))
        __pipeline_memcpy_async(to, window.at(row, col), 16);
      else
        *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
    }
  }

  // The outer indices of one lane among LANES that share COUNT * LANES of them. Neighbouring lanes read
  // neighbouring pieces: of up to four elements where the outer dimension is contiguous, of one where not.
  template <int LANES, int COUNT>
  static __device__ __forceinline__ int outer(int lane, int i) {
    constexpr int GROUP = COUNT < 4 ? COUNT : 4;
    return DEPTH_CONTIGUOUS ? i * LANES + lane : (i / GROUP * LANES + lane) * GROUP + i % GROUP;
  }

  // Four steps of depth of this lane's outer indices, widened.
  template <int LANES, int COUNT>
  static __device__ __forceinline__ void fragment(Acc (&to)[4][COUNT], const In* tile, int lane, int depth) {
    if (DEPTH_CONTIGUOUS) {
#pragma unroll
      for (int i = 0; i < COUNT; ++i) {
        In part[4];
        load(part, tile + outer<LANES, COUNT>(lane, i) * STRIDE + depth);
#pragma unroll
        for (int step = 0; step < 4; ++step) to[step][i] = widen(part[step]);
      }
    } else {
      constexpr int GROUP = COUNT < 4 ? COUNT : 4;
#pragma unroll
      for (int step = 0; step < 4; ++step)
#pragma unroll
        for (int i = 0; i < COUNT; i += GROUP) {
          In part[GROUP];
          load(part, tile + (depth + step) * STRIDE + outer<LANES, COUNT>(lane, i));
#pragma unroll
          for (int j = 0; j < GROUP; ++j) to[step][i + j] = widen(part[j]);
        }
    }
  }
};

// sum += a b over a tile of DEPTH, of LANES_M x LANES_N lanes with TM x TN elements each. `a` and `b` point to
// what the lanes share. GROUPS: groups of four steps of depth in straight-line code.
template <typename A, typename B, int LANES_M, int LANES_N, int DEPTH, int GROUPS, int COUNT_M, int COUNT_N>
__device__ __forceinline__ void accumulate(Acc (&sum)[COUNT_M][COUNT_N], const In* a, const In* b, int lane_m,
                                           int lane_n) {
#pragma unroll GROUPS
  for (int depth = 0; depth < DEPTH; depth += 4) {
    Acc a_part[4][COUNT_M], b_part[4][COUNT_N];
    A::template fragment<LANES_M, COUNT_M>(a_part, a, lane_m, depth);
    B::template fragment<LANES_N, COUNT_N>(b_part, b, lane_n, depth);
#pragma unroll
    for (int step = 0; step < 4; ++step)
#pragma unroll
      for (int i = 0; i < COUNT_M; ++i)
#pragma unroll
        for (int j = 0; j < COUNT_N; ++j)
          sum[i][j] = multiply_add(a_part[step][i], b_part[step][j], sum[i][j]);
  }
}

// A lane's sums to D, with 128-bit (or as wide as four elements are) stores where columns lie together.
// `row0`, `col0`: of what the lanes share, in D. ALIGNED says that n is a multiple of four.
template <typename A, typename B, int LANES_M, int LANES_N, bool ALIGNED, int COUNT_M, int COUNT_N>
__device__ __forceinline__ void write(const Acc (&sum)[COUNT_M][COUNT_N], const Out* C, const Out* bias, Out* D,
                                      size_t batch, int row0, int col0, int lane_m, int lane_n, int m, int n) {
  constexpr int GROUP = ALIGNED && !TRANS_B && COUNT_N >= 4 ? 4 : 1;
#pragma unroll
  for (int i = 0; i < COUNT_M; ++i) {
    const int row = row0 + A::template outer<LANES_M, COUNT_M>(lane_m, i);
    if (row >= m) continue;
#pragma unroll
    for (int j = 0; j < COUNT_N; j += GROUP) {
      const int col = col0 + B::template outer<LANES_N, COUNT_N>(lane_n, j);
      if (col >= n) continue;
      const size_t index = (batch * m + row) * n + col;
      Out result[GROUP];
#pragma unroll
      for (int g = 0; g < GROUP; ++g) result[g] = finish(sum[i][j + g], C, bias, index + g, col + g);
      store(D + index, result);
    }
  }
}
