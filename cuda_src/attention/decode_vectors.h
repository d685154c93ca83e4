// Decoding in f32, to which f16 and bf16 are widened.
#pragma once
#include "decode.h"

struct Decode : Decoding<Decode> {
    using Decoding::Decoding;

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
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            store_sums(to + r * BLOCK_KV, sums[r], score_factor(at.scale));
            for (int64_t t = whole; t < at.d; ++t) {
                for (int i = 0; i < N; ++i) to[r * BLOCK_KV + i] += query[r * row + t] * float(key[i][t]);
            }
        }
    }

    // V vectors of columns of R rows: sums[r] = sums[r] * factor[r] + p[r] times the values from token j on.
    template <int R, int V>
    void add(int64_t j, const SeenBy<R>& seen, int64_t column, float* sums, const float* factors) const {
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
    void columns(int64_t j, const SeenBy<R>& seen, float* sums, const float* factors) const {
        from_column<R, R == 1 ? (LANES == 16 ? 8 : LANES == 8 ? 3 : 2) : LANES == 16 ? 4 : 2>(0, j, seen, sums, factors);
    }

    // The columns from t on: V vectors while there are so many, then fewer.
    template <int R, int V>
    void from_column(int64_t t, int64_t j, const SeenBy<R>& seen, float* sums, const float* factors) const {
        for (; t + V * LANES <= at.d; t += V * LANES) add<R, V>(j, seen, t, sums, factors);
        if constexpr (V > 1) return from_column<R, V / 2>(t, j, seen, sums, factors);
        for (; V == 1 && t < at.d; ++t) {
            for (int r = 0; r < R; ++r) {
                float total = sums[r * at.padded() + t] * factors[r];
                for (int64_t i = 0; i < seen.by[r]; ++i) {
                    total += scores[r * BLOCK_KV + i] * float(values[j + i][t]);
                }
                sums[r * at.padded() + t] = total;
            }
        }
    }
};
