// The walk of a block along the depth of its tile of Y, a product of pixels and filters: which tiles of the image
// matrix and of W it takes, how they come into shared memory, and where in Y its sums belong. The rung multiplies.
// Parameters BP, BF, BK, STAGES, PAD and GROUP_M are the rung's, BLOCK_THREADS is its number of threads. A rung that
// defines TURNED before it includes this file has its tiles of NCHW's images turned (image.cuh).
//
// Y's contiguous dimension is that of the product's columns:
//
//   NHWC: rows are pixels, columns filters        NCHW: rows are filters, columns pixels
#pragma once
#include "../common/visits.cuh"
#include "image.cuh"

#ifndef TURNED
#define TURNED 0
#endif

constexpr int BM = OPT_NHWC ? BP : BF, BN = OPT_NHWC ? BF : BP;
constexpr int GAP = PAD * VECTOR_OF<In>;
typedef ImageTile<BP, BK, GAP, BLOCK_THREADS, bool(TURNED)> ImagePart;
typedef Operand<In, true, BF, BK, GAP, BLOCK_THREADS> FilterPart;  // W is [filter][depth] in either layout
constexpr int STAGE = ImagePart::SIZE + FilterPart::SIZE;

template <bool OF_IMAGE> struct Choose { typedef FilterPart type; };
template <> struct Choose<true> { typedef ImagePart::Layout type; };
typedef Choose<bool(OPT_NHWC)>::type TileA;
typedef Choose<!OPT_NHWC>::type TileB;

template <bool ALIGNED>
struct Walk {
  const Sizes& of;
  const int group, first_filter, rows, cols;  // rows and columns of the group's part of Y
  int row0, col0;                             // where the block's tile begins

  // `tile`: number of the tile of Y within its group.
  __device__ __forceinline__ Walk(const Sizes& of, int tile, int group)
      : of(of),
        group(group),
        first_filter(group * of.group_k()),
        rows(OPT_NHWC ? of.pixels() : of.group_k()),
        cols(OPT_NHWC ? of.group_k() : of.pixels()) {
    int tile_m, tile_n;
    grouped_tile<GROUP_M>(tile, (rows + BM - 1) / BM, (cols + BN - 1) / BN, tile_m, tile_n);
    row0 = tile_m * BM, col0 = tile_n * BN;
  }

  // Tiles of depth of one window.
  static __device__ __forceinline__ int steps(const Sizes& of) { return (of.depth() + BK - 1) / BK; }

  // multiply(a, b) for the tiles of depth first ... last - 1, in order: a is a TileA in shared memory, b a TileB.
  template <class Multiply>
  __device__ __forceinline__ void take(In* stages, const In* X, const In* W, int first, int last,
                                       const Multiply& multiply) const {
    const Images images(of, X, group);
    const ImagePart image_part(images, OPT_NHWC ? row0 : col0, threadIdx.x);
    const int filter0 = OPT_NHWC ? col0 : row0, depth = of.depth();
    const In* const filters = W + size_t(first_filter) * depth;
    const auto start = [&](int tile, In* slot) {
      image_part.template copy_async<ALIGNED>(slot, images, tile * BK, threadIdx.x);
      FilterPart::copy_async<ALIGNED>(slot + ImagePart::SIZE,
                                      FilterPart::Window(filters, filter0, tile * BK, of.group_k(), depth), threadIdx.x);
    };
    ring<STAGES, STAGE>(stages, first, last, start, [&](const In* slot) {
      const In *image = slot, *filter = slot + ImagePart::SIZE;
      multiply(OPT_NHWC ? image : filter, OPT_NHWC ? filter : image);
    });
  }

  // Of an element of the product: its filter, of all groups', and its place in Y.
  __device__ __forceinline__ int filter(int row, int col) const { return first_filter + (OPT_NHWC ? col : row); }
  __device__ __forceinline__ size_t place(int row, int col) const {
    const int pq = of.p * of.q, pixel = OPT_NHWC ? row : col;
    return of.y_index(pixel / pq, filter(row, col), pixel % pq);
  }
};

// Whether everything that is read moves in whole 16-byte pieces: filters, and with NHWC a pixel's channels; and Y
// starts on 16 bytes.
__device__ __forceinline__ bool whole_pieces(const Sizes& of, const In* X, const In* W, const Out* Y) {
  const size_t starts = reinterpret_cast<size_t>(X) | reinterpret_cast<size_t>(W) | reinterpret_cast<size_t>(Y);
  return of.depth() % VECTOR_OF<In> == 0 && starts % 16 == 0 && (!OPT_NHWC || of.group_c() % VECTOR_OF<In> == 0);
}

// Whether elements of Y that are neighbours in memory come in groups of `many`: filters, or pixels of one image.
__device__ __forceinline__ bool whole_groups(const Sizes& of, int many) {
  return (OPT_NHWC ? of.group_k() : of.p * of.q) % many == 0;
}
