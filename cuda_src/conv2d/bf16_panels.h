// The matrix product of rungs 18 and 19: weights times a panel of the image's windows, in words of two taps.
// The configuration's macros are defined before this is included, and W_AHEAD as 1 where the weights were packed before
// the call, else 0.
/*[tuner.shared]
[bf16_panels.let]
taps = "group_c * r * s"

[bf16_panels.constraints]
# Sums, a row of pixels and one word of weights; without the instruction the halves of both, and a mask.
registers = "(MR + 1) * vectors + 1 + (0 if has_avx512bf16 else vectors + 2) <= vector_registers"

[bf16_panels.features]
panel_bytes = "taps * NR * 2"
*/
#pragma once
#include "../common/arena.h"
#include "../common/pack.h"
#include "../common/team.h"
#include "bf16_gather.h"
#include "panel_shape.h"

// Output channels of a group x pixels of an image: `rows` x `columns` of them exist.
struct Tile {
    result* Y;
    int64_t pixels, rows, columns;
    const addend* bias;      // of row 0; null without bias
    const result* residual;  // as Y; null without residual
};

template <int V>
static __attribute__((noinline)) void multiply(const float* weights, const float* panel, int64_t words, const Tile& at) {
    vec sums[MR][V];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        const vec addend = OPT_BIAS && i < at.rows ? splat(float(at.bias[i])) : vec{};
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) sums[i][j] = addend;
    }
    // Rows of channels are as many streams as no prefetcher follows.
    for (int64_t i = 0; OPT_RESIDUAL && i < at.rows; ++i) {
        for (int64_t j = 0; j < V * LANES; j += 32) __builtin_prefetch(at.residual + i * at.pixels + j);
    }
#pragma GCC unroll STEPS
    for (int64_t p = 0; p < words; ++p) {
        vec row[V];
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) row[j] = load(panel + p * NR + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            uint32_t word;
            memcpy(&word, weights + p * MR + i, sizeof word);
            const vec weight = in_register(splat_word(word));
#pragma GCC unroll 16
            for (int j = 0; j < V; ++j) sums[i][j] = dot_pairs(weight, row[j], sums[i][j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        if (i >= at.rows) break;
        result* to = at.Y + i * at.pixels;
        const result* more = OPT_RESIDUAL ? at.residual + i * at.pixels : nullptr;
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) {
            // Only the last vector may be cut off.
            const int64_t count = j < V - 1 ? int64_t(LANES) : at.columns - j * LANES;
            vec value = sums[i][j];
            if (OPT_RESIDUAL) value += load_some(more + j * LANES, count);
            store_some(to + j * LANES, finished(value), count);
        }
    }
}

// As many vectors as the columns take, no more: a ragged last panel costs less.
template <int V>
static inline void multiply_some(const float* weights, const float* panel, int64_t words, const Tile& at) {
    if constexpr (V > 1) {
        if (at.columns <= (V - 1) * LANES) return multiply_some<V - 1>(weights, panel, words, at);
    }
    multiply<V>(weights, panel, words, at);
}

struct PanelConvolution {
    const Shape& at;
    const Strides strides;
    const element *W, *image, *behind;  // behind: where what may be read of the image ends
    const addend* bias;
    const result* residual;
    result* Y;
    float* packed;  // [groups * tiles][words][MR]; with W_AHEAD it is read alone

    int64_t pixels() const { return at.rows * at.columns; }
    int64_t words() const { return ceil_div(at.taps(), 2); }
    int64_t panels() const { return ceil_div(pixels(), NR); }  // of one image
    int64_t tiles() const { return ceil_div(at.outer, MR); }   // of one group
    int64_t all_tiles() const { return OPT_GROUPS * tiles(); }

