// Tiles of the image matrix (conv2d.cuh) in shared memory: `pixels` of the output across, `depth` down.
//
// Where a pixel's window begins is worked out once, before the first tile, and stays in registers; a tile only adds
// the tap. What lies outside of the image is zero, filled in by the asynchronous copy itself.
//
//   NCHW: the tile is [depth][pixel]. A thread has one column (or a few), whatever the tile: lanes of a warp copy
//   neighbouring pixels, one element each.
//                       pixel  0     1     2     3      each thread: first of its window, (y0, x0)
//     depth (c 0, y 0, x 0)  [t 0] [t 1] [t 2] [t 3]
//     depth (c 0, y 0, x 1)  [t 4] [t 5] [t 6] [t 7]
//     depth (c 0, y 0, x 2)  [t 0] [t 1] [t 2] [t 3]
//
//   NHWC: the tile is [pixel][depth], and channels of one tap are contiguous: a thread copies 16 bytes of them.
//
//   NCHW, TURNED: the tile is [pixel][depth] too. A thread has columns as above, gathers 16 bytes of a pixel's depth in
//   registers, and writes them at once: neighbouring lanes still read neighbouring pixels.
/*[tuner.shared]
# The image matrix in tiles of BP pixels, the filters in tiles of BF; for kernels that declare `threads`.
[image_tiles.supports]
"it divides depths by 32-bit multiplication" = "depth * max(r * s, group_c) < 2**31"
"its pixels are counted in 32 bits" = "pixels < 2**30"

[image_tiles.parameters]
BP = { values = [16, 32, 64, 128, 256], doc = "pixels a block" }
STAGES = { values = [2, 3, 4], doc = "tiles in shared memory: one in use, the others on their way" }
PAD = { values = [0, 1], doc = "16-byte pieces after each row in shared memory, against bank conflicts" }
MIN_BLOCKS = { values = [1, 2, 3], doc = "blocks an SM shall hold: caps the registers a thread" }

[image_tiles.let]
depth = "group_c * r * s"
pixels = "n * p * q"
tiles = "ceildiv(pixels, BP) * ceildiv(group_k, BF)"
row_bytes = "BK * element_bytes"
tile_bytes = "(BP + BF) * row_bytes"
pad_bytes = "16 * PAD * (BF + (BP if nhwc else BK))"
# Windows of a thread's pixels: each has two registers for the address and two for the pixel.
windows = "max(1, BP * row_bytes // 16 // threads if nhwc else BP // threads)"

[image_tiles.constraints]
threads_take_columns = "nhwc or threads % BP == 0 or BP % threads == 0"
threads_have_elements = "BP * BK >= threads * (16 // element_bytes if nhwc else 1)"

[image_tiles.features]
stages = "STAGES"
shared = "STAGES * tile_bytes"
intensity = "BP * BF / (BP + BF)"

[image_tiles.macros]
BLOCK_THREADS = "threads"

# A block walks the whole depth of its tile of Y.
[whole_depth.parameters]
GROUP_M = { values = [1, 4, 8], doc = "rows of blocks visited together" }

[whole_depth.let]
blocks = "tiles * groups"

[whole_depth.constraints]
grid_fits = "groups <= max_grid_y and tiles <= max_grid_x"

[whole_depth.features]
macs = "blocks * BP * BF * depth"
traffic_bytes = "blocks * (BP + BF) * depth * element_bytes"
steps = "ceildiv(depth, BK)"
*/
#pragma once
#include "../common/lanes.cuh"
#include "../common/pipeline.cuh"
#include "../common/tiles.cuh"
#include "conv2d.cuh"

// Divides by a number that all threads share: x / by is the high word of x * ceil(2^32 / by), exact while
// x * by < 2^32 (Granlund and Montgomery, PLDI 1994).
struct Divider {
  unsigned by, magic;
  __device__ __forceinline__ explicit Divider(int divisor) : by(divisor), magic(0xFFFFFFFFu / unsigned(divisor) + 1) {}
  __device__ __forceinline__ int operator()(int x) const { return by == 1 ? x : int(__umulhi(unsigned(x), magic)); }
};

// Where a window begins: its image, at the channels of the group, and the pixel under its first tap.
struct Window {
  const In* base;
  int y, x;
};

struct Images {
  const Sizes& of;
  const In* X;  // from the group's first channel on
  Divider taps, across, channels;

  __device__ __forceinline__ Images(const Sizes& of, const In* X, int group)
      : of(of),
        X(X + size_t(group) * of.group_c() * (OPT_NHWC ? 1 : size_t(of.h) * of.w)),
        taps(of.r * of.s),
        across(of.s),
        channels(of.group_c()) {}

  // A pixel that is not there gets a window above any image.
  __device__ __forceinline__ Window window(int pixel) const {
    const int pq = of.p * of.q, image = pixel / pq, within = pixel % pq;
    if (image >= of.n) return {X, -(1 << 29), 0};
    return {X + size_t(image) * of.c * of.h * of.w, within / of.q * OPT_STRIDE - TOP, within % of.q * OPT_STRIDE - LEFT};
  }

