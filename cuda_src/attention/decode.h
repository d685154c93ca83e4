// Few rows over many keys, as in decoding: the cache is read once from memory, and nothing is worth a copy.
// Vectors run along d; a score is a sum across one.
#pragma once
#include "../common/exp2.h"
#include "problem.h"
#include "wide.h"

enum : int64_t { DECODE_CHUNK = 4, DECODE_VECTORS = LANES == 16 ? 8 : LANES == 8 ? 3 : 2 };

struct Decode {
    const Problem& at;
    const float* queries;  // [rows][padded], scaled
    float* scores;         // [DECODE_CHUNK][BLOCK_KV]
    Cache keys, values;

    // Scores of R rows and N neighbouring keys from token j on.
    template <int R, int N>
    void score(const float* query, int64_t j, float* to) const {
        const element* key[N];
        vec sums[R][N] = {};
        const int64_t whole = at.d / LANES * LANES, row = at.padded();
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) key[i] = keys[j + i];
        for (int64_t t = 0; t < whole; t += LANES) {
            vec x[R];
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) x[r] = load(query + r * row + t);
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i) {
                if (PREFETCH && !OPT_PAGED && t % (64 / int64_t(sizeof(element))) == 0) {
                    __builtin_prefetch(key[i] + PREFETCH * keys.stride + t);
                }
                const vec y = load(key[i] + t);
#pragma GCC unroll 16
                for (int r = 0; r < R; ++r) sums[r][i] += x[r] * y;
            }
        }
        for (int r = 0; r < R; ++r) {
            for (int i = 0; i < N; ++i) {
                float sum = sum_across(sums[r][i]);
                for (int64_t t = whole; t < at.d; ++t) sum += query[r * row + t] * float(key[i][t]);
                to[r * BLOCK_KV + i] = sum;
            }
        }
    }

    // How many of a block's first keys R rows see: all of them, some of them, each. What a row does not see is not
    // multiplied by its probability of 0, since 0 times a NaN is a NaN.
    template <int R>
    struct Seen {
        int64_t all, some, by[R];

        Seen(const Problem& at, int64_t begin, int64_t n, int64_t row) : all(n), some(OPT_CAUSAL ? 0 : n) {
            for (int r = 0; r < R; ++r) {
                by[r] = max_of(0, min_of(n, at.limit(row + r) - begin));
                all = min_of(all, by[r]);
                some = max_of(some, by[r]);
            }
        }
    };

    // V vectors of columns of R rows: sums[r] = sums[r] * factor[r] + p[r] times the values from token j on.
    template <int R, int V>
    void add(int64_t j, const Seen<R>& seen, int64_t column, float* sums, const float* factors) const {
        const int64_t row = at.padded();
        vec total[R][V];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) total[r][v] = load(sums + r * row + column + v * LANES) * splat(factors[r]);
        }
        for (int64_t i = 0; i < seen.all; ++i) {
            const element* value = values[j + i] + column;
            vec p[R];
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) p[r] = splat(scores[r * BLOCK_KV + i]);
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) {
                if (PREFETCH && !OPT_PAGED && v * LANES % (64 / int64_t(sizeof(element))) == 0) {
                    __builtin_prefetch(value + PREFETCH * values.stride + v * LANES);
                }
                const vec x = load(value + v * LANES);
#pragma GCC unroll 16
                for (int r = 0; r < R; ++r) total[r][v] += p[r] * x;
            }
        }
        for (int64_t i = seen.all; R > 1 && OPT_CAUSAL && i < seen.some; ++i) {
            const element* value = values[j + i] + column;
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
                if (i >= seen.by[r]) continue;
#pragma GCC unroll 16
                for (int v = 0; v < V; ++v) {
                    total[r][v] += splat(scores[r * BLOCK_KV + i]) * load(value + v * LANES);
                }
            }
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) store(sums + r * row + column + v * LANES, total[r][v]);
        }
    }

    template <int R>
    void block(int64_t begin, int64_t n, int64_t row, const Partial& to) const {
        const float* query = queries + row * at.padded();
        int64_t j = 0;
        for (; j + DECODE_KEYS <= n; j += DECODE_KEYS) score<R, DECODE_KEYS>(query, begin + j, scores + j);
        for (; j < n; ++j) score<R, 1>(query, begin + j, scores + j);
        float factors[R];
        for (int r = 0; r < R; ++r) factors[r] = softmax(scores + r * BLOCK_KV, begin, n, row + r, to);
        const Seen<R> seen(at, begin, n, row);
        float* sums = to.sums + row * at.padded();
        const int64_t whole = at.d / LANES * LANES;
        constexpr int V = R == 1 ? int(DECODE_VECTORS) : LANES == 16 ? 4 : 2;
        int64_t t = 0;
        for (; t + V * LANES <= whole; t += V * LANES) add<R, V>(begin, seen, t, sums, factors);
        for (; t < whole; t += LANES) add<R, 1>(begin, seen, t, sums, factors);
        for (; t < at.d; ++t) {
            for (int r = 0; r < R; ++r) {
                float total = sums[r * at.padded() + t] * factors[r];
                for (int64_t i = 0; i < seen.by[r]; ++i) {
                    total += scores[r * BLOCK_KV + i] * float(values[begin + i][t]);
                }
                sums[r * at.padded() + t] = total;
            }
        }
    }

    // Scores of one row to probabilities; returns what was summed before is to be multiplied by.
    float softmax(float* s, int64_t begin, int64_t n, int64_t row, const Partial& to) const {
        const int64_t seen = max_of(0, min_of(n, at.limit(row) - begin));
        vec found = splat(to.largest[row]);
        int64_t j = 0;
        for (; j + LANES <= seen; j += LANES) found = larger(found, load(s + j));
        float top = largest_across(found);
        for (; j < seen; ++j) top = s[j] <= top ? top : s[j];
        const float factor = exp2_negative(splat(to.largest[row] - top))[0];
        vec total = {};
        // The tail as a vector of hidden scores: exactly 0.
        for (int64_t i = seen; i < ceil_div(n, LANES) * LANES; ++i) s[i] = -__builtin_inff();
        for (j = 0; j < n; j += LANES) {
            const vec p = exp2_negative(load(s + j) - splat(top));
            store(s + j, p);
            total += p;
        }
        to.largest[row] = top;
        to.totals[row] = to.totals[row] * factor + sum_across(total);
        return factor;
    }

    void run(Range range, int64_t rows, const Partial& to) const {
        for (int64_t begin = range.begin; begin < range.end; begin += BLOCK_KV) {
            const int64_t n = min_of(BLOCK_KV, range.end - begin);
            int64_t row = 0;
            for (; row + DECODE_CHUNK <= rows; row += DECODE_CHUNK) block<DECODE_CHUNK>(begin, n, row, to);
            for (; row < rows; ++row) block<1>(begin, n, row, to);
        }
    }
};
