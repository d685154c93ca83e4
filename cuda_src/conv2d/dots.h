// The few pixels behind an image's last whole vector: with a vector along pixels most lanes would compute nothing,
// so here vectors lie along the taps, which are neighbours in the weights, and are summed up at the end.
#pragma once
#include "panel.h"
#include "partial.h"

enum : int64_t { MOST_DOTS = 4 };

// Output rows i ... of a group, pixels j ... of an image: `rows` x `columns` of them exist.
struct Tile {
    result* Y;
    int64_t pixels, rows, columns;
    const addend* bias;      // of row 0; null without bias
    const result* residual;  // as Y; null without residual
};

// Floats for the columns of one image: [MOST_DOTS][taps], and room to gather them in.
static inline int64_t dots_floats(int64_t taps) { return DOTS ? 2 * MOST_DOTS * taps : 0; }

// Pixels first ... of an output image as columns[pixel * taps + tap], the taps of some channels.
static void gather_columns(float* columns, const float* plane, const Shape& at, const Strides& strides, int64_t first,
                           Range channels) {
    const int64_t taps = at.taps(), window = at.r * at.s;
    float* rows = columns + MOST_DOTS * taps;
    gather<MOST_DOTS>(rows, plane, at, strides, first, channels);
    for (int64_t j = 0; j < MOST_DOTS; ++j) {
        for (int64_t p = channels.begin * window; p < channels.end * window; ++p) columns[j * taps + p] = rows[p * MOST_DOTS + j];
    }
}

// `at.rows` rows of weights times D columns.
template <int D>
static __attribute__((noinline)) void dots(const float* weights, const float* columns, int64_t taps, const Tile& at) {
    enum : int64_t { ROWS = MR < 4 ? MR : 4 };
    for (int64_t begin = 0; begin < at.rows; begin += ROWS) {
        const int64_t first = min_of(begin, MR - ROWS);  // the last ones overlap those before
        const float* row = weights + first * taps;
        vec sums[ROWS][D] = {};
        auto add = [&](int64_t p, int64_t count) {
            vec column[D];
#pragma GCC unroll 4
            for (int j = 0; j < D; ++j) column[j] = load_part(columns + j * taps + p, count);
#pragma GCC unroll 4
            for (int i = 0; i < ROWS; ++i) {
                const vec weight = load_part(row + i * taps + p, count);
#pragma GCC unroll 4
                for (int j = 0; j < D; ++j) sums[i][j] += weight * column[j];
            }
        };
        int64_t p = 0;
        for (; p + LANES <= taps; p += LANES) add(p, LANES);
        if (p < taps) add(p, taps - p);
        for (int64_t i = 0; i < ROWS && first + i < at.rows; ++i) {
            for (int j = 0; j < D; ++j) {
                float value = sum(sums[i][j]) + (OPT_BIAS ? float(at.bias[first + i]) : 0);
                const int64_t place = (first + i) * at.pixels + j;
                if (OPT_RESIDUAL) value += float(at.residual[place]);
                at.Y[place] = result(activated(value));
            }
        }
    }
}

static void dot_products(const float* weights, const float* columns, int64_t taps, const Tile& at) {
    if (at.columns == 1) dots<1>(weights, columns, taps, at);
    else if (at.columns == 2) dots<2>(weights, columns, taps, at);
    else if (at.columns == 3) dots<3>(weights, columns, taps, at);
    else dots<4>(weights, columns, taps, at);
}
