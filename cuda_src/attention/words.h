// What a step of a product multiplies: elements of f32, to which f16 and bf16 are widened; or, where the processor has an
// instruction for them, words of two neighbouring bf16 (common/dots16.h). Two neighbours along d are a word of queries and of
// keys, as they lie; two neighbouring keys are one of probabilities and of values.
#pragma once
#include <string.h>

#include "../common/dots16.h"
#include "../common/exp2.h"
#include "wide.h"
#if DOTS16
#include "exp2_bf16.h"
#endif

enum : int64_t { PAIR = DOTS16 ? 2 : 1 };  // elements of a sum that one step takes

#if DOTS16
static inline vec multiply_add(vec x, vec y, vec sums) { return dot_pairs(x, y, sums); }

// A step's elements of LANES neighbours, from the caller's layout.
static inline vec load_step(const element* from) { return load_words(from); }

// A step of one row of queries, or of probabilities, in every lane.
static inline vec spread(const float* step) {
    uint32_t word;
    memcpy(&word, step, sizeof word);
    return splat_word(word);
}

// Values of a step of which a row sees the first `keys`: what it does not see is 0, as is its probability.
static inline vec seen_of(vec values, int64_t keys) { return keys >= PAIR ? values : (vec)((bits32)values & 0xffffu); }

// A row of queries, d elements. The scores are scaled, not the queries: a product would be rounded again.
static inline void put_query(float* to, const element* from, int64_t d, float) {
    to[(d - 1) / PAIR] = 0;
    memcpy(to, from, size_t(d) * sizeof(element));
}
static inline float score_factor(float scale) { return scale; }

// 2^x of scores j ... of a row, as probabilities to the row's steps: word i is keys 2i and 2i + 1, half as long as the scores
// were, so what is yet to be read stays. Each is rounded to bf16 once; returns what they are then.
static inline vec put_probabilities(float* row, int64_t j, vec x) {
    const bits32 p = (bits32)exp2_for_bf16((__m512)x);
    const bits16 upper = __builtin_convertvector(p >> 16, bits16);
    memcpy(row + j / PAIR, &upper, sizeof upper);
    return (vec)(p & 0xffff0000u);
}
#else
static inline vec multiply_add(vec x, vec y, vec sums) { return sums + x * y; }
static inline vec load_step(const element* from) { return load(from); }
static inline vec spread(const float* step) { return splat(*step); }
static inline vec seen_of(vec values, int64_t) { return values; }

static inline void put_query(float* to, const element* from, int64_t d, float scale) {
    widen(to, from, d);
    for (int64_t t = 0; t < d; ++t) to[t] *= scale;
}
static inline float score_factor(float) { return 1.0f; }

static inline vec put_probabilities(float* row, int64_t j, vec x) {
    const vec p = exp2_negative(x);
    store(row + j, p);
    return p;
}
#endif
