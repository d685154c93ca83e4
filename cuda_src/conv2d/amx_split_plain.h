// Results of numbers that have no parts of bf16, in plain f32: tiles left NaN in them. Pixels whose windows have such a
// number, and filters that do, are computed once more.
#pragma once
#include "amx_split_call.h"

static inline bool no_parts(float x) { return !(__builtin_fabsf(x) < 0x1.ffp127f); }  // as without_parts

// Calls `each(x, w)` with the pixel and weight of every product of a result, but those with padding.
template <class Each>
static inline void products_of(const Convolution& work, int64_t n, int64_t k, int64_t p, int64_t q, Each&& each) {
    const Shape& at = work.lay.at;
    const int64_t first = k / at.outer * at.inner;
    for (int64_t r = 0; r < at.r; ++r) {
        const int64_t y = p * OPT_STRIDE + r * OPT_DILATION - TOP;
        for (int64_t s = 0; s < at.s && 0 <= y && y < at.h; ++s) {
            const int64_t x = q * OPT_STRIDE + s * OPT_DILATION - LEFT;
            if (x < 0 || x >= at.w) continue;
            for (int64_t c = 0; c < at.inner; ++c) {
                const int64_t pixel = OPT_NHWC ? ((n * at.h + y) * at.w + x) * at.c + first + c
                                               : ((n * at.c + first + c) * at.h + y) * at.w + x;
                const int64_t weight = OPT_NHWC ? ((k * at.r + r) * at.s + s) * at.inner + c
                                                : ((k * at.inner + c) * at.r + r) * at.s + s;
                each(work.X[pixel], work.weights.W[weight]);
            }
        }
    }
}

static __attribute__((noinline)) void compute_plain(const Convolution& work, int64_t n, int64_t k, int64_t p, int64_t q) {
    const Shape& at = work.lay.at;
    float sum = 0;
    products_of(work, n, k, p, q, [&](float x, float w) { sum += x * w; });
    const int64_t pixel = p * at.columns + q;
    const int64_t all = at.rows * at.columns;
    const int64_t place = OPT_NHWC ? (n * all + pixel) * at.k + k : (n * at.k + k) * all + pixel;
    work.Y[place] = work.epilogue(sum, k, place);
}

// Calls `each(n, p, q)` for the results of some blocks.
template <class Each>
static inline void results_of(const Layout& lay, Range blocks, Each&& each) {
    for (int64_t block = blocks.begin; block < blocks.end; ++block) {
        const int64_t begin = block % lay.blocks_of_image * PIXELS;
        for (int64_t place = begin; place < min_of(begin + PIXELS, lay.length); ++place) {
            const int64_t p = place / lay.pitch, q = place % lay.pitch;
            if (q < lay.at.columns) each(block / lay.blocks_of_image, p, q);
        }
    }
}

// Whether a window has a line with a number without parts.
static inline bool special_lines(const Convolution& work, int64_t n, int64_t p) {
    for (int64_t r = 0; r < work.lay.at.r; ++r) {
        const int64_t y = p * OPT_STRIDE + r * OPT_DILATION - TOP;
        if (y < 0 || y >= work.lay.at.h) continue;
        if (__atomic_load_n(work.special_image + 1 + n * work.lay.at.h + y, __ATOMIC_RELAXED)) return true;
    }
    return false;
}

// What falls to one thread.
static void repair(const Convolution& work, Range blocks, Range panels) {
    const Weights& weights = work.weights;
    const int64_t taps = work.lay.at.taps();
    const auto filters_of = [&](int64_t panel, auto&& each) {
        for (int64_t i = 0; i < weights.filters(panel); ++i) each(weights.first_filter(panel) + i);
    };
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
        if (!__atomic_load_n(work.special_weights + panel, __ATOMIC_RELAXED)) continue;
        filters_of(panel, [&](int64_t k) {
            bool wrong = false;
            for (int64_t i = 0; i < taps && !wrong; ++i) wrong = no_parts(weights.W[k * taps + i]);
            if (!wrong) return;
            results_of(work.lay, blocks, [&](int64_t n, int64_t p, int64_t q) { compute_plain(work, n, k, p, q); });
        });
    }
    if (!__atomic_load_n(work.special_image, __ATOMIC_RELAXED)) return;
    results_of(work.lay, blocks, [&](int64_t n, int64_t p, int64_t q) {
        if (!special_lines(work, n, p)) return;
        int64_t group = -1;
        bool wrong = false;
        for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
            filters_of(panel, [&](int64_t k) {
                if (k / work.lay.at.outer != group) {
                    group = k / work.lay.at.outer, wrong = false;
                    products_of(work, n, k, p, q, [&](float x, float) { wrong = wrong || no_parts(x); });
                }
                if (wrong) compute_plain(work, n, k, p, q);
            });
        }
    });
}
