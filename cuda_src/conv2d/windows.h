// The matrix product of rungs 2 and 6: weights times a panel of the image's windows.
// The configuration's macros are defined before this is included, and W_AHEAD as 1 where the weights were packed before
// the call, else 0.
/*[tuner.shared]
[windows.constraints]
# Sums, a row of pixels and one weight.
registers = "(MR + 1) * vectors + 1 <= vector_registers"
# Halves are converted when they are packed.
converted = "element_bytes == 4 or PACK_W"

[windows.features]
panel_bytes = "group_c * r * s * NR * 4"
*/
#pragma once
#include "../common/arena.h"
#include "../common/team.h"
#include "dots.h"
#include "image.h"
#include "pack.h"
#include "panel.h"
#include "panel_shape.h"

template <int V>
static __attribute__((noinline)) void multiply(const float* weights, int64_t stride, const float* panel,
                                               int64_t panel_stride, int64_t taps, const Tile& at) {
    vec sums[MR][V] = {};
    // Rows of channels are as many streams as no prefetcher follows.
    for (int64_t i = 0; OPT_RESIDUAL && i < at.rows; ++i) {
        for (int64_t j = 0; j < V * LANES; j += 16) __builtin_prefetch(at.residual + i * at.pixels + j);
    }
#pragma GCC unroll STEPS
    for (int64_t p = 0; p < taps; ++p) {
        vec row[V];
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) row[j] = load(panel + p * panel_stride + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            vec value = in_register(splat(PACK_W ? weights[p * MR + i] : weights[i * stride + p]));
#pragma GCC unroll 16
            for (int j = 0; j < V; ++j) sums[i][j] += value * row[j];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        if (i >= at.rows) break;
        result* to = at.Y + i * at.pixels;
        const result* more = OPT_RESIDUAL ? at.residual + i * at.pixels : nullptr;
        const vec addend = OPT_BIAS ? splat(float(at.bias[i])) : vec{};
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) {
            if (OPT_BIAS) sums[i][j] += addend;
            // Only the last vector may be cut off.
            if (OPT_RESIDUAL) sums[i][j] += j < V - 1 ? load(more + j * LANES) : load_part(more + j * LANES, at.columns - j * LANES);
            sums[i][j] = activated(sums[i][j]);
        }
#pragma GCC unroll 16
        for (int j = 0; j < V - 1; ++j) store(to + j * LANES, sums[i][j]);
        store_part(to + (V - 1) * LANES, sums[i][V - 1], at.columns - (V - 1) * LANES);
    }
}

// As many vectors as the columns take, no more: a ragged last panel costs less.
template <int V>
static inline void multiply_some(const float* weights, int64_t stride, const float* panel, int64_t panel_stride,
                                 int64_t taps, const Tile& at) {
    if constexpr (V > 1) {
        if (at.columns <= (V - 1) * LANES) {
            return multiply_some<V - 1>(weights, stride, panel, panel_stride, taps, at);
        }
    }
    multiply<V>(weights, stride, panel, panel_stride, taps, at);
}

struct Convolution {
    const Shape at;
    const Strides strides;
    const element* W;
    const addend* bias;
    const result* residual;
    const float* image;
    result* Y;
    float *packed, *edge;  // of the weights: all panels, or the ragged last one of each group
    bool direct;               // the image is the matrix

    int64_t pixels() const { return at.rows * at.columns; }
    // Pixels of an image that are dot products.
    int64_t rest() const {
        const int64_t behind = pixels() % LANES;
        return DOTS && behind <= MOST_DOTS && behind < pixels() ? behind : 0;
    }
    int64_t panels() const { return ceil_div(pixels() - rest(), NR); }  // of one image
    int64_t tiles() const { return ceil_div(at.outer, MR); }   // of one group

    void pack(int64_t group, int64_t tile) const {
        const int64_t rows = min_of(MR, at.outer - tile * MR), taps = at.taps();
        const element* from = W + (group * at.outer + tile * MR) * taps;
        if (PACK_W) {
            pack_columns<MR>(packed + (group * tiles() + tile) * taps * MR, from, taps, rows, taps);
        } else if (rows < MR) {
            float* to = edge + group * taps * MR;
            memcpy(to, from, size_t(rows * taps) * sizeof(float));
            memset(to + rows * taps, 0, size_t((MR - rows) * taps) * sizeof(float));
        }
    }

    // Weights where they lie.
    const float* in_rows(int64_t place) const {
        static_assert(PACK_W || sizeof(element) == sizeof(float), "halves are converted when they are packed");
        return reinterpret_cast<const float*>(W + place);
    }

