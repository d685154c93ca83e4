// int8 images in units of neighbours in the depth (dots8.h), as rungs 8 and 9 read them; weights: unit_weights.h.
//
// A unit holds GROUP channels of one pixel; of a depthwise convolution, where channels are not added up, the pixels that
// GROUP taps in a row meet. A padded copy of the image lies [n][y][x][units]. Padding is a value like any other.
//
// Quadruples of bytes need no copy where an image has its channels side by side: four bytes in a row are a unit, wherever
// they begin. Such an image is `dense`, as is the copy of planes that are fewer than four: of three channels
//
//   pixels of a row   [a b c] [d e f] [g h i]       units of three taps in a row   [a b c d] [e f g h] [i . . .]
#pragma once
#include <string.h>

#include "../common/dots8.h"
#include "../common/pack.h"
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

    // Runs of units that lie together: a row of taps where pixels have nothing else between them, else a tap's channels.
    static constexpr bool ROW_IS_RUN = OPT_DILATION == 1 && OPT_GROUPS == 1;
    // Bytes are shifted for VNNI when they are read, so that an image needs no copy.
    static constexpr bool AS_IT_IS = QUADS && !AMX && OPT_NHWC && !PADDED;
    // Taps of one unit follow each other in planes of weights, and so in the depth.
    static constexpr bool TAPS_INSIDE = QUADS && !AMX && !OPT_NHWC;

    bool depthwise() const { return !AMX && OPT_GROUPS > 1 && at.inner == 1 && at.outer == 1; }
    bool dense() const {
        return QUADS && !AMX && !depthwise() && (OPT_NHWC || (OPT_GROUPS == 1 && at.inner < GROUP));
    }
    int64_t of_group() const { return ceil_div(at.inner, GROUP); }
    int64_t of_pixel() const { return depthwise() ? at.c : OPT_GROUPS * of_group(); }
    int64_t of_image() const { return at.high() * at.wide() * of_pixel(); }

    int64_t group_bytes() const { return dense() ? at.inner : 4 * of_group(); }
    int64_t pixel_bytes() const { return dense() ? at.c : 4 * of_pixel(); }
    int64_t line_bytes() const { return at.wide() * pixel_bytes(); }
    int64_t image_bytes() const { return at.high() * line_bytes(); }

    int64_t runs() const { return ROW_IS_RUN ? at.r : at.r * at.s; }
    int64_t run_bytes() const { return ROW_IS_RUN ? at.s * pixel_bytes() : group_bytes(); }
    int64_t run() const { return ceil_div(ceil_div(run_bytes(), 4), CHUNK) * CHUNK; }
    // Products in a sum, in units.
    int64_t taps() const { return depthwise() ? at.r * ceil_div(at.s, GROUP) : runs() * run(); }
    // Whether X serves as it lies: no unit reaches beyond its end.
    bool in_place() const { return AS_IT_IS && dense() && run_bytes() % 4 == 0; }

    int32_t padding() const {
        const int8_t value = int8_t(zero);
        return AS_IT_IS && dense() ? unit_w(&value, 0, GROUP) : unit_x(&value, 0, GROUP);
    }

    // Where each unit of a window lies, in bytes from its first; with AMX where each chunk begins, in units.
    void offsets(int32_t* to) const {
        const int64_t line = OPT_DILATION * line_bytes(), pixel = OPT_DILATION * pixel_bytes();
        if (depthwise()) {
            for (int64_t y = 0; y < at.r; ++y) {
                for (int64_t x = 0; x < at.s; x += GROUP) *to++ = int32_t(y * line + x * pixel);
            }
            return;
        }
        if (TAPS_INSIDE && !dense()) {
            for (int64_t u = 0; u < of_group(); ++u) {
                for (int64_t i = 0; i < at.r * at.s; ++i) *to++ = int32_t(i / at.s * line + i % at.s * pixel + 4 * u);
            }
            return;
        }
        for (int64_t i = 0; i < runs(); ++i) {
            const int64_t y = ROW_IS_RUN ? i : i / at.s, x = ROW_IS_RUN ? 0 : i % at.s;
            const int64_t first = y * line + x * pixel;
            for (int64_t u = 0; u < run(); u += CHUNK) *to++ = int32_t(AMX ? first / 4 + u : first + 4 * u);
        }
    }

    // The part of the copy that falls to thread `index` of `team`, in lines of the padded image.
    void copy(char* to, const int8_t* X, int64_t team, int64_t index) const {
        const Range mine = share(at.n * at.high(), 1, team, index);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const int64_t n = i / at.high(), y = i % at.high() - TOP, pixel = pixel_bytes();
            char* row = to + i * line_bytes();
            if (y < 0 || y >= at.h) {
                fill(row, line_bytes());
            } else if (depthwise()) {
                line_of_taps(reinterpret_cast<int32_t*>(row), X, n, y);
            } else {
                fill(row, LEFT * pixel);
                if (!dense()) line_of_channels(reinterpret_cast<int32_t*>(row + LEFT * pixel), X, n, y);
                else if (OPT_NHWC) line_of_bytes(row + LEFT * pixel, X + (n * at.h + y) * at.w * at.c);
                else line_of_few(row + LEFT * pixel, X + (n * at.c * at.h + y) * at.w);
                fill(row + (LEFT + at.w) * pixel, RIGHT * pixel);
            }
        }
    }

