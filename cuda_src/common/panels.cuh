// Tiles of an operand as the tensor cores of a warpgroup read them from shared memory: panels of 128 bytes, swizzled.
//
// A tile lies as in memory (rows are outer or depth, whichever is not contiguous), cut into panels of 128 bytes of all
// rows. In a panel the 16-byte piece c of row r lies at c ^ r % 8 (PTX ISA 9.7.15.5.1, "Shared Memory Matrix Layout",
// 128-byte swizzling), and panels begin at multiples of 1024 bytes.
//
//   64 x 128 of f16, depth contiguous:   panel 0                       panel 1
//                                        row 0    [0 1 2 3 4 5 6 7]    row 0    [8 9 ... 15]
//                                        row 1    [1 0 3 2 5 4 7 6]    row 1    [9 8 ... 14]
//                                        ...                           ...
#pragma once
#include "gathers.cuh"
#include "mma_blocks.cuh"
#include "vectors.cuh"
#include "wgmma.cuh"

// A tile of OUTER x DEPTH elements that THREADS threads fetch. DEPTH_CONTIGUOUS: as of Swizzled (swizzled.cuh).
template <typename T, bool DEPTH_CONTIGUOUS, int OUTER, int DEPTH, int THREADS>
struct Panels {
  static constexpr bool OUTER_CONTIGUOUS = !DEPTH_CONTIGUOUS;
  static constexpr int BYTES = sizeof(T), VECTOR = VECTOR_OF<T>;
  static constexpr int ROWS = DEPTH_CONTIGUOUS ? OUTER : DEPTH, COLS = DEPTH_CONTIGUOUS ? DEPTH : OUTER;
  static constexpr int SIZE = ROWS * COLS;                         // elements
  static constexpr int ROW = 128 / BYTES, PANEL = ROWS * ROW;      // elements of a panel's row, and of a panel
  static constexpr int PER_ROW = COLS / VECTOR, PIECES = ROWS * PER_ROW;
  static constexpr int FETCHES = (PIECES + THREADS - 1) / THREADS;
  static constexpr int STEP_DEPTH = BLOCK_DEPTH<T>;                // of one product
  static_assert(COLS % ROW == 0 && ROWS % 8 == 0, "a tile is whole panels");

  typedef MatrixWindow<T, DEPTH_CONTIGUOUS> Window;

  static __device__ __forceinline__ int place(int row, int piece) {
    return piece / 8 * PANEL + row * ROW + (piece % 8 ^ row % 8) * VECTOR;
  }

  // The whole tile, without passing through registers where ALIGNED; complete after the pipeline's wait.
  template <bool ALIGNED, typename Gather>
  static __device__ __forceinline__ void copy_async(T* tile, const Gather& window, int thread) {
    if (!ALIGNED) {
#pragma unroll 2
      for (int i = thread; i < SIZE; i += THREADS) {
        const int row = i / COLS, col = i % COLS;
        tile[place(row, col / VECTOR) + col % VECTOR] = window.holds(row, col) ? *window.at(row, col) : T{};
      }
      return;
    }
    // In one column of pieces rows are STEP apart, a power of two above all bits of the first row or a multiple of the
    // swizzle's eight: one pointer serves all, and what the swizzle differs by is a constant.
    constexpr int STEP = THREADS / PER_ROW;
    constexpr bool DOWN = Gather::UNIFORM && THREADS % PER_ROW == 0 && (STEP % 8 == 0 || (STEP & (STEP - 1)) == 0);
    const int row = thread / PER_ROW, piece = thread % PER_ROW;
    T* const to = tile + piece / 8 * PANEL + row * ROW;
    const T* const from = DOWN ? window.at(row, piece * VECTOR) : nullptr;
#pragma unroll
    for (int i = 0; i < FETCHES; ++i) {
      const int number = thread + i * THREADS;
      if (PIECES % THREADS != 0 && number >= PIECES) continue;
      if constexpr (DOWN) {
        copy_piece_async(to + i * STEP * ROW + (piece % 8 ^ row % 8 ^ i * STEP % 8) * VECTOR,
                         from + size_t(i * STEP) * window.stride(), window.holds(row + i * STEP, piece * VECTOR));
      } else {
        const int r = number / PER_ROW, p = number % PER_ROW;
        copy_piece_async(tile + place(r, p), window.at(r, p * VECTOR), window.holds(r, p * VECTOR));
      }
    }
  }

  // What `describe` needs to know of the tile, and how far the operand of a product lies from its first byte: `outer` a
  // multiple of 64, `step` counts products along the depth.
  static constexpr int NEXT_PANEL = PANEL * BYTES;
  static __device__ __forceinline__ constexpr int offset(int outer, int step) {
    return DEPTH_CONTIGUOUS ? step * BLOCK_BYTES / 128 * NEXT_PANEL + step * BLOCK_BYTES % 128 + outer * 128
                            : outer * BYTES / 128 * NEXT_PANEL + step * STEP_DEPTH * 128;
  }
};
