// Tiles of an operand in shared memory: copied 16 bytes at a time from where a gather says, kept as they lie there.
//
// The operands of a product are treated alike: an operand has an outer dimension (m or n) and a depth (k), and one of
// the two is contiguous. A tile keeps that order, so that 16-byte pieces go in unchanged (and asynchronously).
//
//   Operand<float, false, 8, 4, 4, 4>: outer contiguous, 8 wide, 4 deep; rows end with a gap of 4; 4 threads.
//
//                outer 0 1 2 3   4 5 6 7   gap
//      depth 0      [thread 0] [thread 1]  . . . .    one column of pieces a thread: thread 0 fetches pieces
//      depth 1      [thread 2] [thread 3]  . . . .    (0, 0) and (2, 0), STEP = 2 rows apart
//      depth 2      [thread 0] [thread 1]  . . . .
//      depth 3      [thread 2] [thread 3]  . . . .    element (outer 5, depth 2) lies at offset(5, 2) = 2 * 12 + 5
#pragma once
#include <cuda_pipeline.h>

#include "gathers.cuh"
#include "half.cuh"
#include "vectors.cuh"

// A tile of OUTER x DEPTH elements of an operand, used by THREADS threads.
//
// DEPTH_CONTIGUOUS: whether neighbours along k are neighbours in memory (A as it is, B transposed).
// GAP: elements after each row of the tile, a multiple of VECTOR: rows then start in different banks.
template <typename T, bool DEPTH_CONTIGUOUS, int OUTER, int DEPTH, int GAP, int THREADS>
struct Operand {
  static constexpr int VECTOR = VECTOR_OF<T>;
  static constexpr int ROWS = DEPTH_CONTIGUOUS ? OUTER : DEPTH;
  static constexpr int COLS = DEPTH_CONTIGUOUS ? DEPTH : OUTER;
  static constexpr int STRIDE = COLS + GAP;
  static constexpr int SIZE = ROWS * STRIDE;  // elements
  static constexpr int PIECES = ROWS * COLS / VECTOR;
  static constexpr int FETCHES = (PIECES + THREADS - 1) / THREADS;  // 16-byte pieces a thread
  static constexpr int PER_ROW = COLS / VECTOR;
  static constexpr bool DOWN = THREADS % PER_ROW == 0;  // a thread's pieces lie in one column
  static_assert(COLS % VECTOR == 0 && GAP % VECTOR == 0, "rows of a tile are whole 16-byte pieces");

  typedef MatrixWindow<T, DEPTH_CONTIGUOUS> Window;  // the gather of an operand that is a matrix

  // Whether every row of the matrix starts on 16 bytes and ends with a whole piece.
  static __device__ __forceinline__ bool aligned(const T* matrix, int outers, int depths) {
    const int cols = DEPTH_CONTIGUOUS ? depths : outers;
    return cols % VECTOR == 0 && reinterpret_cast<size_t>(matrix) % 16 == 0;
  }

  // Element by element, for sources that are not aligned. What is not there becomes zero.
  template <typename Gather>
  static __device__ void copy_elements(T* tile, const Gather& gather, int thread) {
#pragma unroll 2
    for (int i = thread; i < ROWS * COLS; i += THREADS) {
      const int row = i / COLS, col = i % COLS;
      tile[row * STRIDE + col] = gather.holds(row, col) ? *gather.at(row, col) : T(0);
    }
  }

  // Calls each(i, inside, from, to) for this thread's pieces. In one column of a matrix, pieces are a constant
  // apart, so that one pointer serves all: registers for addresses would otherwise cost a block an SM.
  template <typename Gather, typename Each>
  static __device__ __forceinline__ void pieces(T* tile, const Gather& gather, int thread, const Each& each) {
    constexpr bool STEPS = DOWN && Gather::UNIFORM;
    const int row = thread / PER_ROW, col = thread % PER_ROW * VECTOR;
    const T* const from = STEPS ? gather.at(row, col) : nullptr;
    T* const to = tile + row * STRIDE + col;
#pragma unroll
    for (int i = 0; i < FETCHES; ++i) {
      const int piece = thread + i * THREADS;
      if (PIECES % THREADS != 0 && piece >= PIECES) continue;
      if constexpr (STEPS) {
        constexpr int STEP = THREADS / PER_ROW;
        each(i, gather.holds(row + i * STEP, col), from + size_t(i * STEP) * gather.stride(), to + i * STEP * STRIDE);
      } else {
        const int r = piece / PER_ROW, c = piece % PER_ROW * VECTOR;
        each(i, gather.holds(r, c), gather.at(r, c), tile + r * STRIDE + c);
      }
    }
  }

  // This thread's pieces, into registers; what is not there becomes zero.
  template <typename Gather>
  static __device__ __forceinline__ void fetch(uint4 (&held)[FETCHES], const Gather& gather, int thread) {
    pieces(static_cast<T*>(nullptr), gather, thread, [&](int i, bool inside, const T* from, T*) {
      held[i] = inside ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
    });
  }

  // What `fetch` brought, into the tile.
  static __device__ __forceinline__ void put(T* tile, const uint4 (&held)[FETCHES], int thread) {
    pieces(tile, Window(nullptr, 0, 0, 0, 0), thread,
           [&](int i, bool, const T*, T* to) { *reinterpret_cast<uint4*>(to) = held[i]; });
  }

  // The whole tile, complete for this thread on return.
  template <bool ALIGNED, typename Gather>
  static __device__ __forceinline__ void copy(T* tile, const Gather& gather, int thread) {
    if (ALIGNED) {
      uint4 held[FETCHES];
      fetch(held, gather, thread);
      put(tile, held, thread);
    } else {
      copy_elements(tile, gather, thread);
    }
  }

  // The whole tile, without passing through registers; complete after the pipeline's wait.
  template <bool ALIGNED, typename Gather>
  static __device__ __forceinline__ void copy_async(T* tile, const Gather& gather, int thread) {
    if (!ALIGNED) return copy_elements(tile, gather, thread);
    pieces(tile, gather, thread, [&](int, bool inside, const T* from, T* to) {
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

  // This lane's elements of SPAN steps of depth, read when they are needed. Where depth is contiguous that is all
  // of them at once (and 16-bit elements stay packed until `step`); where not, one step at a time. Lanes in different
  // rows meet no bank twice only with 16 bytes each: rows are whole pieces apart.
  template <int LANES, int COUNT, int SPAN = 4>
  struct Fragment {
    T parts[DEPTH_CONTIGUOUS ? COUNT : 1][SPAN];
    const T* at;

    __device__ __forceinline__ Fragment(const T* tile, int lane, int depth)
        : at(tile + (DEPTH_CONTIGUOUS ? depth : depth * STRIDE)) {
      if (DEPTH_CONTIGUOUS)
#pragma unroll
        for (int i = 0; i < COUNT; ++i) load(parts[i], at + outer<LANES, COUNT>(lane, i) * STRIDE);
    }

    template <typename Acc>
    __device__ __forceinline__ void step(Acc (&to)[COUNT], int lane, int step) const {
      constexpr int GROUP = COUNT < 4 ? COUNT : 4;
#pragma unroll
      for (int i = 0; i < COUNT; i += GROUP) {
        T part[GROUP];
        if (!DEPTH_CONTIGUOUS) load(part, at + step * STRIDE + outer<LANES, COUNT>(lane, i));
#pragma unroll
        for (int j = 0; j < GROUP; ++j) to[i + j] = widen(DEPTH_CONTIGUOUS ? parts[i + j][step] : part[j]);
      }
    }
  };
};
