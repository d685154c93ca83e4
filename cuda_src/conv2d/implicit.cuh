// The tile of Y that one block computes as a product of pixels and filters, for the rungs on CUDA cores: rung 2 walks
// all of its depth, rung 6 a part of it. Parameters BP, BF, BK, TP, TF, STAGES, PAD, UNROLL and GROUP_M are the rung's.
//
// Y's contiguous dimension is that of the product's columns:
//
//   NHWC: rows are pixels, columns filters        NCHW: rows are filters, columns pixels
/*[tuner.shared]
# A thread computes TP pixels of TF filters.
[pixel_tiles.parameters]
BF = { values = [8, 16, 32, 64, 128], doc = "filters a block" }
BK = { values = [4, 8, 16, 32], doc = "depth of the tiles in shared memory" }
TP = { values = [1, 2, 4, 8], doc = "pixels a thread" }
TF = { values = [1, 2, 4, 8], doc = "filters a thread" }
UNROLL = { values = [1, 2], doc = "groups of four steps of depth in straight-line code" }

[pixel_tiles.let]
threads = "BP * BF // (TP * TF)"
shared = "STAGES * (tile_bytes + pad_bytes)"
# Sums and fragments; windows; about 56 for addresses and loops.
registers_needed = "TP * TF + 2 * (TP + TF) + 4 * windows + 56"

[pixel_tiles.constraints]
thread_tiles_divide = "BP % TP == 0 and BF % TF == 0"
whole_warps = "threads % warp_size == 0"
vector_divides_rows = "row_bytes % 16 == 0 and (nhwc or BP * element_bytes % 16 == 0)"
unroll_divides_depth = "BK % (4 * UNROLL) == 0"
elements_fit_a_thread = "BP * BK <= 32 * threads and tile_bytes <= 256 * threads"
filters_used = "BF < 2 * group_k or BF == 8"

[pixel_tiles.features]
registers = "TP * TF + TP + TF"
*/
#pragma once
#include "../common/visits.cuh"
#include "image.cuh"

constexpr int BM = OPT_NHWC ? BP : BF, BN = OPT_NHWC ? BF : BP;
constexpr int TM = OPT_NHWC ? TP : TF, TN = OPT_NHWC ? TF : TP;
constexpr int LANES_M = BM / TM, LANES_N = BN / TN, THREADS = LANES_M * LANES_N;
constexpr int GAP = PAD * VECTOR_OF<In>;
typedef ImageTile<BP, BK, GAP, THREADS> ImagePart;
typedef Operand<In, true, BF, BK, GAP, THREADS> FilterPart;  // W is [filter][depth] in either layout
constexpr int STAGE = ImagePart::SIZE + FilterPart::SIZE;

template <bool OF_IMAGE> struct Choose { typedef FilterPart type; };
template <> struct Choose<true> { typedef ImagePart::Layout type; };
typedef Choose<bool(OPT_NHWC)>::type TileA;
typedef Choose<!OPT_NHWC>::type TileB;

typedef Acc Sums[TM][TN];

template <bool ALIGNED>
struct Block {
  const Sizes& of;
  const int group, thread, lane_m, lane_n, rows, cols;
  int row0, col0;

  // `tile`: number of the tile of Y within its group.
  __device__ __forceinline__ Block(const Sizes& of, int tile, int group)
      : of(of),
        group(group),
        thread(threadIdx.x),
        lane_m(thread / LANES_N),
        lane_n(thread % LANES_N),
        rows(OPT_NHWC ? of.pixels() : of.group_k()),
        cols(OPT_NHWC ? of.group_k() : of.pixels()) {
    int tile_m, tile_n;
    grouped_tile<GROUP_M>(tile, (rows + BM - 1) / BM, (cols + BN - 1) / BN, tile_m, tile_n);
    row0 = tile_m * BM, col0 = tile_n * BN;
  }

  // Tiles of depth of one window.
  static __device__ __forceinline__ int steps(const Sizes& of) { return (of.depth() + BK - 1) / BK; }

  // sum += the product over the tiles of depth first ... last - 1.
  __device__ __forceinline__ void multiply(Sums& sum, In* stages, const In* X, const In* W, int first, int last) const {
    const Images images(of, X, group);
    const ImagePart image_part(images, OPT_NHWC ? row0 : col0, thread);
    const int filter0 = OPT_NHWC ? col0 : row0, depth = of.depth();
    const In* const filters = W + size_t(group) * of.group_k() * depth;
    const auto start = [&](int tile, In* slot) {
      image_part.template copy_async<ALIGNED>(slot, images, tile * BK, thread);
      FilterPart::copy_async<ALIGNED>(slot + ImagePart::SIZE,
                                      FilterPart::Window(filters, filter0, tile * BK, of.group_k(), depth), thread);
    };
    ring<STAGES, STAGE>(stages, first, last, start, [&](const In* slot) {
      const In *image = slot, *filter = slot + ImagePart::SIZE;
      accumulate<TileA, TileB, LANES_M, LANES_N, BK, UNROLL>(sum, OPT_NHWC ? image : filter,
                                                             OPT_NHWC ? filter : image, lane_m, lane_n);
    });
  }

  __device__ __forceinline__ void write(const Sums& sum, Out* Y, const Finish& finish) const {
    const int pq = of.p * of.q, first = group * of.group_k();
    const auto place = [&](int row, int col) {
      const int pixel = OPT_NHWC ? row : col, filter = first + (OPT_NHWC ? col : row);
      return of.y_index(pixel / pq, filter, pixel % pq);
    };
    write_lanes<TileA, TileB, LANES_M, LANES_N, ALIGNED>(
        sum, Y, row0, col0, lane_m, lane_n, rows, cols, place,
        [&](Acc value, size_t, int row, int col) { return finish(value, first + (OPT_NHWC ? col : row)); });
  }
};

// Whether everything moves in whole 16-byte pieces: filters; with NHWC a pixel's channels, and groups of four filters
// of Y; with NCHW groups of four pixels of Y within one image.
__device__ __forceinline__ bool whole_pieces(const Sizes& of, const In* X, const In* W, const Out* Y) {
  const size_t starts = reinterpret_cast<size_t>(X) | reinterpret_cast<size_t>(W) | reinterpret_cast<size_t>(Y);
  return of.depth() % VECTOR_OF<In> == 0 && starts % 16 == 0 &&
         (OPT_NHWC ? of.group_c() % VECTOR_OF<In> == 0 && of.group_k() % 4 == 0 : of.p * of.q % 4 == 0);
}
