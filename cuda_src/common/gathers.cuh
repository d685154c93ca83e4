// Where the elements of a tile lie in global memory. A tile (tiles.cuh) asks a gather of any of these kinds:
//
//   holds(row, col)  whether element (row, col) of the tile is there at all; what is not becomes zero
//   at(row, col)     its address
//   UNIFORM          whether a step of rows moves the address by the same amount in every row, `stride()`
//
// A tile that is copied 16 bytes at a time asks once a piece: then a piece has to be there as a whole, or not at
// all, and to start on 16 bytes.
//
//   matrix               image at tap (1, 2)       paged cache, pages of two tokens
//   . . . . . .          . . . . . .               block_table: 2 0
//   . a b c . .          . . a b c .               page 0   e f    (token 2)
//   . d e f . .          . . d e f .                        g h    (token 3)
//   . . . . . .          . . . . . .               page 1   . .
//                                                           . .
//   rows 1 ... 2,        pixels (0, 0) ... (1, 2)  page 2   a b    (token 0)
//   columns 1 ... 3      of the output                      c d    (token 1)
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

// Sizes of a convolution: images [n][c][h][w] (or [n][h][w][c]), outputs of p x q pixels, `top` and `left` zeros.
struct ImageShape {
  int n, c, h, w, p, q, stride, dilation, top, left;
};

// What one tap of a filter sees of images: element (pixel, channel) is that of the image under tap (y, x) of the
// filter where it makes output pixel `pixel`, of all images' pixels in order. Outside of the image there are zeros.
//
// NHWC: the tile's rows are pixels and its columns channels, which are contiguous; else rows are channels, and
// columns pixels, neighbours where the stride is 1.
template <typename T, bool NHWC>
struct ImageWindow {
  static constexpr bool UNIFORM = false;
  const T* images;
  ImageShape of;
  int pixel0, channel0, y, x;

  struct Place {
    int image, row, col;
  };
  __device__ __forceinline__ Place place(int pixel) const {
    const int within = pixel % (of.p * of.q);
    return {pixel / (of.p * of.q), within / of.q * of.stride + y * of.dilation - of.top,
            within % of.q * of.stride + x * of.dilation - of.left};
  }
  __device__ __forceinline__ bool holds(int row, int col) const {
    const int pixel = pixel0 + (NHWC ? row : col), channel = channel0 + (NHWC ? col : row);
    const Place at = place(pixel);
    return channel < of.c && at.image < of.n && at.row >= 0 && at.row < of.h && at.col >= 0 && at.col < of.w;
  }
  __device__ __forceinline__ const T* at(int row, int col) const {
    const int pixel = pixel0 + (NHWC ? row : col), channel = channel0 + (NHWC ? col : row);
    const Place at = place(pixel);
    return NHWC ? images + ((size_t(at.image) * of.h + at.row) * of.w + at.col) * of.c + channel
                : images + ((size_t(at.image) * of.c + channel) * of.h + at.row) * of.w + at.col;
  }
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
