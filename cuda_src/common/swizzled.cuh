// Tiles of an operand for tensor cores: as they lie in memory, with the 16-byte pieces of each row in another order,
// so that what a warp reads at once, and what it writes, lies in all the banks.
//
// Piece c of a row lies at c ^ x, where x changes from row to row. With rows of 128 bytes (8 pieces, all banks once),
// eight rows' piece 0, which ldmatrix reads at once:
//
//   row 0   [0] 1  2  3  4  5  6  7         rows of 64 bytes: two of them are all banks, x changes every two rows
//   row 1    1 [0] 3  2  5  4  7  6
//   row 2    2  3 [0] 1  6  7  4  5         rows 0, 1   [0] 1  2  3   [0] 1  2  3
//   row 3    3  2  1 [0] 7  6  5  4         rows 2, 3    1 [0] 3  2    1 [0] 3  2
//   ...
#pragma once
#include "gathers.cuh"
#include "mma_blocks.cuh"
#include "vectors.cuh"

// A tile of OUTER x DEPTH elements of an operand, used by THREADS threads; all sizes, and THREADS, are powers of two.
//
// DEPTH_CONTIGUOUS: as of Operand (tiles.cuh). Where depth is not contiguous, 16-bit elements are transposed by
// ldmatrix; of 8 bits it transposes pairs, which are taken apart, and of 32 bits plain loads bring pairs. Pairs are
// neighbours of the outer dimension: INTERLEAVED (mma_blocks.cuh).
template <typename T, bool DEPTH_CONTIGUOUS, int OUTER, int DEPTH, int THREADS>
struct Swizzled {
  static constexpr int BYTES = sizeof(T), VECTOR = VECTOR_OF<T>;
  static constexpr int ROWS = DEPTH_CONTIGUOUS ? OUTER : DEPTH;
  static constexpr int COLS = DEPTH_CONTIGUOUS ? DEPTH : OUTER;
  static constexpr int SIZE = ROWS * COLS;  // elements
  static constexpr int PER_ROW = COLS / VECTOR, ROW_BYTES = COLS * BYTES;
  static constexpr int PIECES = ROWS * PER_ROW, FETCHES = (PIECES + THREADS - 1) / THREADS;
  static constexpr bool INTERLEAVED = !DEPTH_CONTIGUOUS && BYTES != 2;
  static_assert(PER_ROW >= 4, "rows of a tile have at least four pieces");

  typedef MatrixWindow<T, DEPTH_CONTIGUOUS> Window;

  // What a row's pieces are shifted by: another value for each of the rows that a warp reads at once. Those are
  // eight neighbours; of transposed pairs of bytes rows 0, 1, 4, 5, 8, 9, 12, 13 or those two below each; of pairs
  // of words four neighbours, two pieces of each.
  static __device__ __forceinline__ int shift(int row) {
    const int key = !INTERLEAVED ? row : BYTES == 1 ? (row >> 1 & 6) | (row & 1) : row * 2;
    return PER_ROW >= 8 ? key & 7 : key >> 1 & 3;
  }
  static __device__ __forceinline__ int place(int row, int piece) { return row * COLS + (piece ^ shift(row)) * VECTOR; }

  // The whole tile, without passing through registers where ALIGNED; complete after the pipeline's wait.
  template <bool ALIGNED>
  static __device__ __forceinline__ void copy_async(T* tile, const Window& window, int thread) {
    if (!ALIGNED) {
#pragma unroll 2
      for (int i = thread; i < SIZE; i += THREADS) {
        const int row = i / COLS, col = i % COLS;
        tile[place(row, col / VECTOR) + col % VECTOR] = window.holds(row, col) ? *window.at(row, col) : T{};
      }
      return;
    }
    // In one column of pieces rows are STEP apart, a power of two above all bits of the first row: one pointer serves
    // all, and what a row's shift differs by is a constant. (DOWN holds wherever there are more threads than pieces.)
    constexpr int STEP = THREADS / PER_ROW;
    constexpr bool DOWN = THREADS % PER_ROW == 0 && Window::UNIFORM;
    const int row = thread / PER_ROW, piece = thread % PER_ROW, at = piece ^ shift(row);
    const T* const from = DOWN ? window.at(row, piece * VECTOR) : nullptr;
#pragma unroll
    for (int i = 0; i < FETCHES; ++i) {
      const int number = thread + i * THREADS;
      if (PIECES % THREADS != 0 && number >= PIECES) continue;
      if constexpr (DOWN) {
        copy_piece_async(tile + (row + i * STEP) * COLS + (at ^ shift(i * STEP)) * VECTOR,
                         from + size_t(i * STEP) * window.stride(), window.holds(row + i * STEP, piece * VECTOR));
      } else {
        const int r = number / PER_ROW, p = number % PER_ROW;
        copy_piece_async(tile + place(r, p), window.at(r, p * VECTOR), window.holds(r, p * VECTOR));
      }
    }
  }

