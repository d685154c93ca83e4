// The matrix product of rung 13: weights packed ahead times panels of the image's windows, a slice of the depth at a time.
// The configuration's macros are defined before this is included.
/*[tuner.shared]
[blocked.parameters]
MR = { values = [8, 4, 6, 12, 14], doc = "output channels of the register tile" }
VECTORS = { values = [3, 1, 2, 4], doc = "vectors of pixels of the register tile" }
ODD = { values = [true, false], doc = "pixels that are left over belong to the first panels, one to each" }
KC = { values = [256, 128, 512, 0], doc = "taps of a slice of the depth, which is added up for all tiles before the next; 0: all" }
INNER = { values = ["m", "n"], doc = "innermost loop over tiles: m keeps a panel of pixels in L1, n one of weights" }
UNROLL = { values = [2, 1, 4], doc = "products in the body of the innermost loop" }
COPY = { values = [true, false], doc = "copy panels to where they are aligned, even those that could be read in place" }
FETCH_W = { values = [32, 64, 0], doc = "cache lines by which weights are fetched before they are read; 0: not" }
FETCH_NEXT = { values = [true, false], doc = "fetch what comes next meanwhile: the next panel of pixels, or of weights where those stay" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }

[blocked.let]
lanes = "vector_bytes // 4"
in_registers = "(MR + 1) * VECTORS + 1"
panel_pixels = "VECTORS * lanes"
left_over = "p * q % panel_pixels"
one_row = "r * s == 1 and top + left + bottom + right == 0 and stride == 1"

[blocked.constraints]
# Sums, a row of pixels, one weight, and the sums of the pixel left over.
registers = "in_registers + (1 if ODD else 0) <= vector_registers"
# Few channels or pixels have to do with fewer.
registers_used = "4 * in_registers >= 3 * vector_registers or MR * 2 > k or panel_pixels * 2 > p * q"
channels_used = "MR < 2 * k or MR == 4"
pixels_used = "(VECTORS - 1) * lanes < p * q"
odd_pixels = "not ODD or MR <= lanes and 1 <= left_over <= p * q // panel_pixels"
slices = "KC == 0 or KC < c * r * s"
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * MR < 2 * k)"
panels_in_order = "INNER == 'm' or p * q > panel_pixels"
in_place = "COPY or one_row"

[blocked.features]
tile_area = "MR * VECTORS"
slice_bytes = "(KC if KC else c * r * s) * panel_pixels * 4"
*/
#pragma once
#include "../common/arena.h"
#include "../common/team.h"
#include "../common/text.h"
#include "image.h"
#include "pack.h"
#include "panel.h"

// Pixels of a panel; steps between which something is fetched.
enum : int64_t { NV = VECTORS, NR = NV * LANES, CHUNK = 8 };
static constexpr bool M_INSIDE = TEXT(INNER)[0] == 'm';

// A step of weights as one vector: the smallest that holds MR of them.
enum { COLUMN_BYTES = MR <= 4 ? 16 : MR <= 8 && VECTOR_BYTES >= 32 ? 32 : VECTOR_BYTES };
typedef float column __attribute__((vector_size(COLUMN_BYTES)));
typedef float column_unaligned __attribute__((vector_size(COLUMN_BYTES), aligned(4), may_alias));

struct Tile {
    float* Y;
    int64_t pixels, rows, columns;
    const float *bias, *residual;  // of row 0; null without
    bool first, last;              // of the slices of the depth
};

// A panel of pixels: a row of vectors for each step, `stride` apart, and the pixel behind them.
struct Panel {
    const float *x, *odd;
    int64_t stride, odd_stride;
};

// What is fetched while a tile is computed: rows of four cache lines each, and the tile of Y that is so far behind.
struct Next {
    const float* first;
    int64_t stride, rows, tile;
};

static inline void fetch_to_write(const float* p) {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*p));  // GCC takes it for an extension and reads instead
#else
    __builtin_prefetch(p, 1);
#endif
}

