/*[tuner]
name = "conv_int8_planes"
operator = "conv2d"
summary = "int8 by VNNI, planes in and planes out: pixels lie along a vector, so nothing is transposed; frozen weights."
dtypes = ["int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Z", "ratios", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points", "quantized_residual"]
requires = ["avx512vnni", "avx512bw", "avx512vl", "avx512vbmi", "avx512vbmi2"]
use = ["cores"]

[supports]
"it reads images of planes: NCHW" = "not nhwc"
"a stride is 1 or 2" = "stride <= 2"
"a depthwise convolution adds up no channels" = "group_c > 1 or group_k > 1"

[parameters]
ROWS = { values = [8, 1, 2, 4, 6, 9, 12, 13, 14], doc = "output channels of the register tile" }
VECTORS = { values = [3, 1, 2, 4], doc = "vectors of pixels of the register tile" }
INNER = { values = ["channels", "pixels"], doc = "what is gone through before the other one's next tiles: all output channels or all pixels" }
UNROLL = { values = [2, 1, 4], doc = "units of the depth in the body of the innermost loop" }
COPY = { values = ["tiles", "image"], doc = "what is interleaved before it is multiplied: of 1x1 kernels the pixels that a thread computes next, or the image as a whole" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }

[constraints]
# Sums, a row of pixels and one weight.
registers = "(ROWS + 1) * VECTORS + 1 <= vector_registers"
# 8 independent sums keep two pipes of latency 4 busy; few channels have to do with fewer.
latency = "ROWS * VECTORS >= 8 or ROWS * 2 > group_k or 16 * VECTORS * 2 > n * p * q"
channels_used = "ROWS < 2 * group_k"
vectors_used = "VECTORS == 1 or 16 * (VECTORS - 1) < n * p * q"
unrolled_body = "UNROLL * ROWS * VECTORS <= 112"
tiles_of_points = "COPY == 'image' or (INNER == 'channels' and r * s == 1 and stride == 1 and top + left + bottom + right == 0)"
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * ROWS < 2 * k)"

[workspace]
# A row more is what sums begin with.
ahead = "4 * groups * ceildiv(group_k, ROWS) * ROWS * (r * s * ceildiv(group_c, 4) + 1)"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 21. What rung 15 is for AMX: rungs 8 and 9 transpose planes to pixels with their channels, and the results back. Here
// a vector holds one unit of sixteen pixels (planes.h), a weight is in all its lanes, and a register of sums is sixteen
// pixels of a channel, as Y has them.
#define SHIFTED 1
#include "../common/dots8.h"
enum : int64_t { TOGETHER = VECTORS };
#include "planes.h"

static_assert(QUADS, "units of four bytes");
enum { STEPS = UNROLL };  // a pragma expands no macro

struct Product {
    const Planes& planes;
    const int8_t* W;
    int32_t* packed;         // [groups][blocks of channels][steps + 1][ROWS]
    const int32_t* offsets;  // [steps]: from a pixel of the image
    struct Registers {};

    int64_t steps() const { return planes.at.r * planes.at.s * planes.units(); }
    int64_t blocks() const { return ceil_div(planes.at.outer, ROWS); }  // of a group
    int64_t reach() const { return 4 * planes.unit() * (planes.units() + 1); }
    // Behind the last pixel there is room for the rest of a vector.
    int64_t memory() const { return planes.all_units() * planes.unit() + LANES; }

    void pack() const {
        const Shape& at = planes.at;
        const int64_t window = at.r * at.s;
        int32_t* to = packed;
        for (int64_t i = 0; i < OPT_GROUPS * blocks(); ++i, to += (steps() + 1) * ROWS) {
            const int64_t first = i / blocks() * at.outer + i % blocks() * ROWS;
            const int64_t count = min_of(ROWS, at.outer - i % blocks() * ROWS);
            memset(to, 0, size_t((steps() + 1) * ROWS) * 4);
            for (int64_t j = 0; j < count; ++j) {
                for (int64_t t = 0; t < steps(); ++t) {
                    const int64_t channel = t / window * GROUP, left = at.inner - channel;
                    const int8_t* from = W + ((first + j) * at.inner + channel) * window + t % window;
                    to[t * ROWS + j] = unit_w(from, window, left);
                    to[steps() * ROWS + j] += first_of(from, window, left);
                }
            }
        }
    }

    void find_offsets(int32_t* to) const {
        const Shape& at = planes.at;
        for (int64_t u = 0; u < planes.units(); ++u) {
            for (int64_t tap = 0; tap < at.r * at.s; ++tap) *to++ = int32_t(planes.distance(tap) + u * planes.unit());
        }
    }

    // Block `block` of a group's channels, and vectors `begin` ... of pixels, as many as there are.
    __attribute__((noinline)) void compute(int64_t group, int64_t block, int64_t begin) const {
        const Shape& at = planes.at;
        const int64_t tiles = at.n * planes.pixel_tiles(), taps = steps();
        const int32_t* weights = packed + (group * blocks() + block) * (taps + 1) * ROWS;
        const int64_t channel = group * at.outer + block * ROWS, channels = min_of(ROWS, at.outer - block * ROWS);
        const int64_t there = min_of(VECTORS, tiles - begin);
        const int32_t* x[VECTORS];
        vec sums[ROWS][VECTORS];
        Results of[VECTORS];
        int64_t images[VECTORS];
        for (int64_t j = 0; j < there; ++j) {
            of[j] = planes.results(begin + j), images[j] = (begin + j) / planes.pixel_tiles();
            for (int64_t i = 0; i < channels; ++i) planes.fetch(channel + i, images[j], of[j]);
        }
#pragma GCC unroll 16
        for (int j = 0; j < VECTORS; ++j) x[j] = planes.pixels(group, min_of(begin + j, tiles - 1));
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 16
            for (int j = 0; j < VECTORS; ++j) sums[i][j] = splat(weights[taps * ROWS + i]);
        }
#pragma GCC unroll STEPS
        for (int64_t p = 0; p < taps; ++p) {
            vec row[VECTORS];
#pragma GCC unroll 16
            for (int j = 0; j < VECTORS; ++j) row[j] = load(x[j] + offsets[p]);
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; ++i) {
                const vec weight = in_register(splat(weights[p * ROWS + i]));
#pragma GCC unroll 16
                for (int j = 0; j < VECTORS; ++j) sums[i][j] = multiply_add(row[j], weight, sums[i][j]);
            }
        }
        // In memory from here on: loops need not be unrolled, and are little beside the sums.
        int32_t done[VECTORS][ROWS][LANES] __attribute__((aligned(64)));
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 16
            for (int j = 0; j < VECTORS; ++j) store(done[j][i], sums[i][j]);
        }
        const auto added = planes.added();
        for (int64_t j = 0; j < there; ++j) {
            for (int64_t i = 0; i < channels; ++i) planes.put(load(done[j][i]), channel + i, images[j], of[j], added);
        }
    }
};

extern "C" int pack_ahead(const element* W, int32_t* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r,
                          int64_t s) {
    const Planes planes = {Shape(n, c, h, w, k, r, s), nullptr, {nullptr, nullptr}, nullptr, nullptr};
    Product{planes, W, ahead, nullptr}.pack();
    return 0;
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, const int32_t* Z, const float* ratios, result* Y, int32_t* ahead, int64_t n,
                      int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    const Planes planes = {Shape(n, c, h, w, k, r, s), X, {bias, scale, Z, residual, ratios}, Y, nullptr};
    Product work = {planes, W, ahead, nullptr};
    return convolve(planes, work);
}
