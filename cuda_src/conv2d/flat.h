// A depthwise channel as one line of numbers: with rows of a fixed pitch, padding included, a tap is one distance
// for all pixels, so vectors run on over the ends of rows. An image of 7x7 is 4 vectors of 16 in place of 7 that
// are less than half full; the two columns of padding that are computed with it are dropped when rows are copied
// out.
// A stride of s sorts the padded image by the remainders of line and column into s * s such lines: pixel (p, q)
// reads, for a tap, its own place in one of them plus a distance.
#pragma once
#include "image.h"
#include "partial.h"

struct FlatDepthwise {
    const Shape at;
    const element *X, *W;
    const addend* bias;
    const ::result* residual;
    ::result* Y;

    int64_t pitch() const { return ceil_div(at.wide(), OPT_STRIDE); }
    int64_t phase() const { return ceil_div(at.high(), OPT_STRIDE) * pitch(); }
    // Behind the last phase, what the last vectors overhang.
    int64_t image() const { return ceil_div(OPT_STRIDE * OPT_STRIDE * phase() + pitch() + (VECTORS + 1) * LANES, 16) * 16; }
    int64_t result() const { return ceil_div(at.rows * pitch(), VECTORS * LANES) * VECTORS * LANES + LANES; }
    int64_t memory() const { return image() + result(); }

    // The padding was zeroed before the first channel and is never written.
    void copy_in(float* to, const element* from) const {
        const int64_t w = at.w;
        for (int64_t y = 0; y < at.h; ++y, from += w) {
            float* line = to + (y + TOP) % OPT_STRIDE * OPT_STRIDE * phase() + (y + TOP) / OPT_STRIDE * pitch();
            if (OPT_STRIDE == 1) {
                for (int64_t x = 0; x < w; x += LANES) store_part(line + LEFT + x, load_part(from + x, w - x), w - x);
            } else if (OPT_STRIDE == 2) {
                float* even = line + LEFT % 2 * phase() + LEFT / 2;
                float* odd = line + (LEFT + 1) % 2 * phase() + (LEFT + 1) / 2;
                for (int64_t x = 0; x < w; x += 2 * LANES) {
                    const vec a = load_part(from + x, w - x), b = load_part(from + x + LANES, w - x - LANES);
                    store_part(even + x / 2, every_second(a, b), (w - x + 1) / 2);
                    store_part(odd + x / 2, every_second(a, b, 1), (w - x) / 2);
                }
            } else {
                for (int64_t x = 0; x < w; ++x) line[(x + LEFT) % OPT_STRIDE * phase() + (x + LEFT) / OPT_STRIDE] = float(from[x]);
            }
        }
    }

    // R and S are the kernel's size, 0 where it is not known.
    template <int R, int S>
    void compute(const float* image, const element* weights, float addend, float* result) const {
        const int64_t r = R ? R : at.r, s = S ? S : at.s, end = at.rows * pitch();
        for (int64_t f = 0; f < end; f += VECTORS * LANES) {
            vec sums[VECTORS];
            for (int j = 0; j < VECTORS; ++j) sums[j] = splat(addend);
#pragma GCC unroll 5
            for (int64_t y = 0; y < r; ++y) {
#pragma GCC unroll 5
                for (int64_t x = 0; x < s; ++x) {
                    const int64_t line = y * OPT_DILATION, column = x * OPT_DILATION;
                    const float* tap = image + f + (line % OPT_STRIDE * OPT_STRIDE + column % OPT_STRIDE) * phase() +
                                       line / OPT_STRIDE * pitch() + column / OPT_STRIDE;
                    const vec weight = splat(float(weights[y * s + x]));
#pragma GCC unroll 8
                    for (int j = 0; j < VECTORS; ++j) sums[j] += weight * load(tap + j * LANES);
                }
            }
#pragma GCC unroll 8
            for (int j = 0; j < VECTORS; ++j) {
                store(result + f + j * LANES, OPT_RESIDUAL ? sums[j] : activated(sums[j]));
            }
        }
    }

    void run(float* memory, int64_t team, int64_t index) const {
        const Range mine = share(at.n * at.c, 1, team, index);
        float* result = memory + image();
        memset(memory, 0, size_t(image()) * sizeof(float));
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const element* weights = W + i % at.c * at.r * at.s;
            const float addend = OPT_BIAS ? float(bias[i % at.c]) : 0;
            ::result* to = Y + i * at.rows * at.columns;
            copy_in(memory, X + i * at.h * at.w);
            if (FIXED && at.r == 3 && at.s == 3) compute<3, 3>(memory, weights, addend, result);
            else if (FIXED && at.r == 5 && at.s == 5) compute<5, 5>(memory, weights, addend, result);
            else compute<0, 0>(memory, weights, addend, result);
            for (int64_t p = 0; p < at.rows; ++p) {
                for (int64_t q = 0; q < at.columns; q += LANES) {
                    const int64_t place = p * at.columns + q, count = at.columns - q;
                    vec value = load(result + p * pitch() + q);
                    if (OPT_RESIDUAL) value = activated(value + load_part(residual + (to - Y) + place, count));
                    store_part(to + place, value, count);
                }
            }
        }
    }
};