// sums[i][j] += w[i] * x[j], and the same for the odd pixel with a vector along i.
template <int V, int E>
static inline __attribute__((always_inline)) void step(vec (&sums)[MR][V], column& odd, const float* w, const float* x,
                                                       const float* behind) {
    vec row[V];
#pragma GCC unroll 16
    for (int j = 0; j < V; ++j) row[j] = load(x + j * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        const vec value = in_register(splat(w[i]));
#pragma GCC unroll 16
        // Kept where it is: else the compiler adds to another register and moves it back.
        for (int j = 0; j < V; ++j) sums[i][j] = in_register(sums[i][j] + value * row[j]);
    }
    if (E) odd += *reinterpret_cast<const column_unaligned*>(w) * (*behind - column{});
}

// Row i of the next tile in Y, and of what is added to it.
template <int V>
static inline void fetch_row(const Tile& at, int64_t i, int64_t next) {
    const float* to = at.Y + next + i * at.pixels;
#pragma GCC unroll 16
    for (int j = 0; j < V * LANES; j += 16) fetch_to_write(to + j);
    fetch_to_write(to + at.columns - 1);
    if (!OPT_RESIDUAL || !at.last) return;
    const float* more = at.residual + next + i * at.pixels;
#pragma GCC unroll 16
    for (int j = 0; j < V * LANES; j += 16) __builtin_prefetch(more + j);
    __builtin_prefetch(more + at.columns - 1);
}

enum { STEPS = UNROLL };  // a pragma expands no macro

// All products of a tile: MR rows of weights times V vectors of pixels, and E pixels behind them.
template <int V, int E>
static inline __attribute__((always_inline)) void add_up(vec (&sums)[MR][V], column& odd, const float* w,
                                                         const Panel& panel, int64_t depth, const Tile& at, Next next) {
    const float *x = panel.x, *behind = panel.odd;
    const int64_t stride = panel.stride, odd_stride = panel.odd_stride, chunks = depth / CHUNK;
    const int64_t each = ceil_div(next.rows, max_of(1, chunks));
    int64_t row = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        if (row < at.rows) fetch_row<V>(at, row++, next.tile);
        for (int64_t r = 0; FETCH_NEXT && r < each && next.rows > 0; ++r, --next.rows, next.first += next.stride) {
#pragma GCC unroll 4
            for (int line = 0; line < 4; ++line) __builtin_prefetch(next.first + line * 16);
        }
#pragma GCC unroll 16
        for (int line = 0; FETCH_W && line < int(CHUNK * MR + 15) / 16; ++line) {
            __builtin_prefetch(w + (FETCH_W + line) * 16);
        }
        for (int u = 0; u < CHUNK; u += UNROLL) {
#pragma GCC unroll STEPS
            for (int v = 0; v < UNROLL; ++v) step<V, E>(sums, odd, w + v * MR, x + v * stride, behind + v * odd_stride);
            w += UNROLL * MR;
            x += UNROLL * stride;
            behind += UNROLL * odd_stride;
        }
    }
    for (int64_t p = chunks * CHUNK; p < depth; ++p, w += MR, x += stride, behind += odd_stride) {
        step<V, E>(sums, odd, w, x, behind);
    }
}

template <int V, int E>
static __attribute__((noinline)) void multiply(const float* w, const Panel& panel, int64_t depth, const Tile& at,
                                               const Next& next) {
    vec sums[MR][V] = {};
    column odd = {};
    add_up<V, E>(sums, odd, w, panel, depth, at, next);
    float last[LANES];
    if (E) *reinterpret_cast<column_unaligned*>(last) = odd;
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        if (i >= at.rows) break;
        float* to = at.Y + i * at.pixels;
        const float* more = OPT_RESIDUAL ? at.residual + i * at.pixels : nullptr;
        const float addend = OPT_BIAS && at.last ? at.bias[i] : 0.0f;
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) {
            const int64_t count = E || j < V - 1 ? LANES : min_of(LANES, at.columns - j * LANES);
            vec value = sums[i][j];
            if (!at.first) value += load_part(to + j * LANES, count);
            if (at.last) {
                if (OPT_BIAS) value += splat(addend);
                if (OPT_RESIDUAL) value += load_part(more + j * LANES, count);
                value = activated(value);
            }
            store_part(to + j * LANES, value, count);
        }
        if (E) {
            float value = last[i];
            if (!at.first) value += to[V * LANES];
            if (at.last) {
                if (OPT_BIAS) value += addend;
                if (OPT_RESIDUAL) value += more[V * LANES];
                value = activated(value);
            }
            to[V * LANES] = value;
        }
    }
}

