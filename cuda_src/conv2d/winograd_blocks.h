// Winograd's convolution of rungs 3 and 7: what a thread does with blocks of tiles and of filters.
// The configuration's macros are defined before this is included, and W_AHEAD as 1 where the filters were transformed
// before the call, else 0.
/*[tuner.shared]
[winograd_blocks.parameters]
TILE = { values = [2, 4], doc = "outputs of a tile along each axis; with fewer than 32 channels 4 is computed as 2" }
TILES = { values = [2, 4, 6, 7, 8, 10, 12, 13, 14], doc = "tiles of the register tile" }
BLOCK = { values = [1, 2, 4, 8, 16], doc = "register tiles that are transformed before they are multiplied" }
UNROLL = { values = [1, 2, 4], doc = "channels in the body of the innermost loop" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along tiles" }

[winograd_blocks.let]
# Of one tile of the image, or one filter, transformed.
transformed_bytes = "(TILE + 2) ** 2 * c * 4"

[winograd_blocks.constraints]
# Sums, a row of weights and one element of a tile.
registers = "(TILES + 1) * vectors + 1 <= vector_registers"
# 8 independent sums keep two FMA pipes of latency 4 busy.
latency = "TILES * vectors >= 8"
channels_used = "CHANNELS < 2 * k or CHANNELS * 4 == vector_bytes"
unrolled_body = "UNROLL * TILES * vectors <= 112"
block_used = "BLOCK == 1 or (BLOCK - 1) * TILES < n * ceildiv(p, TILE) * ceildiv(q, TILE)"

[winograd_blocks.features]
tile_area = "TILES * CHANNELS"
filters_bytes = "transformed_bytes * k"
image_bytes = "transformed_bytes * BLOCK * TILES"
*/
#pragma once
#include "../common/arena.h"
#include "../common/team.h"
#include "image.h"
#include "pack.h"
#include "tile.h"
#include "winograd.h"

enum : int64_t { NV = CHANNELS / LANES, TILES_A_BLOCK = BLOCK * TILES };

// sums[i][j] over `depth` channels, added to `to` unless they are the first. With `FETCH` as many of the filters behind
// these are fetched meanwhile: those that were transformed ahead come from beyond L2.
template <bool FETCH>
static __attribute__((noinline)) void multiply(float* to, const float* tiles, int64_t step, const float* filters,
                                               int64_t depth, bool first) {
    vec sums[TILES][NV] = {};
#pragma GCC unroll STEPS
    for (int64_t p = 0; p < depth; ++p, filters += CHANNELS) {
        vec row[NV];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) row[j] = load(filters + j * LANES);
#pragma GCC unroll 16
        for (int j = 0; FETCH && j < CHANNELS; j += 16) __builtin_prefetch(filters + depth * CHANNELS + j);
#pragma GCC unroll 16
        for (int i = 0; i < TILES; ++i) {
            vec value = in_register(splat(tiles[i * step + p]));
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) sums[i][j] += value * row[j];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < TILES; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            float* place = to + i * CHANNELS + j * LANES;
            store(place, first ? sums[i][j] : sums[i][j] + load(place));
        }
    }
}

template <class F>
struct Winograd {
    enum : int64_t { M = F::OUT, N = F::IN, POINTS = N * N };
    const Shape at;
    const element *X, *W;
    result* Y;
    Epilogue epilogue;
    float *image, *filters;  // [c / LANES][n][y][x][LANES] with padding; [blocks of k][POINTS][c][CHANNELS]

    // Whether each thread has filters of its own and all tiles at once: it transforms a block of filters when it
    // needs them, and multiplies with them while they are in its cache.
    bool alone() const { return !W_AHEAD && SPLIT_K == threads && tiles() <= TILES_A_BLOCK; }

    int64_t down() const { return ceil_div(at.rows, M); }     // tiles of an image
    int64_t across() const { return ceil_div(at.columns, M); }
    int64_t tiles() const { return at.n * down() * across(); }
    int64_t high() const { return down() * M + 2; }
    int64_t wide() const { return across() * M + 2; }
    int64_t groups() const { return ceil_div(at.c, LANES); }
    int64_t blocks() const { return ceil_div(at.k, CHANNELS); }
    // A vector more than there are channels: rows a power of two apart would share a set of the cache.
    int64_t row() const { return (groups() + 1) * LANES; }