    // `columns`: the pixels behind the last panel, for dot products.
    void one(int64_t n, int64_t group, int64_t tile, int64_t j, const float* panel, int64_t panel_stride,
             const float* columns) const {
        const int64_t taps = at.taps(), k = group * at.outer + tile * MR, whole = pixels() - rest();
        const int64_t place = (n * at.k + k) * pixels() + j;
        Tile to = {Y + place, pixels(), min_of(MR, at.outer - tile * MR), min_of(NR, whole - j),
                   OPT_BIAS ? bias + k : nullptr, OPT_RESIDUAL ? residual + place : nullptr};
        const float* weights = PACK_W ? packed + (group * tiles() + tile) * taps * MR
                               : to.rows < MR ? edge + group * taps * MR : in_rows(k * taps);
        multiply_some<NV>(weights, taps, panel, panel_stride, taps, to);
        if (rest() && j + NR >= whole) {
            to.Y += whole - j;
            to.residual += OPT_RESIDUAL ? whole - j : 0;
            to.columns = rest();
            dot_products(weights, columns, taps, to);
        }
    }

    // What thread `index` of `team` does, with a buffer of its own for PANELS panels, `size` apart.
    template <class Wait>
    void run(const element* X, float* copy, float* buffers, int64_t size, int64_t team, int64_t index, Wait wait) const {
        const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, across = team / down;
        const Range mine = share(tiles(), 1, down, index % down);
        const Range columns = share(at.n * panels(), 1, across, index / down);
        if (!IN_PLACE) pad_image(copy, X, at, team, index);
        const bool packs = !W_AHEAD && (PACK_W || at.outer % MR);
        if (packs) {
            const Range part = share(OPT_GROUPS * tiles(), 1, team, index);
            for (int64_t i = part.begin; i < part.end; ++i) pack(i / tiles(), i % tiles());
        }
        if (!IN_PLACE || packs) wait();
        // Threads that need the same panels gather them together.
        const bool together = across == 1 && team > 1;
        const Range channels = together ? share(at.inner, 1, team, index) : Range{0, at.inner};
        float* buffer = buffers + (together ? 0 : index) * size;
        bool gathered = false;  // ever
        for (int64_t group = 0; group < OPT_GROUPS; ++group) {
            for (int64_t begin = columns.begin; begin < columns.end; begin += PANELS) {
                const int64_t count = min_of(PANELS, columns.end - begin);
                const float *panel[PANELS], *columns_behind[PANELS];
                int64_t stride[PANELS];
                // Nobody writes what others still read: not even where panels between were read in place.
                if (together && gathered) wait();
                for (int64_t j = 0; j < count; ++j) {
                    const int64_t n = (begin + j) / panels(), first = (begin + j) % panels() * NR;
                    const float* plane = image + n * strides.image + group * at.inner * strides.channel;
                    const bool whole = first + NR <= pixels() || rest();  // only whole vectors are read
                    stride[j] = direct && whole ? pixels() : NR;
                    panel[j] = direct && whole ? plane + first : buffer + j * at.taps() * NR;
                    if (!(direct && whole)) {
                        gather<NR>(buffer + j * at.taps() * NR, plane, at, strides, first, channels);
                        gathered = true;
                    }
                    float* dots = buffer + PANELS * at.taps() * NR + LANES + j * dots_floats(at.taps());
                    columns_behind[j] = dots;
                    if (rest() && first + NR >= pixels() - rest()) {
                        gather_columns(dots, plane, at, strides, pixels() - rest(), channels);
                        gathered = true;
                    }
                }
                if (together && gathered) wait();
                auto tile = [&](int64_t i, int64_t j) {
                    one((begin + j) / panels(), group, i, (begin + j) % panels() * NR, panel[j], stride[j],
                        columns_behind[j]);
                };
                if (M_INSIDE) {
                    for (int64_t j = 0; j < count; ++j) {
                        for (int64_t i = mine.begin; i < mine.end; ++i) tile(i, j);
                    }
                } else {
                    for (int64_t i = mine.begin; i < mine.end; ++i) {
                        for (int64_t j = 0; j < count; ++j) tile(i, j);
                    }
                }
            }
        }
    }
};

// `ahead` are all panels of the weights (`pack`); null where they are packed in the call.
static int convolve(const element* X, const element* W, float* ahead, const addend* bias, const result* residual,
                    result* Y, const Shape& at) {
    static thread_local Arena arena;
    const Strides strides(at);
    auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
    const int64_t taps = at.taps(), copy = lines(at.padded() + READ_BEHIND), tiles = ceil_div(at.outer, MR);
    const int64_t weights = W_AHEAD ? 0 : lines((PACK_W ? OPT_GROUPS * tiles : OPT_GROUPS) * MR * taps);
    const int64_t buffer = lines(PANELS * (taps * NR + dots_floats(taps)) + LANES);
    float* memory = arena.reserve(copy + weights + buffer * threads);
    if (!memory) return 1;
    const bool direct = at.r == 1 && at.s == 1 && OPT_STRIDE == 1 && !PADDED;
    float* packed = W_AHEAD ? ahead : memory + copy;
    const Convolution work = {at, strides, W, bias, residual, image_of(X, memory), Y, packed, packed, direct};
    float* buffers = memory + copy + weights;
    BY_TEAM
    work.run(X, memory, buffers, buffer, TEAM_SIZE, TEAM_INDEX, [] { wait_for_team(); });
    return 0;
}