// As many vectors as the columns take, no more.
template <int V>
static inline void multiply_some(const float* w, const Panel& panel, int64_t depth, const Tile& at, const Next& next) {
    if constexpr (V > 1) {
        if (at.columns <= (V - 1) * LANES) return multiply_some<V - 1>(w, panel, depth, at, next);
    }
    multiply<V, 0>(w, panel, depth, at, next);
}

struct Convolution {
    const Shape at;
    const Strides strides;
    const float *bias, *residual, *X;  // X: or its padded copy
    float *Y, *packed;                 // packed: [slices][tiles][depth of the slice][MR]

    int64_t pixels() const { return at.rows * at.columns; }
    // Panels with one pixel more than their vectors hold, so that none is left over.
    int64_t odd() const {
        const int64_t whole = pixels() / NR, left = pixels() % NR;
        return ODD && left <= whole ? left : 0;
    }
    int64_t panels() const { return ceil_div(pixels() - odd(), NR); }  // of one image
    int64_t tiles() const { return ceil_div(at.outer, MR); }
    // Taps of a slice: those of whole channels.
    int64_t slice() const {
        const int64_t window = at.r * at.s;
        return KC ? min_of(max_of(1, KC / window), at.inner) * window : at.taps();
    }
    Range slice(int64_t begin) const { return {begin, min_of(begin + slice(), at.taps())}; }
    float* weights(int64_t tile, Range depth) const {
        return packed + depth.begin * tiles() * MR + tile * depth.size() * MR;
    }

    void pack(const float* W) const {
        const int64_t taps = at.taps();
        for (int64_t begin = 0; begin < taps; begin += slice()) {
            for (int64_t i = 0; i < tiles(); ++i) {
                const float* from = W + i * MR * taps + begin;
                pack_columns<MR>(weights(i, slice(begin)), from, taps, min_of(MR, at.outer - i * MR), slice(begin).size());
            }
        }
    }

    // Pixels of an image that are a panel.
    struct Place {
        int64_t n, first, columns;
    };
    Place place(int64_t index) const {
        const int64_t n = index / panels(), j = index % panels(), first = j * NR + min_of(j, odd());
        return {n, first, min_of(NR + (j < odd()), pixels() - first)};
    }
    bool flat() const { return OPT_STRIDE == 1 && at.r * at.s == 1 && !PADDED; }  // the image is the matrix
    bool in_place(const Place& place) const { return flat() && !COPY && place.columns >= NR; }
    const float* source(const Place& place, int64_t channel) const {
        return X + place.n * strides.image + place.first + channel * strides.channel;
    }

    // Floats of a copied panel of so many taps.
    static int64_t size(int64_t depth) { return ceil_div(depth * (NR + 1) + READ_BEHIND, 16) * 16; }

    // [taps][NR], and behind that the odd pixel's taps.
    void copy(float* to, const Place& place, Range depth) const {
        float* behind = to + depth.size() * NR;
        const int64_t count = min_of(NR, place.columns), window = at.r * at.s;
        if (flat()) {
            const float* from = source(place, depth.begin);
            for (int64_t p = 0; p < depth.size(); ++p, from += strides.channel) {
#pragma GCC unroll 4
                for (int j = 0; j < NV; ++j) store(to + p * NR + j * LANES, load_part(from + j * LANES, count - j * LANES));
                behind[p] = from[place.columns - 1];
            }
            return;
        }
        const float* plane = X + place.n * strides.image;
        const Range channels = {depth.begin / window, depth.end / window};
        gather<NR>(to - depth.begin * NR, plane, at, strides, place.first, channels);
        if (place.columns <= NR) return;
        const int64_t pixel = place.first + NR, y = pixel / at.columns * OPT_STRIDE, x = pixel % at.columns * OPT_STRIDE;
        for (int64_t channel = channels.begin; channel < channels.end; ++channel) {
            for (int64_t i = 0; i < at.r; ++i) {
                const float* row = plane + channel * strides.channel + (y + i * OPT_DILATION) * strides.y + x;
                for (int64_t j = 0; j < at.s; ++j) *behind++ = row[j * OPT_DILATION];
            }
        }
    }
    Panel panel(const Place& place, Range depth, const float* copied) const {
        if (!in_place(place)) return {copied, copied + depth.size() * NR, NR, 1};
        const float* x = source(place, depth.begin);
        return {x, x + NR, strides.channel, place.columns > NR ? strides.channel : 0};
    }