    int64_t image_size() const { return groups() * at.n * high() * wide() * LANES; }
    int64_t block_size() const { return POINTS * at.c * CHANNELS; }  // of filters
    int64_t filters_size() const { return (alone() ? threads : blocks()) * block_size(); }
    // Of one thread: transformed tiles, products, packed filters.
    int64_t tiles_size() const { return POINTS * TILES_A_BLOCK * row(); }
    int64_t products_size() const { return POINTS * TILES_A_BLOCK * CHANNELS; }
    int64_t packed_size() const { return 9 * at.c * CHANNELS; }
    int64_t own_size() const { return tiles_size() + products_size() + (W_AHEAD ? 0 : packed_size()); }

    // Rows of LANES channels, pixel after pixel, with zeros around them and in channels that do not exist.
    void copy_image(int64_t team, int64_t index) const {
        const Range mine = share(groups() * at.n * high(), 1, team, index);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const int64_t y = i % high() - TOP, n = i / high() % at.n, channel = i / high() / at.n * LANES;
            const int64_t count = min_of(LANES, at.c - channel);
            float* to = image + i * wide() * LANES;
            if (y < 0 || y >= at.h) {
                memset(to, 0, size_t(wide() * LANES) * sizeof(float));
                continue;
            }
            // Tiles over the edge may need fewer columns than there are, or more.
            const int64_t columns = min_of(at.w, wide() - LEFT);
            memset(to, 0, size_t(LEFT * LANES) * sizeof(float));
            memset(to + (LEFT + columns) * LANES, 0, size_t((wide() - LEFT - columns) * LANES) * sizeof(float));
            to += LEFT * LANES;
            if (!OPT_NHWC) {
                pack_columns<LANES>(to, X + ((n * at.c + channel) * at.h + y) * at.w, at.h * at.w, count, columns);
                continue;
            }
            const element* from = X + (n * at.h + y) * at.w * at.c + channel;
            for (int64_t x = 0; x < columns; ++x, to += LANES, from += at.c) {
                if (count == LANES) store(to, load(from));
                else for (int64_t l = 0; l < LANES; ++l) to[l] = l < count ? float(from[l]) : 0;
            }
        }
    }

    void transform_filters(int64_t block, float* packed, float* transformed) const {
        const int64_t taps = 9 * at.c;
        pack_weights<CHANNELS>(packed, W + block * CHANNELS * taps, taps, min_of(CHANNELS, at.k - block * CHANNELS));
        const int64_t channel_step = OPT_NHWC ? 1 : 9, tap_step = OPT_NHWC ? at.c : 1;
        for (int64_t c = 0; c < at.c; ++c) {
            for (int64_t j = 0; j < NV; ++j) {
                vec g[9], half[N * 3], done[POINTS];
                for (int tap = 0; tap < 9; ++tap) {
                    g[tap] = load(packed + (c * channel_step + tap * tap_step) * CHANNELS + j * LANES);
                }
                for (int x = 0; x < 3; ++x) F::filter(half + x, 3, g + x, 3);
                for (int y = 0; y < N; ++y) F::filter(done + y * N, 1, half + y * 3, 1);
                float* to = transformed + c * CHANNELS + j * LANES;
                for (int64_t i = 0; i < POINTS; ++i) store(to + i * at.c * CHANNELS, done[i]);
            }
        }
    }

    // Tiles begin ... begin + count - 1 to [POINTS][TILES_A_BLOCK][channels]; the rest of the block is left as it is.
    void transform_tiles(float* to, int64_t begin, int64_t count) const {
        for (int64_t i = 0; i < count; ++i) {
            const int64_t tile = begin + i, n = tile / (down() * across());
            const int64_t y = tile / across() % down() * M, x = tile % across() * M;
            for (int64_t group = 0; group < groups(); ++group) {
                const float* from = image + (((group * at.n + n) * high() + y) * wide() + x) * LANES;
                vec d[POINTS], half[POINTS], done[POINTS];
                for (int64_t a = 0; a < N; ++a) {
                    for (int64_t b = 0; b < N; ++b) d[a * N + b] = load(from + (a * wide() + b) * LANES);
                }
                for (int b = 0; b < N; ++b) F::image(half + b, N, d + b, N);
                for (int a = 0; a < N; ++a) F::image(done + a * N, 1, half + a * N, 1);
                float* place = to + i * row() + group * LANES;
                for (int64_t p = 0; p < POINTS; ++p) store(place + p * TILES_A_BLOCK * row(), done[p]);
            }
        }
    }

    void finish(const float* products, int64_t block, int64_t begin, int64_t count) const {
        for (int64_t i = 0; i < count; ++i) {
            const int64_t tile = begin + i, n = tile / (down() * across());
            float out[M * M * CHANNELS] __attribute__((aligned(VECTOR_BYTES)));
            for (int64_t j = 0; j < NV; ++j) {
                vec m[POINTS], half[M * N], done[M * M];
                for (int64_t p = 0; p < POINTS; ++p) {
                    m[p] = load(products + (p * TILES_A_BLOCK + i) * CHANNELS + j * LANES);
                }
                for (int b = 0; b < N; ++b) F::result(half + b, N, m + b, N);
                for (int a = 0; a < M; ++a) F::result(done + a * M, 1, half + a * N, 1);
                for (int64_t p = 0; p < M * M; ++p) store(out + p * CHANNELS + j * LANES, done[p]);
            }
            const int64_t k = block * CHANNELS;
            Place place = {at, n, k, min_of(CHANNELS, at.k - k), tile / across() % down() * M, tile % across() * M};
            const int64_t rows = min_of(M, at.rows - place.p), columns = min_of(M, at.columns - place.q);
            for (int64_t a = 0; a < rows; ++a, ++place.p) {
                if (columns == M) {
                    put<M, NV>(out + a * M * CHANNELS, place, Y, epilogue);
                    continue;
                }
                Place one = place;
                for (int64_t b = 0; b < columns; ++b, ++one.q) {
                    put<1, NV>(out + (a * M + b) * CHANNELS, one, Y, epilogue);
                }
            }
        }
    }

    template <class Wait>
    void run(float* own, int64_t team, int64_t index, Wait wait) const {
        const int64_t depth = at.c < 64 ? 16 : 32;  // see the text on its error
        float *transformed = own, *products = own + tiles_size(), *packed = products + products_size();
        const int64_t ways = team % SPLIT_K == 0 ? SPLIT_K : 1;
        const Range channels = share(blocks(), 1, ways, index % ways);
        const Range mine = share(tiles(), 1, team / ways, index / ways);
        const bool later = alone();
        copy_image(team, index);
        const Range part = later || W_AHEAD ? Range{0, 0} : share(blocks(), 1, team, index);
        for (int64_t block = part.begin; block < part.end; ++block) {
            transform_filters(block, packed, filters + block * block_size());
        }
        wait();
        for (int64_t begin = mine.begin; begin < mine.end; begin += TILES_A_BLOCK) {
            const int64_t count = min_of(TILES_A_BLOCK, mine.end - begin);
            transform_tiles(transformed, begin, count);
            for (int64_t block = channels.begin; block < channels.end; ++block) {
                float* used = filters + (later ? index : block) * block_size();
                if (later) transform_filters(block, packed, used);
                for (int64_t p = 0; p < POINTS; ++p) {
                    const float* u = used + p * at.c * CHANNELS;
                    const float* v = transformed + p * TILES_A_BLOCK * row();
                    float* m = products + p * TILES_A_BLOCK * CHANNELS;
                    for (int64_t c = 0; c < at.c; c += depth) {
                        for (int64_t i = 0; i < count; i += TILES) {
                            const auto product = W_AHEAD && i == 0 ? multiply<true> : multiply<false>;
                            product(m + i * CHANNELS, v + i * row() + c, row(), u + c * CHANNELS,
                                    min_of(depth, at.c - c), c == 0);
                        }
                    }
                }
                finish(products, block, begin, count);
            }
        }
    }
};

