// Patches of pixels in shared memory as products (wgmma) read them.
//
// SHIFTED ROWS: [16 bytes of channels][pixel]. wgmma takes matrices of 8 rows by 16 bytes that lie together, without a
// swizzle, and may begin at any row. So one patch serves every tap of a filter, each from another row on, and pixels are
// brought once, not once a tap. PITCH, rows from one piece of channels to the next, is odd: the pieces of a pixel then
// lie in different banks.
//
//   3 x 3, wide = 29      tap (0, 0): rows 0 ... BP - 1       tap (1, 2): rows 31 ... BP + 30
//
// NHWC's channels arrive 16 bytes at a time. NCHW's neighbours are pixels: a thread takes a few of 16 bytes of channels
// and turns them in registers.
//
// PLANES: [channel][pixel], in panels of 64 pixels (panels.cuh): NCHW as it is, where there is one tap and no border.
#pragma once
#include "../common/panels.cuh"
#include "flat.cuh"

constexpr int TAPS = SIZE_R * SIZE_S, TAPS_A_PATCH = SHIFT ? TAPS : 1;
constexpr int BP = WP * GP, BF = WF * GF, THREADS = 128 * GP * GF;  // pixels, filters and threads of a block
constexpr int PIECE = VECTOR_OF<In>, BC = 8 * PIECE;                // channels of a piece, and of a patch
constexpr int PANEL = 64 * 128, PANELS = (WP + 63) / 64;            // PLANES: bytes of a panel, panels a warpgroup
constexpr int ROWS = SHIFT ? BP + ((SIZE_R - 1) * GRID_WIDE + SIZE_S - 1) * OPT_DILATION : BP;
constexpr int PITCH = ROWS | 1, PATCH_BYTES = PLANES ? GP * PANELS * PANEL : PITCH * 128;
// Neighbours of an image of NCHW that are turned together.
constexpr int RUN = 4;
constexpr bool IN_RUNS = !OPT_NHWC && SHIFT && !PLANES && sizeof(In) == 2 && SIZE_H * SIZE_W % RUN == 0;

// An operand of shifted rows (PTX ISA 9.7.15.5.1.2, no swizzle): PITCH rows of 16 bytes to the next 16 bytes of depth.
__device__ __forceinline__ unsigned long long describe_rows(unsigned at) {
  return (unsigned long long)((at & 0x3ffff) >> 4) | (unsigned long long)PITCH << 16 | 128ull >> 4 << 32;
}

// The tile of Y that a block computes, and the pixels that it reads.
struct Tile {
  const Sizes& of;
  const int group, pixel0, filter0;  // filter0: within the group
  const Flat from;                   // pixels of the patch; without SHIFT the tile's own, of the output

  __device__ __forceinline__ Tile(const Sizes& of, int tile_p, int tile_f, int group)
      : of(of),
        group(group),
        pixel0(tile_p * BP),
        filter0(tile_f * BF),
        from(SHIFT ? pixel0 - TOP * GRID_WIDE - LEFT : pixel0, GRID_HIGH, GRID_WIDE) {}

  __device__ __forceinline__ int filters() const { return min(BF, of.group_k() - filter0); }
  __device__ __forceinline__ int first_filter() const { return group * of.group_k() + filter0; }

  static __device__ __forceinline__ unsigned char* place(unsigned char* patch, int row, int piece) {
    return patch + (piece * PITCH + row) * 16;
  }

  // Brings pixels x channels channel0 ... into a patch: without SHIFT, those under one tap.
  template <bool ALIGNED>
  __device__ __forceinline__ void fetch(unsigned char* patch, const In* X, int channel0, int tap) const {
    if constexpr (OPT_NHWC && ALIGNED) {
#pragma unroll 4
      for (int i = threadIdx.x; i < ROWS * 8; i += THREADS) {
        const int row = i / 8, piece = i % 8, channel = channel0 + piece * PIECE;
        size_t at;
        const bool inside = find(row, tap, at) && channel < of.group_c();
        copy_piece_async(place(patch, row, piece), inside ? X + at + channel : X, inside);
      }
    } else {
      for (int i = threadIdx.x; i < ROWS * 8; i += THREADS) {
        // Neighbouring lanes read neighbours in memory.
        const int row = OPT_NHWC ? i / 8 : i % ROWS, piece = OPT_NHWC ? i % 8 : i / ROWS;
        const int channel = channel0 + piece * PIECE;
        size_t at;
        const bool inside = find(row, tap, at);
        In held[PIECE];
#pragma unroll
        for (int e = 0; e < PIECE; ++e)
          held[e] = inside && channel + e < of.group_c() ? X[at + (channel + e) * channel_stride()] : In(0);
        store(reinterpret_cast<In*>(place(patch, row, piece)), held);
      }
    }
  }

