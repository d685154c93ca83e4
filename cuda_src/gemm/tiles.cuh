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
  static constexpr int PER_ROW = COLS / VECTOR;
  static constexpr bool DOWN = THREADS % PER_ROW == 0;  // a thread's pieces lie in one column
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

  // Calls each(i, inside, from, to) for this thread's pieces. In one column of the matrix, pieces are a constant
  // apart, so that one pointer serves all: registers for addresses would otherwise cost a block an SM.
  template <typename Each>
  static __device__ __forceinline__ void pieces(In* tile, const Window& window, int thread, const Each& each) {
    const int row = thread / PER_ROW, col = thread % PER_ROW * VECTOR;
    const In* const from = window.at(row, col);
    In* const to = tile + row * STRIDE + col;
#pragma unroll
    for (int i = 0; i < FETCHES; ++i) {
      const int piece = thread + i * THREADS;
      if (PIECES % THREADS != 0 && piece >= PIECES) continue;
      if (DOWN) {
        constexpr int STEP = DOWN ? THREADS / PER_ROW : 0;
        each(i, window.holds(row + i * STEP, col), from + size_t(i * STEP) * window.cols, to + i * STEP * STRIDE);
      } else {
        const int r = piece / PER_ROW, c = piece % PER_ROW * VECTOR;
        each(i, window.holds(r, c), window.at(r, c), tile + r * STRIDE + c);
      }
    }
  }

  // This thread's pieces, into registers; what lies outside the matrix becomes zero.
  static __device__ __forceinline__ void fetch(uint4 (&held)[FETCHES], const Window& window, int thread) {
    pieces(nullptr, window, thread, [&](int i, bool inside, const In* from, In*) {
      held[i] = inside ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
    });
  }

  // What `fetch` brought, into the tile.
  static __device__ __forceinline__ void put(In* tile, const uint4 (&held)[FETCHES], int thread) {
    pieces(tile, Window(nullptr, 0, 0, 0, 0), thread,
           [&](int i, bool, const In*, In* to) { *reinterpret_cast<uint4*>(to) = held[i]; });
  }

  // The whole tile, complete for this thread on return.
  template <bool ALIGNED>
  static __device__ __forceinline__ void copy(In* tile, const Window& window, int thread) {
    if (ALIGNED) {
      uint4 held[FETCHES];
      fetch(held, window, thread);
      put(tile, held, thread);
    } else {
      copy_elements(tile, window, thread);
    }
  }

  // The whole tile, without passing through registers; complete after the pipeline's wait.
  template <bool ALIGNED>
  static __device__ __forceinline__ void copy_async(In* tile, const Window& window, int thread) {
    if (!ALIGNED) return copy_elements(tile, window, thread);
    pieces(tile, window, thread, [&](int, bool inside, const In* from, In* to) {
      if (inside)
        __pipeline_memcpy_async(to, from, 16);
      else
        *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
    });
  }

  // From the tile's first element to another: where a warp's part begins.
  static __device__ __forceinline__ int offset(int outer, int depth = 0) {
    return DEPTH_CONTIGUOUS ? outer * STRIDE + depth : depth * STRIDE + outer;
  }

  static constexpr bool RUNS_OF_FOUR = !DEPTH_CONTIGUOUS;  // whether `outer` gives four neighbours to a lane

  // The outer indices of one lane among LANES that share COUNT * LANES of them. Neighbouring lanes read
  // neighbouring pieces: of up to four elements where the outer dimension is contiguous, of one where not.
  template <int LANES, int COUNT>
  static __device__ __forceinline__ int outer(int lane, int i) {
    constexpr int GROUP = COUNT < 4 ? COUNT : 4;
    return DEPTH_CONTIGUOUS ? i * LANES + lane : (i / GROUP * LANES + lane) * GROUP + i % GROUP;
  }

  // This lane's elements of four steps of depth, read when they are needed. Where depth is contiguous that is all
  // four at once (and 16-bit elements stay packed until `step`); where not, one step at a time.
  template <int LANES, int COUNT>
  struct Fragment {
    In parts[DEPTH_CONTIGUOUS ? COUNT : 1][4];
    const In* at;

    __device__ __forceinline__ Fragment(const In* tile, int lane, int depth)
        : at(tile + (DEPTH_CONTIGUOUS ? depth : depth * STRIDE)) {
      if (DEPTH_CONTIGUOUS)
#pragma unroll
        for (int i = 0; i < COUNT; ++i) load(parts[i], at + outer<LANES, COUNT>(lane, i) * STRIDE);
    }

    __device__ __forceinline__ void step(Acc (&to)[COUNT], int lane, int step) const {
      constexpr int GROUP = COUNT < 4 ? COUNT : 4;
#pragma unroll
      for (int i = 0; i < COUNT; i += GROUP) {
        In part[GROUP];
        if (!DEPTH_CONTIGUOUS) load(part, at + step * STRIDE + outer<LANES, COUNT>(lane, i));
#pragma unroll
        for (int j = 0; j < GROUP; ++j) to[i + j] = widen(DEPTH_CONTIGUOUS ? parts[i + j][step] : part[j]);
      }
    }
  };
};

