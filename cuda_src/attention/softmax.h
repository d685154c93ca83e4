// Softmax of a panel of `n` keys, in place: scores become probabilities relative to the largest so far, as the product with
// the values reads them. What was summed before is to be multiplied by `factors` (Milakov and Gimelshein, Online normalizer
// calculation for softmax, 2018).
#pragma once
#include "tiles.h"

#if DOTS16
// How far scores are from the largest of their query, in exponents of 2. Of queries that are `far` the product's rounding
// counts: it has to be as it was when the largest was found, so that this is at 0. The others are spared it.
template <bool FAR>
static inline vec below(vec scores, vec scale, vec largest, __mmask16 far) {
    const __m512 once = _mm512_fmsub_ps((__m512)scores, (__m512)scale, (__m512)largest);
    if (!FAR) return (vec)once;
    const vec rounded = in_register(scores * scale) - largest;
    return (vec)_mm512_mask_blend_ps(far, once, (__m512)rounded);
}

// Two keys become a word. Each probability is rounded to bf16 once, and the sum is that of the rounded ones, as they multiply
// the values.
template <bool FAR>
static inline void probabilities(float* S, int64_t n, vec scale, const vec (&top)[QV], const __mmask16 (&far)[QV],
                                 vec (&total)[QV]) {
    const vec ones = splat_word(0x3f803f80);
    for (int64_t j = 0; j < n; j += PAIR) {
#pragma GCC unroll 8
        for (int v = 0; v < QV; ++v) {
            const float* scores = S + j * QUERIES + v * LANES;
            auto of = [&](vec s) { return (bits32)exp2_for_bf16((__m512)below<FAR>(s, scale, top[v], far[v])); };
            const bits32 first = of(load(scores)), second = of(load(scores + QUERIES));
            const vec words = (vec)(first >> 16 | (second & 0xffff0000u));
            store(S + j / PAIR * QUERIES + v * LANES, words);
            total[v] = dot_pairs(words, ones, total[v]);
        }
    }
}

static inline void softmax_panel(float* S, int64_t n, const vec (&found)[QV], float* largest, float* totals,
                                 float* factors, float scale) {
    vec top[QV], total[QV];
    __mmask16 far[QV], any = 0;
#pragma GCC unroll 8
    for (int v = 0; v < QV; ++v) {
        const vec before = load(largest + v * LANES);
        top[v] = larger(before, found[v] * splat(scale));
        // By query: no bit of one may depend on what others see.
        far[v] = _mm512_cmp_ps_mask(_mm512_abs_ps((__m512)top[v]), _mm512_set1_ps(1 << 14), _CMP_NLT_UQ);
        any |= far[v];
        const vec factor = exp2_negative(before - top[v]);
        store(largest + v * LANES, top[v]);
        store(factors + v * LANES, factor);
        total[v] = load(totals + v * LANES) * factor;
        if (n % PAIR) store(S + n * QUERIES + v * LANES, splat(HIDDEN));
    }
    if (any) probabilities<true>(S, n, splat(scale), top, far, total);
    else probabilities<false>(S, n, splat(scale), top, far, total);
#pragma GCC unroll 8
    for (int v = 0; v < QV; ++v) store(totals + v * LANES, total[v]);
}
#else
static inline void softmax_panel(float* S, int64_t n, const vec (&found)[QV], float* largest, float* totals,
                                 float* factors, float) {
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
#endif
