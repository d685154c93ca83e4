// The register tile of pixels x vectors of output channels, and its way to Y.
/*[tuner.shared]
# A register tile of vectors of output channels.
[channel_tiles.parameters]
CHANNELS = { values = [4, 8, 16, 24, 32, 48, 64], doc = "output channels of the register tile, whole vectors" }

[channel_tiles.let]
vectors = "CHANNELS * 4 // vector_bytes"

[channel_tiles.constraints]
whole_vectors = "CHANNELS * 4 % vector_bytes == 0"
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * CHANNELS < 2 * k)"
*/
#pragma once
#include "../common/pack.h"
#include "image.h"

// Where the pixels of a tile lie in the output; as many channels as are left, at most a tile's.
struct Place {
    const Shape& at;
    int64_t n, k, channels, p, q;

    // Element i of channel 0 of the tile; further pixels and channels at the strides.
    int64_t first() const {
        const int64_t pixel = (n * at.rows + p) * at.columns + q;
        return OPT_NHWC ? pixel * at.k + k : (n * at.k + k) * at.rows * at.columns + p * at.columns + q;
    }
    int64_t pixel_stride() const { return OPT_NHWC ? at.k : 1; }
    int64_t channel_stride() const { return OPT_NHWC ? 1 : at.rows * at.columns; }
};

// Brings what is added to a tile near, while the tile is computed.
template <int M>
static inline void fetch_ahead(const result* from, const Place& place) {
    const int64_t pixel = place.pixel_stride(), channel = place.channel_stride();
    constexpr int64_t LINE = 64 / sizeof(result);
    if (OPT_NHWC) {
        for (int i = 0; i < M; ++i) {
            for (int64_t j = 0; j < place.channels; j += LINE) __builtin_prefetch(from + i * pixel + j);
        }
        return;
    }
    for (int64_t j = 0; j < place.channels; ++j) {
        __builtin_prefetch(from + j * channel);
        __builtin_prefetch(from + j * channel + M - 1);  // a piece of a row may lie in two lines
    }
}

#if !defined(DTYPE_INT8)
// What is added to a tile, of Y's layout, as [M][N]; zeros for channels that do not exist.
template <int M, int N>
static inline void fetch(float* tile, const result* from, const Place& place) {
    const int64_t pixel = place.pixel_stride(), channel = place.channel_stride();
    if (place.channels < N) memset(tile, 0, sizeof(float) * M * N);
    if (OPT_NHWC) {
        for (int i = 0; i < M; ++i) convert(tile + i * N, from + i * pixel, place.channels);
        return;
    }
    const int64_t whole = M >= 4 ? place.channels & ~3 : 0;
    for (int64_t j = 0; j < whole; j += 4) {
#pragma GCC unroll 4
        for (int step = 0; step < M; step += 4) {
            const int i = step < M - 4 ? step : M - 4;  // as in `put`
            transpose4(tile + i * N + j, N, from + j * channel + i, channel);
        }
    }
    for (int64_t j = whole; j < place.channels; ++j) {
        for (int i = 0; i < M; ++i) tile[i * N + j] = from[i * pixel + j * channel];
    }
}
#endif