    void pack(int64_t number) const {
        const int64_t group = number / tiles(), tile = number % tiles(), taps = at.taps();
        const int64_t rows = min_of(MR, at.outer - tile * MR);
        const element* from = W + (group * at.outer + tile * MR) * taps;
        float* to = packed + number * words() * MR;
        // An even number of taps: each filter is a row of words.
        if (taps % 2 == 0) return pack_columns<MR>(to, reinterpret_cast<const float*>(from), taps / 2, rows, taps / 2);
        memset(to, 0, size_t(words() * MR) * sizeof(float));
        element* halves = reinterpret_cast<element*>(to);
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t t = 0; t < taps; ++t) halves[(t / 2 * MR + i) * 2 + t % 2] = from[i * taps + t];
        }
    }

    void one(int64_t n, int64_t group, int64_t tile, int64_t pixel, const float* panel) const {
        const int64_t k = group * at.outer + tile * MR, place = (n * at.k + k) * pixels() + pixel;
        const Tile to = {Y + place, pixels(), min_of(MR, at.outer - tile * MR), min_of(NR, pixels() - pixel),
                         OPT_BIAS ? bias + k : nullptr, OPT_RESIDUAL ? residual + place : nullptr};
        multiply_some<NV>(packed + (group * tiles() + tile) * words() * MR, panel, words(), to);
    }

    // `count` panels of a group from number `begin` on, against filters `mine`.
    void multiply_panels(int64_t group, int64_t begin, int64_t count, Range mine, const float* buffer) const {
        auto tile = [&](int64_t i, int64_t j) {
            one((begin + j) / panels(), group, i, (begin + j) % panels() * NR, buffer + j * words() * NR);
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

    // What thread `index` of `team` does, with a buffer of its own for PANELS panels, `size` apart; `copy` is where the
    // image is padded, null where it is read in place.
    void run(const element* X, element* copy, float* buffers, int64_t size, int64_t team, int64_t index) const {
        const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, across = team / down;
        const Range mine = share(tiles(), 1, down, index % down);
        const Range columns = share(at.n * panels(), 1, across, index / down);
        if (copy) pad_planes(copy, X, at, team, index);
        if (!W_AHEAD) {
            const Range part = share(all_tiles(), 1, team, index);
            for (int64_t i = part.begin; i < part.end; ++i) pack(i);
        }
        if (copy || !W_AHEAD) wait_for_team();
        // Threads that need the same panels gather them together.
        const bool together = across == 1 && team > 1;
        const Range part = together ? share(words(), 1, team, index) : Range{0, words()};
        float* buffer = buffers + (together ? 0 : index) * size;
        bool gathered = false;  // ever
        for (int64_t group = 0; group < OPT_GROUPS; ++group) {
            for (int64_t begin = columns.begin; begin < columns.end; begin += PANELS) {
                const int64_t count = min_of(PANELS, columns.end - begin);
                // Nobody writes what others still read.
                if (together && gathered) wait_for_team();
                gathered = true;
                for (int64_t j = 0; j < count; ++j) {
                    const int64_t n = (begin + j) / panels(), first = (begin + j) % panels() * NR;
                    const element* plane = image + n * strides.image + group * at.inner * strides.channel;
                    gather_words<NR>(buffer + j * words() * NR, plane, behind, at, strides, first, part);
                }
                if (together) wait_for_team();
                multiply_panels(group, begin, count, mine, buffer);
            }
        }
    }
};

// `ahead` are all panels of the weights (`pack`); null where they are packed in the call.
static int convolve(const element* X, const element* W, float* ahead, const addend* bias, const result* residual,
                    result* Y, const Shape& at) {
    static thread_local Arena arena;
    PanelConvolution work = {at, Strides(at), W, X, X + at.n * at.c * at.h * at.w, bias, residual, Y, ahead};
    auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
    const int64_t padded = at.n * at.c * at.high() * at.wide() + READ_BEHIND, copy = PADDED ? lines(ceil_div(padded, 2)) : 0;
    const int64_t weights = W_AHEAD ? 0 : lines(work.all_tiles() * work.words() * MR);
    const int64_t buffer = lines(PANELS * work.words() * NR);
    float* memory = arena.reserve(copy + weights + buffer * threads);
    if (!memory) return 1;
    element* fresh = PADDED ? reinterpret_cast<element*>(memory) : nullptr;
    if (PADDED) work.image = fresh, work.behind = fresh + padded;
    if (!W_AHEAD) work.packed = memory + copy;
    float* buffers = memory + copy + weights;
    BY_TEAM
    work.run(X, fresh, buffers, buffer, TEAM_SIZE, TEAM_INDEX);
    return 0;
}
