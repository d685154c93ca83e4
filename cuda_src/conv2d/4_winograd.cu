/*[tuner]
name = "cuda_conv_winograd"
operator = "conv2d"
summary = "Winograd F(2x2,3x3) or F(4x4,3x3): 2.25 or 4 times fewer products, in one kernel."
dtypes = ["f32"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "nhwc", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
special_values = false
shape_generic = false
# Products of F(4x4,3x3), the most; F(2x2,3x3) does 2.25 times fewer.
fewer_operations = "4 if c >= 32 else 2.25"
use = ["winograd", "occupancy", "large_shared"]

[supports]
"its pixels are counted in 32 bits" = "n * p * q < 2**30"

[parameters]
TILE = { values = [2, 4], doc = "outputs of a tile along each axis" }
BT = { values = [8, 16, 32], doc = "tiles a block" }
BF = { values = [8, 16, 32, 64], doc = "filters a block" }
BC = { values = [2, 4, 8], doc = "channels that are transformed before they are multiplied" }
TT = { values = [1, 2, 4, 8], doc = "tiles a thread, of one element of the transformed tiles" }
TF = { values = [1, 2, 4, 8], doc = "filters a thread" }
MIN_BLOCKS = { values = [1, 2, 3], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
elements = "(TILE + 2) * (TILE + 2)"
tiles = "n * ceildiv(p, TILE) * ceildiv(q, TILE)"
blocks_t = "ceildiv(tiles, BT)"
blocks_f = "ceildiv(k, BF)"
blocks = "blocks_t * blocks_f"
lanes = "(BT // TT) * (BF // TF)"
threads = "elements * lanes"
operands = "BC * (BT + BF)"
# Transformed tiles and filters, and afterwards their products.
shared = "elements * max(operands, BT * BF) * 4"
# Of some channels and of all, and their operands; then a transformed tile and what it is made of.
sums = "2 * TT * TF + TT + TF"
registers_needed = "sums + 2 * elements + 24"

[constraints]
thread_tiles_divide = "BT % TT == 0 and BF % TF == 0"
whole_warps = "threads % warp_size == 0"
# What F(4x4)'s transforms round grows with the root of the channels only, and fits the tolerance from 32 on.
exact_enough = "TILE == 2 or c >= 32"
channels_used = "BC < 2 * c or BC == 2"
filters_used = "BF < 2 * k or BF == 8"
tiles_used = "BT < 2 * tiles or BT == 8"
grid_fits = "blocks_f <= max_grid_y and blocks_t <= max_grid_x"

[features]
macs = "blocks * elements * BT * BF * c"
traffic_bytes = "blocks * c * (elements * BT + 9 * BF) * 4"
steps = "ceildiv(c, BC)"
shared = "shared"
intensity = "BT * BF / (BT + BF)"
registers = "sums"

[launch]
grid = ["blocks_t", "blocks_f", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 4: TILE x TILE outputs of a 3 x 3 filter from (TILE + 2)^2 products a channel instead of 9 TILE^2 (Lavin and Gray,
// CVPR 2016; the matrices and what they round are in winograd.h and 3_winograd.cpp). Tiles and filters are transformed
// on their way into shared memory, so nothing but X, W and Y touches global memory. Each element of the transformed
// tiles is a matrix product of its own, tiles x channels x filters, and has `lanes` threads:
//
//   TILE = 2, 16 elements:   thread 0 ... lanes - 1       element 0:   [BT tiles][BC] x [BC][BF filters]
//                            thread lanes ... 2 lanes - 1  element 1   ...
//
// A NaN or an infinity spreads over its tile: it is added to its neighbours.
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#define TRANSFORM static __device__ __forceinline__
#include "conv2d.cuh"
#include "winograd.h"

template <int> struct Filtering { typedef F2 type; };
template <> struct Filtering<4> { typedef F4 type; };
typedef Filtering<TILE>::type F;
constexpr int IN = F::IN, OUT = F::OUT, ELEMENTS = IN * IN;
constexpr int LANES_F = BF / TF, LANES = BT / TT * LANES_F, THREADS = ELEMENTS * LANES;
// F(4x4) sums so many channels before it adds them to the rest: see 3_winograd.cpp on the error.
constexpr int TOGETHER = 32;

// Both dimensions of a transform of FROM x FROM values to TO x TO; each(to, step, from, step) is that of one.
template <int FROM, int TO, typename Each>
__device__ __forceinline__ void both(float (&to)[TO * TO], const float (&from)[FROM * FROM], const Each& each) {
  float half[TO * FROM];
#pragma unroll
  for (int i = 0; i < FROM; ++i) each(half + i, FROM, from + i, FROM);
#pragma unroll
  for (int i = 0; i < TO; ++i) each(to + i * TO, 1, half + i * FROM, 1);
}

// Where a tile's window begins in its image; `image` is negative for a tile that is not there.
struct Tile {
  int image, y, x;
  __device__ __forceinline__ Tile(const Sizes& of, int tile) {
    const int down = (of.p + OUT - 1) / OUT, across = (of.q + OUT - 1) / OUT;
    image = tile < of.n * down * across ? tile / (down * across) : -1;
    y = tile / across % down * OUT, x = tile % across * OUT;  // in the output
  }
};

__device__ __forceinline__ void transform_tiles(float* to, const Sizes& of, const float* X, int tile0, int channel0) {
  for (int i = threadIdx.x; i < BC * BT; i += THREADS) {
    const int channel = channel0 + i / BT;
    const Tile tile(of, tile0 + i % BT);
    float pixels[ELEMENTS], transformed[ELEMENTS];
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
      const int y = tile.y - TOP + e / IN, x = tile.x - LEFT + e % IN;
      const bool inside = tile.image >= 0 && channel < of.c && y >= 0 && y < of.h && x >= 0 && x < of.w;
      pixels[e] = inside ? X[of.x_index(tile.image, channel, y, x)] : 0.0f;
    }
    both<IN, IN>(transformed, pixels, [](float* v, int step, const float* d, int from) { F::image(v, step, d, from); });
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) to[e * BC * BT + i] = transformed[e];
  }
}

__device__ __forceinline__ void transform_filters(float* to, const Sizes& of, const float* W, int filter0,
                                                  int channel0) {
  for (int i = threadIdx.x; i < BC * BF; i += THREADS) {
    const int channel = channel0 + i / BF, filter = filter0 + i % BF;
    const bool there = channel < of.c && filter < of.k;
    float taps[9], transformed[ELEMENTS];
#pragma unroll
    for (int e = 0; e < 9; ++e) taps[e] = there ? W[of.w_index(filter, channel, e / 3, e % 3)] : 0.0f;
    both<3, IN>(transformed, taps, [](float* u, int step, const float* g, int from) { F::filter(u, step, g, from); });
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) to[e * BC * BF + i] = transformed[e];
  }
}

// The products of all elements, [ELEMENTS][BT][BF], to outputs.
__device__ __forceinline__ void write_tiles(const float* products, const Sizes& of, float* Y, const Finish& finish,
                                            int tile0, int filter0) {
  for (int i = threadIdx.x; i < BT * BF; i += THREADS) {
    // Consecutive threads along the contiguous dimension of Y.
    const int within = OPT_NHWC ? i / BF : i % BT, filter = filter0 + (OPT_NHWC ? i % BF : i / BT);
    const Tile tile(of, tile0 + within);
    if (tile.image < 0 || filter >= of.k) continue;
    float product[ELEMENTS], half[OUT * IN], outputs[OUT * OUT];
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) product[e] = products[(e * BT + within) * BF + filter - filter0];
#pragma unroll
    for (int j = 0; j < IN; ++j) F::result(half + j, IN, product + j, IN);
#pragma unroll
    for (int j = 0; j < OUT; ++j) F::result(outputs + j * OUT, 1, half + j * IN, 1);
#pragma unroll
    for (int e = 0; e < OUT * OUT; ++e) {
      const int y = tile.y + e / OUT, x = tile.x + e % OUT;
      if (y >= of.p || x >= of.q) continue;
      const size_t place = of.y_index(tile.image, filter, y * of.q + x);
      Y[place] = finish(outputs[e], filter, place);
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    conv2d(const float* __restrict__ X, const float* __restrict__ W, const float* __restrict__ bias,
           const float* __restrict__ residual, float* __restrict__ Y, int n, int c, int h, int w, int k, int r, int s,
           int p, int q) {
  extern __shared__ __align__(16) unsigned char memory[];
  float* const tiles = reinterpret_cast<float*>(memory);  // [ELEMENTS][BC][BT]
  float* const filters = tiles + ELEMENTS * BC * BT;      // [ELEMENTS][BC][BF]
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const int tile0 = blockIdx.x * BT, filter0 = blockIdx.y * BF;
  const int element = threadIdx.x / LANES, lane_t = threadIdx.x % LANES / LANES_F, lane_f = threadIdx.x % LANES_F;
  float sum[TT][TF] = {}, total[TT][TF] = {};
  for (int channel0 = 0; channel0 < c; channel0 += BC) {
    transform_tiles(tiles, of, X, tile0, channel0);
    transform_filters(filters, of, W, filter0, channel0);
    __syncthreads();
#pragma unroll
    for (int channel = 0; channel < BC; ++channel) {
      const float* const a = tiles + (element * BC + channel) * BT + lane_t;
      const float* const b = filters + (element * BC + channel) * BF + lane_f;
      float b_part[TF];
#pragma unroll
      for (int j = 0; j < TF; ++j) b_part[j] = b[j * LANES_F];
#pragma unroll
      for (int i = 0; i < TT; ++i) {
        const float value = a[i * (BT / TT)];
#pragma unroll
        for (int j = 0; j < TF; ++j) sum[i][j] = fmaf(value, b_part[j], sum[i][j]);
      }
    }
    if ((channel0 + BC) % TOGETHER == 0 || channel0 + BC >= c) {
#pragma unroll
      for (int i = 0; i < TT; ++i)
#pragma unroll
        for (int j = 0; j < TF; ++j) total[i][j] += sum[i][j], sum[i][j] = 0.0f;
    }
    __syncthreads();
  }
  float* const products = reinterpret_cast<float*>(memory);  // [ELEMENTS][BT][BF], where the operands were
#pragma unroll
  for (int i = 0; i < TT; ++i)
#pragma unroll
    for (int j = 0; j < TF; ++j)
      products[(element * BT + lane_t + i * (BT / TT)) * BF + lane_f + j * LANES_F] = total[i][j];
  __syncthreads();
  write_tiles(products, of, Y, Finish{bias, nullptr, residual}, tile0, filter0);
}
