// int8 images and weights in units of neighbours in the depth (dots8.h), as rungs 8 and 9 read them.
//
// A unit holds GROUP channels of one pixel; of a depthwise convolution, where channels are not added up, the pixels that
// GROUP taps in a row meet. A padded copy of the image lies [n][y][x][units]. Padding is a value like any other.
#pragma once
#include <string.h>

#include "../common/dots8.h"
#include "image.h"


// Units that are multiplied at once: AMX takes sixteen, which a run of neighbours in memory is filled up to with weights
// of 0. What lies behind a run is multiplied by these, whatever it is.
#if AMX
enum : int64_t { CHUNK = 16 };
#else
enum : int64_t { CHUNK = 1 };
#endif

struct Units {
    const Shape& at;
    int32_t zero;  // what stands for 0 in X: the value of its padding

    bool depthwise() const { return !AMX && OPT_GROUPS > 1 && at.inner == 1 && at.outer == 1; }
    int64_t of_group() const { return ceil_div(at.inner, GROUP); }
    int64_t of_pixel() const { return depthwise() ? at.c : OPT_GROUPS * of_group(); }
    int64_t of_image() const { return at.high() * at.wide() * of_pixel(); }
    // Runs of units that lie together: a row of taps where pixels have nothing else between them, else a tap's channels.
    static constexpr bool ROW_IS_RUN = OPT_DILATION == 1 && OPT_GROUPS == 1;
    int64_t runs() const { return ROW_IS_RUN ? at.r : at.r * at.s; }
    int64_t run() const { return ceil_div((ROW_IS_RUN ? at.s : 1) * of_group(), CHUNK) * CHUNK; }
    // Products in a sum, in units.
    int64_t taps() const { return depthwise() ? at.r * ceil_div(at.s, GROUP) : runs() * run(); }

    int32_t padding() const {
        const int8_t value = int8_t(zero);
        return unit_x(&value, 0, GROUP);
    }

    // Where each unit of a window lies, seen from its first; with AMX where each chunk begins.
    void offsets(int32_t* to) const {
#if AMX
        for (int64_t i = 0; i < runs(); ++i) {
            const int64_t y = ROW_IS_RUN ? i : i / at.s, x = ROW_IS_RUN ? 0 : i % at.s;
            const int64_t first = (y * at.wide() + x) * OPT_DILATION * of_pixel();
            for (int64_t u = 0; u < run(); u += CHUNK) *to++ = int32_t(first + u);
        }
        return;
#endif
        const int64_t across = depthwise() ? ceil_div(at.s, GROUP) : at.s, inside = depthwise() ? 1 : of_group();
        const int64_t step = (depthwise() ? GROUP : 1) * OPT_DILATION * of_pixel();
        for (int64_t y = 0; y < at.r; ++y) {
            for (int64_t x = 0; x < across; ++x) {
                for (int64_t u = 0; u < inside; ++u) {
                    *to++ = int32_t(y * OPT_DILATION * at.wide() * of_pixel() + x * step + u);
                }
            }
        }
    }

    // Filters first ... of one block, `count` of them: [taps][N], and behind them a row of what sums begin with.
    template <int N>
    void pack(int32_t* packed, const int8_t* W, int64_t first, int64_t count) const {
        const int64_t across = depthwise() ? ceil_div(at.s, GROUP) : at.s, inside = depthwise() ? 1 : of_group();
        const int64_t next = depthwise() || OPT_NHWC ? 1 : at.r * at.s;
        int32_t begin[N] = {};
        const int32_t* run_begin = packed;
        for (int64_t y = 0; y < at.r; ++y) {
            for (int64_t x = 0; x < across; ++x) {
                for (int64_t u = 0; u < inside; ++u, packed += N) {
                    const int64_t left = depthwise() ? at.s - x * GROUP : at.inner - u * GROUP;
                    for (int64_t j = 0; j < N; ++j) {
                        const int64_t filter = first + j;
                        const int8_t* from = W;
                        if (depthwise()) from += (filter * at.r + y) * at.s + x * GROUP;
                        else if (OPT_NHWC) from += ((filter * at.r + y) * at.s + x) * at.inner + u * GROUP;
                        else from += ((filter * at.inner + u * GROUP) * at.r + y) * at.s + x;
                        packed[j] = j < count ? unit_w(from, next, left) : 0;
                        if (EXTRA && j < count) begin[j] += first_of(from, next, left);
                    }
                }
                if (ROW_IS_RUN && x + 1 < across) continue;
                for (; (packed - run_begin) / N % CHUNK; packed += N) memset(packed, 0, sizeof begin);
                run_begin = packed;
            }
        }
        for (int64_t j = 0; EXTRA && j < N; ++j) packed[j] = begin[j];
    }

