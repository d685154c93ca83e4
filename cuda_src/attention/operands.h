// Queries, keys and values as the register tiles read them: by steps (words.h), packed, in place or as copies.
#pragma once
#include "../common/pack.h"
#include "problem.h"
#include "words.h"

template <class T>
struct Tokens {
    const T* first;
    int64_t stride;
};

// Asks for the rows of `n` tokens, which are read soon.
static inline void fetch(const Cache& cache, int64_t token, int64_t n, int64_t d) {
    for (int64_t j = token; !OPT_PAGED && j < token + n; ++j) {
        for (int64_t t = 0; t < d; t += 64 / int64_t(sizeof(element))) __builtin_prefetch(cache[j] + t);
    }
}

#if DOTS16
typedef bfloat16 Operand;  // of keys
enum { COPY = COPY_KV || OPT_PAGED };

static inline vec spread_key(const Operand* key, int64_t step) { return splat_word(word_at(key + 2 * step)); }

// Panels of QUERIES rows: [d / 2][QUERIES] words.
static void pack_queries(float* panels, const element* from, int64_t rows, int64_t d, float, float*) {
    const int64_t steps = ceil_div(d, PAIR);
    for (int64_t i = 0; i < ceil_div(rows, QUERIES) * QUERIES; i += LANES) {
        float* panel = panels + i / QUERIES * QUERIES * steps + i % QUERIES;
        for (int64_t step = 0; step < steps; step += LANES) {
            vec words[16] = {};
            for (int64_t r = 0; r < min_of(LANES, rows - i); ++r) {
                words[r] = (vec)load_32(from + (i + r) * d + step * PAIR, first_of_32(d - step * PAIR));
            }
            transpose_words(words);
            for (int64_t s = 0; s < min_of(LANES, steps - step); ++s) store(panel + (step + s) * QUERIES, words[s]);
        }
    }
}

// Keys begin ... begin + n - 1: in place where their words are.
static inline Tokens<Operand> keys_of(Cache cache, int64_t begin, int64_t n, int64_t d, int64_t padded, float* memory) {
    if (!COPY && d % PAIR == 0) return {cache[begin], cache.stride};
    element* copy = reinterpret_cast<element*>(memory);
    for (int64_t j = 0; j < n; ++j) {
        memcpy(copy + j * padded, cache[begin + j], size_t(d) * sizeof(element));
        if (d % PAIR) copy[j * padded + d] = element(0.0f);
    }
    return {copy, padded};
}

// Values likewise: [n / 2][padded] words.
static inline Tokens<float> values_of(Cache cache, int64_t begin, int64_t n, int64_t d, int64_t padded, float* copy) {
    for (int64_t j = 0; j < n; j += PAIR, copy += padded) {
        const element *first = cache[begin + j], *second = j + 1 < n ? cache[begin + j + 1] : nullptr;
        for (int64_t t = 0; t < padded; t += 2 * LANES) {
            const uint32_t there = first_of_32(d - t);
            vec left, right;
            rows_of_words(load_32(first + t, there), second ? load_32(second + t, there) : halves32{}, left, right);
            store(copy + t, left);
            if (t + LANES < padded) store(copy + t + LANES, right);
        }
    }
    return {copy - ceil_div(n, PAIR) * padded, padded};
}
#else
typedef float Operand;
#if DTYPE_F16 || DTYPE_BF16
enum { COPY = 1 };
#else
enum { COPY = COPY_KV || OPT_PAGED };
#endif

static inline vec spread_key(const Operand* key, int64_t step) { return splat(key[step]); }

// Panels of QUERIES rows, scaled: [d][QUERIES].
static void pack_queries(float* panels, const element* from, int64_t rows, int64_t d, float scale,
                         [[maybe_unused]] float* wide) {
#if DTYPE_F16 || DTYPE_BF16
    widen(wide, from, rows * d);
    pack_transposed<QUERIES>(panels, wide, d, rows, d);
#else
    pack_transposed<QUERIES>(panels, from, d, rows, d);
#endif
    for (int64_t i = 0; i < ceil_div(rows, QUERIES) * QUERIES * d; i += LANES) {
        store(panels + i, load(panels + i) * splat(scale));
    }
}

// Tokens begin ... begin + n - 1 as rows of f32, zeros behind d.
static inline Tokens<float> copied(Cache cache, int64_t begin, int64_t n, int64_t d, int64_t padded, float* copy) {
    for (int64_t j = 0; j < n; ++j) {
        widen(copy + j * padded, cache[begin + j], d);
        for (int64_t t = d; t < padded; ++t) copy[j * padded + t] = 0;
    }
    return {copy, padded};
}

// They, in place where the caller's memory serves.
static inline Tokens<Operand> keys_of(Cache cache, int64_t begin, int64_t n, int64_t d, int64_t padded, float* copy) {
#if !(DTYPE_F16 || DTYPE_BF16)
    if (!COPY) return {cache[begin], cache.stride};
#endif
    return copied(cache, begin, n, d, padded, copy);
}

static inline Tokens<float> values_of(Cache cache, int64_t begin, int64_t n, int64_t d, int64_t padded, float* copy) {
#if !(DTYPE_F16 || DTYPE_BF16)
    if (!COPY && d == padded) return {cache[begin], cache.stride};
#endif
    return copied(cache, begin, n, d, padded, copy);
}
#endif