  // The same of NCHW, RUN pixels at a time. What is not in an image is left as it is: zeros, in patches once cleared.
  __device__ __forceinline__ void turn(unsigned char* patch, const In* X, int channel0) const {
    constexpr int MOST = ((ROWS + RUN - 1) / RUN + 1) * 8, ROUNDS = (MOST + THREADS - 1) / THREADS;
    constexpr int TOGETHER = ROUNDS < 3 ? ROUNDS : 3;  // rounds of loads under way
    const int first = from.before(0, of.n, of.h, of.w) / RUN;
    const int units = ((from.before(ROWS, of.n, of.h, of.w) + RUN - 1) / RUN - first) * 8;
#pragma unroll 1
    for (int round = 0; round < ROUNDS; round += TOGETHER) {
      In held[TOGETHER][PIECE][RUN] = {};
#pragma unroll
      for (int i = 0; i < TOGETHER; ++i) {
        const int unit = threadIdx.x + (round + i) * THREADS;
        if (unit < units) load_run(held[i], X, (first + unit / 8) * RUN, channel0 + unit % 8 * PIECE);
      }
#pragma unroll
      for (int i = 0; i < TOGETHER; ++i) {
        const int unit = threadIdx.x + (round + i) * THREADS;
        if (unit < units) store_run(patch, held[i], (first + unit / 8) * RUN, unit % 8);
      }
    }
  }

  // NCHW's pixels as they lie, eight at a time: one tap, no border, so that the grid is the images.
  template <bool ALIGNED>
  __device__ __forceinline__ void copy_planes(unsigned char* patch, const In* X, int channel0) const {
    constexpr int ACROSS = WP / 8, PIECES = 64 * GP * ACROSS;
    const int hw = of.h * of.w;
#pragma unroll 4
    for (int i = threadIdx.x; i < PIECES; i += THREADS) {
      const int depth = i / (GP * ACROSS), column = i % (GP * ACROSS), across = column % ACROSS;
      const int pixel = pixel0 + column * 8, image = pixel / hw, channel = channel0 + depth;
      const bool inside = image < of.n && channel < of.group_c();
      const In* const at = X + (size_t(image) * of.c + group * of.group_c() + channel) * hw + (pixel - image * hw);
      unsigned char* const to = patch + (column / ACROSS * PANELS + across / 8) * PANEL + depth * 128 + (across % 8 ^ depth % 8) * 16;
      if constexpr (ALIGNED) {
        copy_piece_async(to, inside ? at : X, inside);
      } else {
        In held[PIECE];
#pragma unroll
        for (int e = 0; e < PIECE; ++e) held[e] = inside ? at[e] : In(0);
        store(reinterpret_cast<In*>(to), held);
      }
    }
  }

 private:
  // 16 bytes of channels of RUN neighbours, from `pixel` of all images on.
  __device__ __forceinline__ void load_run(In (&held)[PIECE][RUN], const In* X, int pixel, int channel) const {
    const int hw = of.h * of.w, image = pixel / hw;
    const In* const base = X + (size_t(image) * of.c + group * of.group_c() + channel) * hw + (pixel - image * hw);
#pragma unroll
    for (int e = 0; e < PIECE; ++e)
      if (channel + e < of.group_c()) load(held[e], base + size_t(e) * hw);
  }

  __device__ __forceinline__ void store_run(unsigned char* patch, const In (&held)[PIECE][RUN], int pixel, int piece) const {
    const int image = pixel / (of.h * of.w), within = pixel - image * (of.h * of.w), y = within / of.w;
    int x = within - y * of.w, row = from.number(image, y, x);
#pragma unroll
    for (int j = 0; j < RUN; ++j) {
      In turned[PIECE];
#pragma unroll
      for (int e = 0; e < PIECE; ++e) turned[e] = held[e][j];
      if (row >= 0 && row < ROWS) store(reinterpret_cast<In*>(place(patch, row, piece)), turned);
      ++x, ++row;
      if (x == of.w) x = 0, row += GRID_WIDE - of.w;
    }
  }

  __device__ __forceinline__ size_t channel_stride() const { return OPT_NHWC ? 1 : size_t(of.h) * of.w; }

  // Whether a row's pixel under a tap is in an image, and where the group's first channel of it lies.
  __device__ __forceinline__ bool find(int row, int tap, size_t& at) const {
    const Flat::Pixel pixel = from.at(row);
    const int y = SHIFT ? pixel.y : pixel.y * OPT_STRIDE + tap / SIZE_S * OPT_DILATION - TOP;
    const int x = SHIFT ? pixel.x : pixel.x * OPT_STRIDE + tap % SIZE_S * OPT_DILATION - LEFT;
    if (pixel.image < 0 || pixel.image >= of.n || y < 0 || y >= of.h || x < 0 || x >= of.w) return false;
    at = of.x_index(pixel.image, group * of.group_c(), y, x);
    return true;
  }
};
