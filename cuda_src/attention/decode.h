// Few rows over many keys, as in decoding: the cache is read once from memory, and nothing is worth a copy.
// Vectors run along d; a score is a sum across one.
#pragma once
#include "problem.h"
#include "words.h"

enum : int64_t { DECODE_CHUNK = 4 };

// How many of a block's first keys R rows see: all of them, some of them, each. What a row does not see is not
// multiplied by its probability of 0, since 0 times a NaN is a NaN.
template <int R>
struct SeenBy {
    int64_t all, some, by[R];

    SeenBy(const Problem& at, int64_t begin, int64_t n, int64_t row) : all(n), some(OPT_CAUSAL ? 0 : n) {
        for (int r = 0; r < R; ++r) {
            by[r] = max_of(0, min_of(n, at.limit(row + r) - begin));
            all = min_of(all, by[r]);
            some = max_of(some, by[r]);
        }
    }
};

// The sums across N vectors, times a factor, to N neighbours.
template <int N>
static inline void store_sums(float* to, const vec (&v)[N], float factor) {
#pragma GCC unroll 4
    for (int i = 0; i + 4 <= N; i += 4) {
        const vec four = sums_across(v[i], v[i + 1], v[i + 2], v[i + 3]) * splat(factor);
        memcpy(to + i, &four, 4 * sizeof(float));
    }
#pragma GCC unroll 4
    for (int i = N / 4 * 4; i < N; ++i) to[i] = sum_across(v[i]) * factor;
}

// What does not depend on how numbers are multiplied. `Self` has
//   score<R, N>(query, j, to): scores of R rows and N neighbouring keys from token j on, as exponents of 2;
//   columns<R>(j, seen, sums, factors): sums * factors + the probabilities times the values from token j on, of R rows.
template <class Self>
struct Decoding {
    const Problem& at;
    const float* queries;  // [rows][padded], as `put_query` left them
    float* scores;         // [DECODE_CHUNK][BLOCK_KV]
    Cache keys, values;

    Decoding(const Problem& at, const float* queries, float* scores, Cache keys, Cache values)
        : at(at), queries(queries), scores(scores), keys(keys), values(values) {}

    const Self& self() const { return static_cast<const Self&>(*this); }

    template <int R>
    void block(int64_t begin, int64_t n, int64_t row, const Partial& to) const {
        const float* query = queries + row * at.padded();
        int64_t j = 0;
        for (; j + DECODE_KEYS <= n; j += DECODE_KEYS) {
            self().template score<R, DECODE_KEYS>(query, begin + j, scores + j);
        }
        for (; j < n; ++j) self().template score<R, 1>(query, begin + j, scores + j);
        float factors[R];
        for (int r = 0; r < R; ++r) factors[r] = softmax(scores + r * BLOCK_KV, begin, n, row + r, to);
        self().template columns<R>(begin, SeenBy<R>(at, begin, n, row), to.sums + row * at.padded(), factors);
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
        for (int64_t i = seen; i < ceil_div(n, LANES) * LANES; ++i) s[i] = HIDDEN;
        for (j = 0; j < n; j += LANES) total += put_probabilities(s, j, load(s + j) - splat(top));
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
