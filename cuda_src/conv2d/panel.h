// Gathers windows of the image into a panel of NR columns: packed[tap * NR + pixel].
#pragma once
#include "image.h"

// Copies `count` elements `STRIDE` apart. From a padded copy of the image whole vectors are copied: what is too
// much is overwritten by the next piece of the row, or lies in the room that both buffers have behind them.
static inline void copy_row(float* to, const float* from, int64_t count) {
    if (!IN_PLACE && STRIDE == 1) {
        for (int64_t i = 0; i < count; i += LANES) store(to + i, load(from + i));
        return;
    }
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * STRIDE];
}

// Pixels first ... first + NR - 1 of an output image, those beyond its end as zeros. `plane` is the first
// channel of a group in the padded image. NCHW.
static void gather(float* packed, const float* plane, const Shape& at, const Strides& strides, int64_t first) {
    const int64_t pixels = at.rows * at.columns, count = min_of(NR, pixels - first);
    // The panel's pixels are pieces of rows; every tap copies the same pieces from somewhere else.
    struct Piece {
        int64_t from, to, count;
    } pieces[NR];
    int64_t found = 0;
    for (int64_t done = 0; done < count;) {
        const int64_t p = (first + done) / at.columns, q = (first + done) % at.columns;
        const int64_t part = min_of(at.columns - q, count - done);
        pieces[found++] = {p * STRIDE * strides.y + q * STRIDE, done, part};
        done += part;
    }
    for (int64_t channel = 0; channel < at.inner; ++channel) {
        for (int64_t i = 0; i < at.r; ++i) {
            for (int64_t j = 0; j < at.s; ++j, packed += NR) {
                const float* from = plane + channel * strides.channel + i * DILATION * strides.y + j * DILATION;
                for (int64_t piece = 0; piece < found; ++piece) {
                    copy_row(packed + pieces[piece].to, from + pieces[piece].from, pieces[piece].count);
                }
                for (int64_t l = count; l < NR; ++l) packed[l] = 0;
            }
        }
    }
}
