// The register tiles of the two products. A vector of the scores holds one key and neighbouring queries, so the
// softmax over keys runs from vector to vector, with no work across lanes, and keys are read as they lie.
#pragma once
#include "../common/exp2.h"
#include "operands.h"

enum : int64_t { QV = QUERIES / LANES, CV = COLUMNS / LANES };

// Scores of M keys and QUERIES queries: S[key][query] = sum over `steps` t of keys[key][t] * panel[t][query].
// With `hide`, lanes whose limit is not beyond the key (counted from `first`) are hidden.
template <int M>
static inline void score_tile(const Operand* keys, int64_t stride, const float* panel, int64_t steps, float* S,
                              vec (&largest)[QV], bool hide, int32_t first, const int32_t* limits) {
    vec sums[M][QV] = {};
    auto step = [&](int64_t t) __attribute__((always_inline)) {
        vec row[QV];
#pragma GCC unroll 8
        for (int v = 0; v < QV; ++v) row[v] = load(panel + t * QUERIES + v * LANES);
#pragma GCC unroll 32
        for (int i = 0; i < M; ++i) {
            const vec key = spread_key(keys + i * stride, t), x = QV > 1 ? in_register(key) : key;
#pragma GCC unroll 8
            for (int v = 0; v < QV; ++v) sums[i][v] = multiply_add(x, row[v], sums[i][v]);
        }
    };
    int64_t t = 0;
#pragma GCC unroll 1
    for (; t + UNROLL <= steps; t += UNROLL) {
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; ++u) step(t + u);
    }
#pragma GCC unroll 1
    for (; t < steps; ++t) step(t);
#pragma GCC unroll 32
    for (int i = 0; i < M; ++i) {
#pragma GCC unroll 8
        for (int v = 0; v < QV; ++v) {
            vec value = sums[i][v];
            if (OPT_CAUSAL && hide) {
                ints limit;
                __builtin_memcpy(&limit, limits + v * LANES, sizeof limit);
                value = limit <= first + i ? splat(HIDDEN) : value;
            }
            store(S + i * QUERIES + v * LANES, value);
            largest[v] = larger(largest[v], value);
        }
    }
}

// Keys of a block that rows of the output's register tile see: all rows those of the first `all` steps, some rows those up to
// `some`, and row r those below limits[r], counted from `first`. A hidden key's probability is 0, but 0 times a NaN is a NaN.
struct Seen {
    int64_t all, some;
    const int32_t* limits;
    int32_t first;

    // Of the ROWS rows whose limits begin there, and of a block of n keys that each of them sees, if `clear`.
    Seen(int64_t n, bool clear, const int32_t* limits, int32_t first)
        : all(ceil_div(n, PAIR)), some(all), limits(limits), first(first) {
        if (!OPT_CAUSAL || clear) return;
        int32_t least = limits[0], most = limits[0];
        for (int r = 1; r < ROWS; ++r) {
            least = limits[r] < least ? limits[r] : least;
            most = limits[r] > most ? limits[r] : most;
        }
        all = max_of(0, min_of(n, least - first)) / PAIR;
        some = ceil_div(max_of(0, min_of(n, most - first)), PAIR);
    }
};

// Sums of ROWS queries and V vectors of columns: O[r][:] = O[r][:] * factors[r] + sum over steps j of P[j][r] * values[j][:].
template <int V>
static inline void output_tile(const float* P, const Seen& seen, const float* values, int64_t stride, float* O,
                               int64_t row_stride, const float* factors, bool fresh) {
    vec sums[ROWS][V] = {};
    if (!fresh) {
#pragma GCC unroll 32
        for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sums[r][v] = load(O + r * row_stride + v * LANES) * splat(factors[r]);
        }
    }
    auto step = [&](int64_t j) __attribute__((always_inline)) {
        vec row[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) row[v] = load(values + j * stride + v * LANES);
#pragma GCC unroll 32
        for (int r = 0; r < ROWS; ++r) {
            const vec p = spread(P + j * QUERIES + r), x = V > 1 ? in_register(p) : p;
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sums[r][v] = multiply_add(x, row[v], sums[r][v]);
        }
    };
    int64_t j = 0;
#pragma GCC unroll 1
    for (; j + UNROLL <= seen.all; j += UNROLL) {
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; ++u) step(j + u);
    }
#pragma GCC unroll 1
    for (; j < seen.all; ++j) step(j);
#pragma GCC unroll 1
    for (; OPT_CAUSAL && j < seen.some; ++j) {
        const float *p = P + j * QUERIES, *row = values + j * stride;
#pragma GCC unroll 32
        for (int r = 0; r < ROWS; ++r) {
            const int64_t keys = seen.limits[r] - seen.first - j * PAIR;
            if (keys <= 0) continue;
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) {
                sums[r][v] = multiply_add(spread(p + r), seen_of(load(row + v * LANES), keys), sums[r][v]);
            }
        }
    }
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(O + r * row_stride + v * LANES, sums[r][v]);
    }
}

// All `vectors` of columns, CV at a time; what is left over as one narrower tile.
template <int V>
static inline void output_rest(int64_t vectors, const float* P, const Seen& seen, const float* values, int64_t stride,
                               float* O, int64_t row_stride, const float* factors, bool fresh) {
    if constexpr (V > 0) {
        if (vectors == V) output_tile<V>(P, seen, values, stride, O, row_stride, factors, fresh);
        else output_rest<V - 1>(vectors, P, seen, values, stride, O, row_stride, factors, fresh);
    }
}

static inline void output_rows(int64_t vectors, const float* P, const Seen& seen, const float* values, int64_t stride,
                               float* O, int64_t row_stride, const float* factors, bool fresh) {
    int64_t v = 0;
    for (; v + CV <= vectors; v += CV) {
        output_tile<CV>(P, seen, values + v * LANES, stride, O + v * LANES, row_stride, factors, fresh);
    }
    output_rest<CV - 1>(vectors - v, P, seen, values + v * LANES, stride, O + v * LANES, row_stride, factors, fresh);
}
