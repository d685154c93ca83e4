// Panels of words of two bf16: two neighbouring taps of as many pixels as a panel has columns, of an image of planes (NCHW).
//
//   image   a b c d e      taps 0 and 1 of a kernel with two in a row:   word  (a b) (b c) (c d) (d e)
#pragma once
#include <string.h>

#include "image.h"
#include "partial.h"
#include "words.h"

// Elements that may be read behind a padded copy of the image: whole vectors end there.
enum : int64_t { READ_BEHIND = 2 * LANES };

// The part of a copy with zeros around it that falls to thread `index` of `team`.
static void pad_planes(element* to, const element* X, const Shape& at, int64_t team, int64_t index) {
    const Range mine = share(at.n * at.c * at.high(), 1, team, index);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
        const int64_t plane = i / at.high(), y = i % at.high() - TOP;
        element* row = to + i * at.wide();
        if (y < 0 || y >= at.h) {
            memset(row, 0, size_t(at.wide()) * sizeof(element));
            continue;
        }
        memset(row, 0, size_t(LEFT) * sizeof(element));
        memcpy(row + LEFT, X + (plane * at.h + y) * at.w, size_t(at.w) * sizeof(element));
        memset(row + LEFT + at.w, 0, size_t(RIGHT) * sizeof(element));
    }
}

// Where a tap lies in the image, seen from the first one. The order is that of the weights: channel, row, column.
struct Tap {
    const Shape& at;
    const Strides& strides;
    int64_t channel, y, x;

    Tap(const Shape& at, const Strides& strides, int64_t number)
        : at(at), strides(strides), channel(number / (at.r * at.s)), y(number / at.s % at.r), x(number % at.s) {}
    int64_t place() const { return channel * strides.channel + (y * strides.y + x) * OPT_DILATION; }
    void next() {
        if (++x < at.s) return;
        x = 0;
        if (++y < at.r) return;
        y = 0;
        ++channel;
    }
};

// A vector of words of elements OPT_STRIDE apart, at most 2; all that is read lies before `high` + READ_BEHIND.
template <bool BOTH>
static inline vec vector_of_words(const element* low, const element* high) {
    if (OPT_STRIDE == 1) {
        bits16 a, b = {};
        memcpy(&a, low, sizeof a);
        if (BOTH) memcpy(&b, high, sizeof b);
        const bits32 words = widened(a);
        return (vec)(BOTH ? words | widened(b) << 16 : words);
    }
    // Words of the image hold an element that is wanted and one that is not.
    bits32 a, b = {};
    memcpy(&a, low, sizeof a);
    if (BOTH) memcpy(&b, high, sizeof b);
    return (vec)((a & 0xffff) | b << 16);
}

// `count` words from `to` on. Whole vectors are written where they end before `end`: what is too much is overwritten by
// the next pieces. Nothing is read from `behind` on.
template <bool BOTH>
static inline void copy_words(float* to, const element* low, const element* high, int64_t count, const float* end,
                              const element* behind) {
    int64_t i = 0;
#if DOTS16
    for (; OPT_STRIDE == 1 && BOTH && i + 2 * LANES <= count && high + i + 2 * LANES <= behind; i += 2 * LANES) {
        vec left, right;
        rows_of_words(low + i, high + i, left, right);
        store(to + i, left);
        store(to + i + LANES, right);
    }
#endif
    for (; i < count; i += LANES) {
        const int64_t step = i * OPT_STRIDE;
        vec words;
        if (OPT_STRIDE <= 2 && high + step + OPT_STRIDE * LANES <= behind) {
            words = vector_of_words<BOTH>(low + step, high + step);
        } else {
            uint32_t part[LANES] = {};
            for (int64_t l = 0; l < LANES && i + l < count; ++l) {
                part[l] = low[step + l * OPT_STRIDE].bits;
                if (BOTH) part[l] |= uint32_t(high[step + l * OPT_STRIDE].bits) << 16;
            }
            memcpy(&words, part, sizeof words);
        }
        if (to + i + LANES <= end) store(to + i, words);
        else store_part(to + i, words, count - i);
    }
}

// Pixels first ... first + N - 1 of an output image as packed[word * N + pixel]; of those beyond its end nothing is said.
// `plane` is the first channel of a group, `words` which of them are gathered.
template <int N>
static void gather_words(float* packed, const element* plane, const element* behind, const Shape& at,
                         const Strides& strides, int64_t first, Range words) {
    const int64_t count = min_of(N, at.rows * at.columns - first), taps = at.taps();
    // The panel's pixels are pieces of rows; every tap copies the same pieces from somewhere else.
    struct Piece {
        int64_t from, to, count;
    } pieces[N];
    int64_t found = 0;
    const bool flat = at.r == 1 && at.s == 1 && OPT_STRIDE == 1 && !PADDED;
    for (int64_t done = 0; done < count;) {
        const int64_t p = (first + done) / at.columns, q = (first + done) % at.columns;
        const int64_t part = flat ? count : min_of(at.columns - q, count - done);
        pieces[found++] = {p * OPT_STRIDE * strides.y + q * OPT_STRIDE, done, part};
        done += part;
    }
    // What lies behind the last of the words may be another thread's.
    const float* end = packed + words.end * N;
    Tap tap(at, strides, 2 * words.begin);
    for (int64_t w = words.begin; w < words.end; ++w) {
        const element* low = plane + tap.place();
        float* to = packed + w * N;
        tap.next();
        const bool both = 2 * w + 1 < taps;
        const element* high = both ? plane + tap.place() : low;
        tap.next();
        for (int64_t i = 0; i < found; ++i) {
            const Piece& piece = pieces[i];
            if (both) copy_words<true>(to + piece.to, low + piece.from, high + piece.from, piece.count, end, behind);
            else copy_words<false>(to + piece.to, low + piece.from, high + piece.from, piece.count, end, behind);
        }
    }
}
