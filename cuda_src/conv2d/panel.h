// Gathers windows of the image into a panel of N columns: packed[tap * N + pixel].
#pragma once
#include "image.h"
#include "partial.h"

// Elements in place are read one by one where masked loads are slow.
#if defined(__AVX512F__)
enum { BY_VECTORS = OPT_STRIDE <= 2 };
#else
enum { BY_VECTORS = OPT_STRIDE <= 2 && !IN_PLACE };
#endif

// The first vector of elements the stride apart. Of a padded copy what lies behind the `count` that are wanted may be
// read: there is room for it.
static inline vec load_strided(const float* from, int64_t count) {
    const int64_t span = IN_PLACE ? (count - 1) * OPT_STRIDE + 1 : 2 * LANES;
    if (OPT_STRIDE == 1) return load_part(from, span);
    return every_second(load_part(from, span), load_part(from + LANES, span - LANES));
}

// Copies `count` elements the stride apart. Whole vectors are written where they end before `end`: what is too much
// is overwritten by the next pieces.
static inline void copy_row(float* to, const float* from, int64_t count, const float* end) {
    if (!BY_VECTORS) {
        for (int64_t i = 0; i < count; ++i) to[i] = from[i * OPT_STRIDE];
        return;
    }
    for (int64_t i = 0; i < count; i += LANES) {
        const vec row = load_strided(from + i * OPT_STRIDE, count - i);
        if (to + i + LANES <= end) store(to + i, row);
        else store_part(to + i, row, count - i);
    }
}

// Floats that are read behind a padded copy of the image.
enum : int64_t { READ_BEHIND = 2 * LANES };

// Pixels first ... first + N - 1 of an output image, those beyond its end as zeros. `plane` is the first
// channel of a group in the padded image, `channels` which of them are gathered. NCHW.
template <int N>
static void gather(float* packed, const float* plane, const Shape& at, const Strides& strides, int64_t first,
                   Range channels) {
    const int64_t pixels = at.rows * at.columns, count = min_of(N, pixels - first);
    // The panel's pixels are pieces of rows; every tap copies the same pieces from somewhere else.
    struct Piece {
        int64_t from, to, count;
    } pieces[N];
    int64_t found = 0;
    for (int64_t done = 0; done < count;) {
        const int64_t p = (first + done) / at.columns, q = (first + done) % at.columns;
        const int64_t part = min_of(at.columns - q, count - done);
        pieces[found++] = {p * OPT_STRIDE * strides.y + q * OPT_STRIDE, done, part};
        done += part;
    }
    // What lies behind the last of the channels may be another thread's.
    const float* end = packed + channels.end * at.r * at.s * N;
    packed += channels.begin * at.r * at.s * N;
    for (int64_t channel = channels.begin; channel < channels.end; ++channel) {
        for (int64_t i = 0; i < at.r; ++i) {
            for (int64_t j = 0; j < at.s; ++j, packed += N) {
                const float* from = plane + channel * strides.channel + i * OPT_DILATION * strides.y + j * OPT_DILATION;
                for (int64_t piece = 0; piece < found; ++piece) {
                    copy_row(packed + pieces[piece].to, from + pieces[piece].from, pieces[piece].count, end);
                }
                for (int64_t l = count; l < N; ++l) packed[l] = 0;
            }
        }
    }
}