    void one(int64_t tile, const Place& where, const Panel& panel, Range depth, const Next& next) const {
        const int64_t k = tile * MR, place = (where.n * at.k + k) * pixels() + where.first;
        const Tile to = {Y + place, pixels(), min_of(MR, at.outer - k), where.columns,
                         OPT_BIAS ? bias + k : nullptr, OPT_RESIDUAL ? residual + place : nullptr,
                         depth.begin == 0, depth.end == at.taps()};
        const float* w = weights(tile, depth);
        if (where.columns > NR) multiply<NV, ODD>(w, panel, depth.size(), to, next);
        else multiply_some<NV>(w, panel, depth.size(), to, next);
    }

    // A slice of a panel stays in L1, weights stream past it; meanwhile the next slice's pixels are fetched.
    void filters_inside(float* buffer, Range mine, Range columns) const {
        for (int64_t j = columns.begin; j < columns.end; ++j) {
            for (int64_t begin = 0; begin < at.taps(); begin += slice()) {
                const Range depth = slice(begin);
                const Place now = place(j);
                if (!in_place(now)) copy(buffer, now, depth);
                Place other = now;
                Range then = slice(depth.end);
                if (!then.size() && j + 1 < columns.end) other = place(j + 1), then = slice(0);
                for (int64_t i = mine.begin; i < mine.end; ++i) {
                    Range part = {0, 0};
                    if (flat()) part = share(then.size(), 1, mine.size(), i - mine.begin);
                    // Behind the last filters the first ones of the next panel.
                    const int64_t tile = i + 1 < mine.end ? MR * pixels() : NR - (mine.size() - 1) * MR * pixels();
                    const Next next = {source(other, then.begin + part.begin), strides.channel, part.size(), tile};
                    one(i, now, panel(now, depth, buffer), depth, next);
                }
            }
        }
    }

    // A panel of weights stays in L1, pixels stream past it; meanwhile the next panel of weights is fetched.
    void pixels_inside(float* buffer, Range mine, Range columns) const {
        const int64_t each = size(slice());
        for (int64_t begin = 0; begin < at.taps(); begin += slice()) {
            const Range depth = slice(begin);
            for (int64_t j = columns.begin; j < columns.end; ++j) {
                if (!in_place(place(j))) copy(buffer + (j - columns.begin) * each, place(j), depth);
            }
            for (int64_t i = mine.begin; i < mine.end; ++i) {
                const int64_t rows = i + 1 < mine.end ? depth.size() * MR / 64 : 0;
                for (int64_t j = columns.begin; j < columns.end; ++j) {
                    const Range part = share(rows, 1, columns.size(), j - columns.begin);
                    const Next next = {weights(i + 1, depth) + part.begin * 64, 64, part.size(), NR};
                    const float* copied = buffer + (j - columns.begin) * each;
                    one(i, place(j), panel(place(j), depth, copied), depth, next);
                }
            }
        }
    }

    // What thread `index` of `team` does, with a buffer of its own.
    void run(float* buffer, int64_t team, int64_t index) const {
        const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, across = team / down;
        const Range mine = share(tiles(), 1, down, index % down);
        const Range columns = share(at.n * panels(), 1, across, index / down);
        if (M_INSIDE) filters_inside(buffer, mine, columns);
        else pixels_inside(buffer, mine, columns);
    }
};