  // Whether element `depth` of a window is in the image, and where.
  __device__ __forceinline__ bool find(const Window& window, int depth, const In*& from) const {
    const int tap = OPT_NHWC ? channels(depth) : depth - taps(depth) * (of.r * of.s);
    const int channel = OPT_NHWC ? depth - tap * of.group_c() : taps(depth);
    const int i = across(tap), j = tap - i * of.s;
    const int y = window.y + i * OPT_DILATION, x = window.x + j * OPT_DILATION;
    const bool inside = y >= 0 && y < of.h && x >= 0 && x < of.w && depth < of.depth();
    from = inside ? window.base + (OPT_NHWC ? (size_t(y) * of.w + x) * of.c + channel : (size_t(channel) * of.h + y) * of.w + x)
                  : X;
    return inside;
  }
};

// Copies tiles of PIXELS x DEPTH for THREADS threads. GAP: elements after each row of a tile. TURN: whether NCHW's
// tiles are turned.
template <int PIXELS, int DEPTH, int GAP, int THREADS, bool TURN = false>
struct ImageTile : Operand<In, OPT_NHWC || TURN, PIXELS, DEPTH, GAP, THREADS> {
  typedef Operand<In, OPT_NHWC || TURN, PIXELS, DEPTH, GAP, THREADS> Layout;
  // NCHW: columns a thread, and rows from one of its elements to the next.
  static constexpr int COLUMNS = PIXELS > THREADS ? PIXELS / THREADS : 1;
  static constexpr int STEP = PIXELS > THREADS ? 1 : THREADS / PIXELS;
  // NHWC: a thread's pieces are in FETCHES different rows.
  static constexpr int WINDOWS = OPT_NHWC ? Layout::FETCHES : COLUMNS;
  static_assert(OPT_NHWC || PIXELS % THREADS == 0 || THREADS % PIXELS == 0, "threads take whole columns");

  Window windows[WINDOWS];

  __device__ __forceinline__ ImageTile(const Images& images, int pixel0, int thread) {
#pragma unroll
    for (int i = 0; i < WINDOWS; ++i)
      windows[i] = images.window(pixel0 + (OPT_NHWC ? (thread + i * THREADS) / Layout::PER_ROW : thread % PIXELS + i * THREADS));
  }

  // `pieces`: with NHWC, that all channels of a group are whole 16-byte pieces.
  template <bool WHOLE_PIECES>
  __device__ __forceinline__ void copy_async(In* tile, const Images& images, int depth0, int thread) const {
    if constexpr (!OPT_NHWC && TURN) {
#pragma unroll
      for (int i = 0; i < COLUMNS; ++i) {
        const int column = thread % PIXELS + i * THREADS;
#pragma unroll
        for (int piece = thread / PIXELS; piece < Layout::PER_ROW; piece += STEP) {
          const int depth = piece * Layout::VECTOR;
          In held[Layout::VECTOR];
#pragma unroll
          for (int j = 0; j < Layout::VECTOR; ++j) {
            const In* from;
            const bool inside = images.find(windows[i], depth0 + depth + j, from);
            held[j] = inside ? *from : In(0);
          }
          store(tile + column * Layout::STRIDE + depth, held);
        }
      }
    } else if constexpr (!OPT_NHWC) {
#pragma unroll
      for (int i = 0; i < COLUMNS; ++i) {
        const int column = thread % PIXELS + i * THREADS;
#pragma unroll
        for (int row = thread / PIXELS; row < DEPTH; row += STEP)
          copy_element(tile + row * Layout::STRIDE + column, images, windows[i], depth0 + row);
      }
    } else {
#pragma unroll
      for (int i = 0; i < Layout::FETCHES; ++i) {
        const int piece = thread + i * THREADS;
        if (Layout::PIECES % THREADS != 0 && piece >= Layout::PIECES) continue;
        const int depth = piece % Layout::PER_ROW * Layout::VECTOR;
        In* const to = tile + piece / Layout::PER_ROW * Layout::STRIDE + depth;
        if constexpr (WHOLE_PIECES) {
          const In* from;
          const bool inside = images.find(windows[i], depth0 + depth, from);
          __pipeline_memcpy_async(to, from, 16, inside ? 0 : 16);
        } else {
#pragma unroll
          for (int j = 0; j < Layout::VECTOR; ++j) copy_element(to + j, images, windows[i], depth0 + depth + j);
        }
      }
    }
  }

 private:
  static __device__ __forceinline__ void copy_element(In* to, const Images& images, const Window& window, int depth) {
    const In* from;
    const bool inside = images.find(window, depth, from);
    if constexpr (sizeof(In) == 4)
      __pipeline_memcpy_async(to, from, 4, inside ? 0 : 4);
    else
      *to = inside ? *from : In(0);  // cp.async copies 4 bytes at least
  }
};