template <class F>
static int compute(const Shape& at, const element* X, const element* W, float* ahead, const Epilogue& epilogue,
                   result* Y) {
    static thread_local Arena arena;
    auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
    Winograd<F> work = {at, X, W, Y, epilogue, nullptr, nullptr};
    const int64_t image = lines(work.image_size()), filters = W_AHEAD ? 0 : lines(work.filters_size());
    const int64_t own = lines(work.own_size());
    float* memory = arena.reserve(image + filters + own * threads);
    if (!memory) return 1;
    work.image = memory;
    work.filters = W_AHEAD ? ahead : memory + image;
    float* rest = memory + image + filters;
    BY_TEAM
    work.run(rest + TEAM_INDEX * own, TEAM_SIZE, TEAM_INDEX, [] { wait_for_team(); });
    return 0;
}

// `ahead` are all filters transformed (`lay_out`); null where they are transformed in the call.
static int convolve(const element* X, const element* W, float* ahead, const addend* bias, const result* residual,
                    result* Y, const Shape& at) {
    const Epilogue epilogue = {bias, nullptr, nullptr, residual};
    if (TILE == 4 && at.c >= 32) return compute<F4>(at, X, W, ahead, epilogue, Y);
    return compute<F2>(at, X, W, ahead, epilogue, Y);
}
