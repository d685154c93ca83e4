// The register tiles of the two products. A vector of the scores holds one key and neighbouring queries, so the
// softmax over keys runs from vector to vector, with no work across lanes, and keys are read as they lie.
#pragma once
#include "../common/exp2.h"
#include "problem.h"

enum : int64_t { QV = QUERIES / LANES, CV = COLUMNS / LANES };

// Scores of M keys and QUERIES queries: S[key][query] = sum over t of keys[key][t] * panel[t][query].
// With `hide`, lanes whose limit is not beyond the key (counted from `first`) are hidden.
template <int M>
static inline void score_tile(const float* keys, int64_t stride, const float* panel, int64_t d, float* S,
                              vec (&largest)[QV], bool hide, int32_t first, const int32_t* limits) {
    vec sums[M][QV] = {};
    auto step = [&](int64_t t) __attribute__((always_inline)) {
        vec row[QV];
#pragma GCC unroll 8
        for (int v = 0; v < QV; ++v) row[v] = load(panel + t * QUERIES + v * LANES);
#pragma GCC unroll 32
        for (int i = 0; i < M; ++i) {
            const vec x = QV > 1 ? in_register(splat(keys[i * stride + t])) : splat(keys[i * stride + t]);
#pragma GCC unroll 8
            for (int v = 0; v < QV; ++v) sums[i][v] += x * row[v];
        }
    };
    int64_t t = 0;
#pragma GCC unroll 1
    for (; t + UNROLL <= d; t += UNROLL) {
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; ++u) step(t + u);
    }
#pragma GCC unroll 1
    for (; t < d; ++t) step(t);
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

// Softmax of a panel of `n` keys, in place: scores become probabilities relative to the largest so far. What
// was summed before is to be multiplied by `factors` (Milakov and Gimelshein, Online normalizer calculation
// for softmax, 2018).
static inline void softmax_panel(float* S, int64_t n, const vec (&found)[QV], float* largest, float* totals,
                                 float* factors) {
    vec top[QV], total[QV];
#pragma GCC unroll 8
    for (int v = 0; v < QV; ++v) {
        const vec before = load(largest + v * LANES);
        top[v] = larger(before, found[v]);
        const vec factor = exp2_negative(before - top[v]);
        store(largest + v * LANES, top[v]);
        store(factors + v * LANES, factor);
        total[v] = load(totals + v * LANES) * factor;
    }
    for (int64_t j = 0; j < n; ++j) {
#pragma GCC unroll 8
        for (int v = 0; v < QV; ++v) {
            const vec p = exp2_negative(load(S + j * QUERIES + v * LANES) - top[v]);
            store(S + j * QUERIES + v * LANES, p);
            total[v] += p;
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < QV; ++v) store(totals + v * LANES, total[v]);
}

// Keys of a block that rows of the output's register tile see: all rows the first `all`, some rows up to `some`, and
// row r those below limits[r], counted from `first`. A hidden key's probability is 0, but 0 times a NaN is a NaN.
struct Seen {
    int64_t all, some;
    const int32_t* limits;
    int32_t first;

    // Of the ROWS rows whose limits begin there, and of a block of n keys that each of them sees, if `clear`.
    Seen(int64_t n, bool clear, const int32_t* limits, int32_t first) : all(n), some(n), limits(limits), first(first) {
        if (!OPT_CAUSAL || clear) return;
        int32_t least = limits[0], most = limits[0];
        for (int r = 1; r < ROWS; ++r) {
            least = limits[r] < least ? limits[r] : least;
            most = limits[r] > most ? limits[r] : most;
        }
        all = max_of(0, min_of(n, least - first));
        some = max_of(0, min_of(n, most - first));
    }
};

// Sums of ROWS queries and V vectors of columns: O[r][:] = O[r][:] * factors[r] + sum over j of P[j][r] * values[j][:].
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
            const vec x = V > 1 ? in_register(splat(P[j * QUERIES + r])) : splat(P[j * QUERIES + r]);
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sums[r][v] += x * row[v];
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
            if (seen.first + j >= seen.limits[r]) continue;
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sums[r][v] += splat(p[r]) * load(row + v * LANES);
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