  // A warp's part of a tile, from outer index `outer0` on, which is a multiple of the part's size. OF_B: whether the
  // blocks' registers are in B's order (mma_blocks.cuh).
  template <bool OF_B>
  struct Part {
    int row_bytes;  // from the tile's first byte to this lane's first row
    int piece;      // in that row, bytes

    __device__ __forceinline__ Part(int outer0, int lane) {
      int row, at;  // of the first block: the row that this lane gives the address of, the piece
      const int second = lane / 8 % 2, pair = lane / 16;  // lanes 8 i ... 8 i + 7 ask for register i
      const int upper = OF_B ? pair : second, half = OF_B ? second : pair;
      if (DEPTH_CONTIGUOUS) {
        row = outer0 + upper * 8 + lane % 8;
        at = half;
      } else if (BYTES == 2) {
        row = half * 8 + lane % 8;
        at = outer0 / VECTOR + upper;
      } else if (BYTES == 1) {
        row = pair * 16 + second * 2 + lane % 8 / 2 * 4 + lane % 2;
        at = outer0 / VECTOR;
      } else {
        row = lane % 4;
        at = outer0 / VECTOR + lane / 8;
      }
      row_bytes = row * ROW_BYTES;
      piece = (at ^ shift(row)) * 16 + (BYTES == 4 && INTERLEAVED ? lane / 4 % 2 * 8 : 0);
    }

    // The register of a half of the outers and a half of the depth.
    static __device__ __forceinline__ constexpr int number_of(int upper, int half) {
      return OF_B ? 2 * upper + half : 2 * half + upper;
    }

    // Block `number` of the part at step `step` of the depth.
    __device__ __forceinline__ void load_block(unsigned (&to)[4], const T* tile, int number, int step) const {
      // Sizes are powers of two, so what a step adds to the number of a piece can be put in by ^.
      const int offset =
          DEPTH_CONTIGUOUS
              ? row_bytes + number * (BLOCK_OUTER * ROW_BYTES) + (piece ^ (step * BLOCK_BYTES))
              : row_bytes + step * (BLOCK_DEPTH<T> * ROW_BYTES) + (piece ^ (number * BLOCK_OUTER * BYTES));
      if constexpr (!INTERLEAVED) {
        const unsigned row = unsigned(__cvta_generic_to_shared(tile)) + offset;
        DEPTH_CONTIGUOUS ? load_matrices(to, row) : load_transposed(to, row);
      } else if constexpr (BYTES == 1) {
        // A register has bytes (outer 2 g, 2 g + 1) of two neighbours in depth.
        unsigned pairs[4];
        load_transposed(pairs, unsigned(__cvta_generic_to_shared(tile)) + offset);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          to[number_of(0, half)] = __byte_perm(pairs[2 * half], pairs[2 * half + 1], 0x6420);
          to[number_of(1, half)] = __byte_perm(pairs[2 * half], pairs[2 * half + 1], 0x7531);
        }
      } else {
        const char* const row = reinterpret_cast<const char*>(tile) + offset;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint2 pair = *reinterpret_cast<const uint2*>(row + half * 4 * ROW_BYTES);
          to[number_of(0, half)] = pair.x;
          to[number_of(1, half)] = pair.y;
        }
      }
    }
  };
};