// Calls use(a, b) for the tiles first ... last - 1 along k, with SLOTS - 1 later ones under way meanwhile.
//
// `stages` is shared memory for SLOTS times (A::SIZE + B::SIZE) elements, a tile of B behind each of A. One
// barrier a tile: it says that this tile is there for all threads and that all are done with the one before,
// whose place the next copy takes. A block may call it again for other tiles after a barrier of its own.
template <typename A, typename B, int DEPTH, int SLOTS, bool ALIGNED, typename Use>
__device__ __forceinline__ void pipelined(In* stages, const In* a, const In* b, int row0, int col0, int m, int n,
                                          int k, int first, int last, int thread, const Use& use) {
  constexpr int STAGE = A::SIZE + B::SIZE;
  const auto start = [&](int tile, In* slot) {
    if (tile < last) {
      A::template copy_async<ALIGNED>(slot, typename A::Window(a, row0, tile * DEPTH, m, k), thread);
      B::template copy_async<ALIGNED>(slot + A::SIZE, typename B::Window(b, col0, tile * DEPTH, n, k), thread);
    }
    // Committed even when empty, so that "all but the last SLOTS - 2 groups" always means the tile at hand.
    __pipeline_commit();
  };
  for (int i = 0; i < SLOTS - 1; ++i) start(first + i, stages + i * STAGE);
  int slot = 0, free_slot = SLOTS - 1;
  for (int tile = first; tile < last; ++tile) {
    __pipeline_wait_prior(SLOTS - 2);
    __syncthreads();
    start(tile + SLOTS - 1, stages + free_slot * STAGE);
    use(stages + slot * STAGE, stages + slot * STAGE + A::SIZE);
    free_slot = slot;
    slot = slot + 1 == SLOTS ? 0 : slot + 1;
  }
}

// sum += a b over a tile of DEPTH, of LANES_M x LANES_N lanes with TM x TN elements each. `a` and `b` point to
// what the lanes share. GROUPS: groups of four steps of depth in straight-line code.
template <typename A, typename B, int LANES_M, int LANES_N, int DEPTH, int GROUPS, int COUNT_M, int COUNT_N>
__device__ __forceinline__ void accumulate(Acc (&sum)[COUNT_M][COUNT_N], const In* a, const In* b, int lane_m,
                                           int lane_n) {
#pragma unroll GROUPS
  for (int depth = 0; depth < DEPTH; depth += 4) {
    const typename A::template Fragment<LANES_M, COUNT_M> a_four(a, lane_m, depth);
    const typename B::template Fragment<LANES_N, COUNT_N> b_four(b, lane_n, depth);
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      Acc a_part[COUNT_M], b_part[COUNT_N];
      a_four.step(a_part, lane_m, step);
      b_four.step(b_part, lane_n, step);
#pragma unroll
      for (int i = 0; i < COUNT_M; ++i)
#pragma unroll
        for (int j = 0; j < COUNT_N; ++j) sum[i][j] = multiply_add(a_part[i], b_part[j], sum[i][j]);
    }
  }
}

// A lane's sums to D, with 128-bit (or as wide as four elements are) stores where columns lie together.
// `row0`, `col0`: of what the lanes share, in D. ALIGNED says that n is a multiple of four.
template <typename A, typename B, int LANES_M, int LANES_N, bool ALIGNED, int COUNT_M, int COUNT_N>
__device__ __forceinline__ void write(const Acc (&sum)[COUNT_M][COUNT_N], const Out* C, const Out* bias, Out* D,
                                      size_t batch, int row0, int col0, int lane_m, int lane_n, int m, int n) {
  constexpr int GROUP = ALIGNED && B::RUNS_OF_FOUR && COUNT_N >= 4 ? 4 : 1;
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