// Finished sums [M][V * LANES] to Y, with the epilogue.
template <int M, int V>
static inline void put(const accumulator* sums, const Place& place, result* Y, const Epilogue& epilogue) {
    constexpr int N = V * LANES;
    const int64_t pixel = place.pixel_stride(), channel = place.channel_stride();
    result* to = Y + place.first();
#if !defined(DTYPE_INT8)
    float done[M * N] __attribute__((aligned(VECTOR_BYTES)));
    float more[OPT_RESIDUAL ? M * N : 1] __attribute__((aligned(VECTOR_BYTES)));
    if (OPT_RESIDUAL) fetch<M, N>(more, epilogue.residual + place.first(), place);
    for (int j = 0; j < V; ++j) {
        vec addend = {};
        if (OPT_BIAS) {
            if (place.channels == N) addend = load(epilogue.bias + place.k + j * LANES);
            else for (int l = 0; l < LANES; ++l) addend[l] = j * LANES + l < place.channels ? float(epilogue.bias[place.k + j * LANES + l]) : 0;
        }
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
            vec value = load(sums + i * N + j * LANES);
            if (OPT_BIAS) value += addend;
            if (OPT_RESIDUAL) value += load(more + i * N + j * LANES);
            value = activated(value);
            if (OPT_NHWC && place.channels == N) store(to + i * pixel + j * LANES, value);
            else store(done + i * N + j * LANES, value);
        }
    }
    if (OPT_NHWC && place.channels == N) return;
    int64_t whole = 0;
    if (!OPT_NHWC && M >= 4) {
        whole = place.channels & ~3;
        for (int64_t j = 0; j < whole; j += 4) {
#pragma GCC unroll 4
            for (int step = 0; step < M; step += 4) {
                const int i = step < M - 4 ? step : M - 4;  // the last four overlap those before
                transpose4(to + j * channel + i, channel, done + i * N + j, N);
            }
        }
    }
    for (int64_t j = whole; j < place.channels; ++j) {
        for (int i = 0; i < M; ++i) to[i * pixel + j * channel] = result(done[i * N + j]);
    }
#else
    for (int64_t j = 0; j < place.channels; ++j) {
        for (int i = 0; i < M; ++i) {
            const int64_t at = i * pixel + j * channel;
            to[at] = epilogue(sums[i * N + j], place.k + j, place.first() + at);
        }
    }
#endif
}

enum { STEPS = UNROLL };  // a pragma expands no macro

// sums[i][j] += x[i * step + offsets[p]] * weights[p][j], over p.
template <int M, int V>
static inline __attribute__((always_inline)) void accumulate(vec (&sums)[M][V], const float* x, int64_t step,
                                                             const int32_t* offsets, const float* weights,
                                                             int64_t taps) {
#pragma GCC unroll STEPS
    for (int64_t p = 0; p < taps; ++p, weights += V * LANES) {
        const float* pixel = x + offsets[p];
        vec row[V];
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) row[j] = load(weights + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
            vec value = in_register(splat(pixel[i * step]));
#pragma GCC unroll 16
            for (int j = 0; j < V; ++j) sums[i][j] += value * row[j];
        }
    }
}

// One tile: M pixels, whose windows begin at x and `step` elements apart, times V vectors of channels.
template <int M, int V>
static __attribute__((noinline)) void direct_tile(const float* x, int64_t step, const int32_t* offsets,
                                                  const float* weights, int64_t taps, const Place& place,
                                                  result* Y, const Epilogue& epilogue) {
    accumulator sums[M * V * LANES] __attribute__((aligned(VECTOR_BYTES)));
    if (!OPT_NHWC) step = OPT_STRIDE;
#if defined(DTYPE_INT8)
    for (accumulator& sum : sums) sum = 0;
    // 1024 products of at most 2^14 are an integer of at most 2^24, which f32 holds exactly.
    for (int64_t begin = 0; begin < taps; begin += 1024) {
        vec part[M][V] = {};
        accumulate<M, V>(part, x, step, offsets + begin, weights + begin * V * LANES, min_of(1024, taps - begin));
        for (int i = 0; i < M; ++i) {
            for (int j = 0; j < V; ++j) {
                for (int l = 0; l < LANES; ++l) sums[(i * V + j) * LANES + l] += int32_t(part[i][j][l]);
            }
        }
    }
#else
    vec part[M][V] = {};
    if (OPT_RESIDUAL) fetch_ahead<M>(epilogue.residual + place.first(), place);
    accumulate<M, V>(part, x, step, offsets, weights, taps);
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < V; ++j) store(sums + (i * V + j) * LANES, part[i][j]);
    }
#endif
    put<M, V>(sums, place, Y, epilogue);
}