    // The part of the copy that falls to thread `index` of `team`, in lines of the padded image.
    void copy(int32_t* to, const int8_t* X, int64_t team, int64_t index) const {
        const int64_t line = at.wide() * of_pixel();
        const Range mine = share(at.n * at.high(), 1, team, index);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const int64_t n = i / at.high(), y = i % at.high() - TOP;
            int32_t* row = to + i * line;
            if (y < 0 || y >= at.h) {
                fill(row, line);
            } else if (depthwise()) {
                line_of_taps(row, X, n, y);
            } else {
                fill(row, LEFT * of_pixel());
                fill(row + (LEFT + at.w) * of_pixel(), RIGHT * of_pixel());
                line_of_channels(row + LEFT * of_pixel(), X, n, y);
            }
        }
    }

private:
    void fill(int32_t* to, int64_t count) const {
        const int32_t value = padding();
        for (int64_t i = 0; i < count; ++i) to[i] = value;
    }

    // Units of so many channels, as many as there are in code: they are computed side by side.
    template <int64_t COUNT>
    static void sixteen(int32_t* to, const int8_t* from, int64_t plane) {
        for (int64_t x = 0; x < 16; ++x) to[x] = unit_x(from + x, plane, COUNT);
    }

    void line_of_channels(int32_t* to, const int8_t* X, int64_t n, int64_t y) const {
        if (OPT_NHWC) {
            const int8_t* from = X + (n * at.h + y) * at.w * at.c;
            if (QUADS && at.inner % GROUP == 0) {
                memcpy(to, from, size_t(at.w * at.c));
                for (int64_t i = 0; i < at.w * of_pixel(); ++i) to[i] = shifted(to[i]);
                return;
            }
            for (int64_t x = 0; x < at.w * OPT_GROUPS; ++x, from += at.inner) {
                int64_t channel = 0;
                for (; channel + GROUP <= at.inner; channel += GROUP) *to++ = unit_x(from + channel, 1, GROUP);
                if (channel < at.inner) *to++ = unit_x(from + channel, 1, at.inner - channel);
            }
            return;
        }
        const int64_t plane = at.h * at.w;
        // Some pixels of all channels, then the next: what is written lies together, and so does what is read.
        for (int64_t begin = 0; begin < at.w; begin += 16) {
            const int64_t count = min_of(16, at.w - begin);
            for (int64_t group = 0; group < OPT_GROUPS; ++group) {
                for (int64_t u = 0; u < of_group(); ++u) {
                    const int64_t left = at.inner - u * GROUP;
                    const int8_t* from = X + (n * at.c + group * at.inner + u * GROUP) * plane + y * at.w + begin;
                    int32_t* place = to + begin * of_pixel() + group * of_group() + u;
                    if (count == 16) {
                        int32_t block[16];
                        if (left >= GROUP) sixteen<GROUP>(block, from, plane);
                        else if (left == 3) sixteen<3>(block, from, plane);
                        else if (left == 2) sixteen<2>(block, from, plane);
                        else sixteen<1>(block, from, plane);
                        for (int64_t x = 0; x < 16; ++x) place[x * of_pixel()] = block[x];
                        continue;
                    }
                    for (int64_t x = 0; x < count; ++x) place[x * of_pixel()] = unit_x(from + x, plane, left);
                }
            }
        }
    }

    // Each pixel with those that further taps meet; beyond the right end anything will do, as its weights are zeros.
    void line_of_taps(int32_t* to, const int8_t* X, int64_t n, int64_t y) const {
        const int64_t step = OPT_NHWC ? at.c : 1, plane = at.h * at.w;
        for (int64_t x = 0; x < at.wide(); ++x, to += at.c) {
            const int8_t* from = X + (OPT_NHWC ? (n * at.h + y) * at.w * at.c : n * at.c * plane + y * at.w) + (x - LEFT) * step;
            const bool inside = x >= LEFT && x - LEFT + (GROUP - 1) * OPT_DILATION < at.w;
            const int64_t next = OPT_NHWC ? 1 : plane;
            if (inside) {
                for (int64_t c = 0; c < at.c; ++c) to[c] = unit_x(from + c * next, OPT_DILATION * step, GROUP);
                continue;
            }
            for (int64_t c = 0; c < at.c; ++c) {
                int8_t taps[GROUP];
                for (int64_t i = 0; i < GROUP; ++i) {
                    const int64_t column = x - LEFT + i * OPT_DILATION;
                    taps[i] = column >= 0 && column < at.w ? from[c * next + i * OPT_DILATION * step] : int8_t(zero);
                }
                to[c] = unit_x(taps, 1, GROUP);
            }
        }
    }
};
