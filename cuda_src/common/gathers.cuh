// Where the elements of a tile lie in global memory. A tile (tiles.cuh) asks a gather of any of these kinds:
//
//   holds(row, col)  whether element (row, col) of the tile is there at all; what is not becomes zero
//   at(row, col)     its address
//   UNIFORM          whether a step of rows moves the address by the same amount in every row, `stride()`
//
// A tile that is copied 16 bytes at a time asks once a piece: then a piece has to be there as a whole, or not at
// all, and to start on 16 bytes.
//
//   matrix               paged cache, pages of two tokens
//   . . . . . .          block_table: 2 0
//   . a b c . .          page 0   e f    (token 2)
//   . d e f . .                   g h    (token 3)
//   . . . . . .          page 1   . .
//                                 . .
//   rows 1 ... 2,        page 2   a b    (token 0)
//   columns 1 ... 3               c d    (token 1)
//
// Windows of images are conv2d/image.cuh's: a pixel's window is worked out once, for all tiles.
#pragma once

// Part of a matrix that an operand with an outer dimension and a depth lies in, one of the two contiguous.
//
// DEPTH_CONTIGUOUS: the matrix is [outers][depths], and the tile's rows are outer; else it is [depths][outers].
template <typename T, bool DEPTH_CONTIGUOUS>
struct MatrixWindow {
  static constexpr bool UNIFORM = true;
  const T* source;
  int row0, col0, rows, cols;

  __device__ __forceinline__ MatrixWindow(const T* matrix, int outer0, int depth0, int outers, int depths)
      : source(matrix),
        row0(DEPTH_CONTIGUOUS ? outer0 : depth0),
        col0(DEPTH_CONTIGUOUS ? depth0 : outer0),
        rows(DEPTH_CONTIGUOUS ? outers : depths),
        cols(DEPTH_CONTIGUOUS ? depths : outers) {}
  __device__ __forceinline__ bool holds(int row, int col) const { return row0 + row < rows && col0 + col < cols; }
  __device__ __forceinline__ const T* at(int row, int col) const {
    return source + size_t(row0 + row) * cols + (col0 + col);
  }
  __device__ __forceinline__ size_t stride() const { return cols; }
};

// Tokens token0 ... of one sequence and one head of a paged cache: rows are tokens, columns the head's d elements.
// The pool is [pages][page_size][heads][d]; `table` holds the sequence's pages, in the order of its tokens.
template <typename T>
struct PagedWindow {
  static constexpr bool UNIFORM = false;
  const T* pool;
  const int* table;
  int page_size, heads, head, d, token0, tokens;

  __device__ __forceinline__ bool holds(int row, int col) const { return token0 + row < tokens && col < d; }
  __device__ __forceinline__ const T* at(int row, int col) const {
    const int token = token0 + row;
    // A token behind the last has no page: the table is not asked.
    const size_t page = token < tokens ? table[token / page_size] : 0;
    return pool + ((page * page_size + token % page_size) * heads + head) * d + col;
  }
};
