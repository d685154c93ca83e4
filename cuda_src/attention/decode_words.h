// Decoding of bf16 by words of two neighbours (common/dots16.h), where the processor has an instruction for them. Keys are words
// as they lie; the values of two neighbouring keys are interleaved in registers. Probabilities are rounded to bf16 once, and
// their sum is that of the rounded ones.
#pragma once
#include "decode.h"

enum : int64_t { WORDS = LANES, PIECE = 2 * WORDS };  // of a vector, and the elements in them

struct Decode : Decoding<Decode> {
    using Decoding::Decoding;

    // Elements `from` ... of a row that ends `left` further on, and zeros.
    template <bool WHOLE>
    static halves32 piece(const element* from, int64_t left) {
        return WHOLE ? load_32(from) : load_32(from, first_of_32(left));
    }

    template <int R, int N>
    void score(const float* query, int64_t j, float* to) const {
        const element* key[N];
        vec sums[R][N] = {};
        const int64_t row = at.padded();
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) key[i] = keys[j + i];
        auto step = [&](auto whole, int64_t t) __attribute__((always_inline)) {
            vec x[R];
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) x[r] = load(query + r * row + t / 2);
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i) {
                if (PREFETCH && !OPT_PAGED) __builtin_prefetch(key[i] + PREFETCH * keys.stride + t);
                const vec y = (vec)piece<decltype(whole)::value>(key[i] + t, at.d - t);
#pragma GCC unroll 16
                for (int r = 0; r < R; ++r) sums[r][i] = dot_pairs(x[r], y, sums[r][i]);
            }
        };
        int64_t t = 0;
        for (; t + PIECE <= at.d; t += PIECE) step(std::true_type(), t);
        if (t < at.d) step(std::false_type(), t);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) store_sums(to + r * BLOCK_KV, sums[r], score_factor(at.scale));
    }

    // V pieces of columns of R rows: sums[r] = sums[r] * factor[r] + p[r] times the values from token j on. A piece that is not
    // WHOLE is the row's last one, which `sums` may have one vector of.
    template <int R, int V, bool WHOLE>
    void add(int64_t j, const SeenBy<R>& seen, int64_t column, float* sums, const float* factors) const {
        const int64_t row = at.padded(), left = at.d - column;
        auto there = [&](int v) { return WHOLE || column + v * LANES < row; };
        vec total[R][2 * V];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
            for (int v = 0; v < 2 * V; ++v) {
                total[r][v] = there(v) ? load(sums + r * row + column + v * LANES) * splat(factors[r]) : vec{};
            }
        }
        // Values i and i + 1 of the block, the second where it is there, to the rows that see `keys(r)` of them.
        auto step = [&](int64_t i, bool second, auto&& keys) __attribute__((always_inline)) {
            const element *a = values[j + i] + column, *b = second ? values[j + i + 1] + column : nullptr;
            vec p[R];
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) p[r] = spread(scores + r * BLOCK_KV + i / PAIR);
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) {
                if (PREFETCH && !OPT_PAGED && second) {
                    __builtin_prefetch(a + PREFETCH * values.stride + v * PIECE);
                    __builtin_prefetch(b + PREFETCH * values.stride + v * PIECE);
                }
                const halves32 x = piece<WHOLE>(a + v * PIECE, left);
                const halves32 y = second ? piece<WHOLE>(b + v * PIECE, left) : halves32{};
                vec words[2];
                rows_of_words(x, y, words[0], words[1]);
#pragma GCC unroll 16
                for (int r = 0; r < R; ++r) {
                    const int64_t seen = keys(r);
                    if (seen <= 0) continue;
                    for (int half = 0; half < 2; ++half) {
                        vec& sum = total[r][2 * v + half];
                        sum = dot_pairs(p[r], seen_of(words[half], seen), sum);
                    }
                }
            }
        };
        int64_t i = 0;
        for (; i + 2 <= seen.all; i += 2) step(i, true, [](int) { return int64_t(2); });
        for (; i < seen.some; i += 2) step(i, i + 1 < seen.some, [&](int r) { return seen.by[r] - i; });
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
            for (int v = 0; v < 2 * V; ++v) {
                if (there(v)) store(sums + r * row + column + v * LANES, total[r][v]);
            }
        }
    }

    template <int R>
    void columns(int64_t j, const SeenBy<R>& seen, float* sums, const float* factors) const {
        from_column<R, R == 1 ? 4 : 2>(0, j, seen, sums, factors);
    }

    // The columns from t on: V pieces while there are so many, then fewer.
    template <int R, int V>
    void from_column(int64_t t, int64_t j, const SeenBy<R>& seen, float* sums, const float* factors) const {
        for (; t + V * PIECE <= at.d; t += V * PIECE) add<R, V, true>(j, seen, t, sums, factors);
        if constexpr (V > 1) from_column<R, V / 2>(t, j, seen, sums, factors);
        else if (t < at.d) add<R, 1, false>(j, seen, t, sums, factors);
    }
};