private:
    void fill(char* to, int64_t bytes) const {
        const int32_t value = padding();
        int64_t i = 0;
        for (; i + 4 <= bytes; i += 4) memcpy(to + i, &value, 4);
        memcpy(to + i, &value, size_t(bytes - i));
    }

    void line_of_bytes(char* to, const int8_t* from) const {
        const int64_t bytes = at.w * at.c;  // a byte that is written might be one of `at`
        for (int64_t i = 0; i < bytes; ++i) to[i] = char(AS_IT_IS ? from[i] : from[i] ^ -128);
    }

    // Of fewer planes than a unit holds: what a unit has too much the next one overwrites.
    void line_of_few(char* to, const int8_t* from) const {
        const int64_t plane = at.h * at.w;
        int64_t x = 0;
        for (; x + 16 + GROUP <= at.w; x += 16) {
            int32_t block[16];
            sixteen(block, from + x, plane, at.inner);
            for (int64_t i = 0; i < 16; ++i) memcpy(to + (x + i) * at.inner, block + i, 4);
        }
        for (; x < at.w; ++x) {
            const int32_t unit = unit_x(from + x, plane, at.inner);
            memcpy(to + x * at.inner, &unit, size_t(at.inner));
        }
    }

    // Units of so many channels, as many as there are in code: they are computed side by side.
    template <int64_t COUNT>
    static void sixteen(int32_t* to, const int8_t* from, int64_t plane) {
        for (int64_t x = 0; x < 16; ++x) to[x] = unit_x(from + x, plane, COUNT);
    }

    static void sixteen(int32_t* to, const int8_t* from, int64_t plane, int64_t left) {
        if (left >= GROUP) sixteen<GROUP>(to, from, plane);
        else if (left == 3) sixteen<3>(to, from, plane);
        else if (left == 2) sixteen<2>(to, from, plane);
        else sixteen<1>(to, from, plane);
    }

    void line_of_channels(int32_t* to, const int8_t* X, int64_t n, int64_t y) const {
        if (OPT_NHWC) {
            const int8_t* from = X + (n * at.h + y) * at.w * at.c;
            if (QUADS && at.inner % GROUP == 0) return line_of_bytes(reinterpret_cast<char*>(to), from);
            for (int64_t x = 0; x < at.w * OPT_GROUPS; ++x, from += at.inner) {
                for (int64_t channel = 0; channel < at.inner; channel += GROUP) {
                    *to++ = unit_x(from + channel, 1, at.inner - channel);
                }
            }
            return;
        }
        const int64_t plane = at.h * at.w;
        // Some pixels of all channels, then the next: what is written lies together, and so does what is read.
        for (int64_t begin = 0; begin < at.w; begin += 16) {
            const int64_t count = min_of(16, at.w - begin);
            for (int64_t group = 0; group < OPT_GROUPS; ++group) {
                const int8_t* from = X + (n * at.c + group * at.inner) * plane + y * at.w + begin;
                some_pixels(to + begin * of_pixel() + group * of_group(), from, plane, count);
            }
        }
    }

    // Pixels of a group's planes, up to sixteen, each as its units; four units side by side are written as one vector.
    void some_pixels(int32_t* to, const int8_t* from, int64_t plane, int64_t count) const {
        const int64_t step = of_pixel(), units = of_group();
        int64_t u = 0;
        for (; u + 4 <= units && count == 16; u += 4) {
            int32_t block[4][16];
            for (int64_t i = 0; i < 4; ++i) {
                const int64_t channel = (u + i) * GROUP;
                sixteen(block[i], from + channel * plane, plane, at.inner - channel);
            }
            for (int64_t x = 0; x < 16; x += 4) {
                const float* four = reinterpret_cast<const float*>(block[0] + x);
                transpose4(reinterpret_cast<float*>(to + x * step + u), step, four, 16);
            }
        }
        for (; u < units; ++u) {
            const int64_t channel = u * GROUP;
            for (int64_t x = 0; x < count; ++x) {
                to[x * step + u] = unit_x(from + channel * plane + x, plane, at.inner - channel);
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
