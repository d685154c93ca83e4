// Words of two bf16 on any target: where dots16.h has no instruction for them, each half is an f32 of its own, and one
// product of words two products of floats. And finished sums as words, and parts of vectors of bf16.
#pragma once
#include "../common/activation.h"
#include "../common/dots16.h"

#if !DOTS16
static inline uint32_t word_at(const bfloat16* from) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

static inline uint32_t word_of(bfloat16 first) { return first.bits; }

static inline vec splat_word(uint32_t word) { return (vec)(bits32{} + word); }

static inline vec dot_pairs(vec a, vec b, vec sums) {
    const bits32 upper = bits32{} + 0xffff0000u;
    sums += (vec)((bits32)a << 16) * (vec)((bits32)b << 16);
    return sums + (vec)((bits32)a & upper) * (vec)((bits32)b & upper);
}
#endif

// As `activated`; ReLU as a maximum, one instruction where GCC makes two. Of 0 and a NaN it takes the second.
static inline vec finished(vec v) {
#if OPT_RELU && defined(__AVX512F__) && !defined(__clang__)
    return __builtin_ia32_maxps512_mask(vec{}, v, vec{}, (unsigned short)0xFFFF, 4 /* the rounding in force */);
#else
    return activated(v);
#endif
}

// A vector rounded to bf16: by one instruction where there is one, which makes zeros of denormals.
static inline bits16 rounded(vec v) {
#if DOTS16 && defined(__clang__)
    return (bits16)_mm512_cvtneps_pbh((__m512)v);
#elif DOTS16
    return (bits16)__builtin_ia32_cvtneps2bf16_v16sf(v);
#else
    return __builtin_convertvector(upper_half<bits32>((bits32)v, v != v), bits16);
#endif
}

static inline void store_rounded(bfloat16* to, vec v) {
    const bits16 halves = rounded(v);
    __builtin_memcpy(to, &halves, sizeof halves);
}

// Two vectors as words: `low` is the lower half.
static inline bits32 rounded(vec low, vec high) { return widened(rounded(low)) | widened(rounded(high)) << 16; }

// The first `count` numbers at p, at least one; zeros behind them.
static inline vec load_some(const bfloat16* p, int64_t count) {
    if (count >= LANES) return load(p);
    bfloat16 part[LANES] = {};
    __builtin_memcpy(part, p, size_t(count) * sizeof(bfloat16));
    return load(part);
}

static inline void store_some(bfloat16* to, vec v, int64_t count) {
    if (count >= LANES) return store_rounded(to, v);
    const bits16 halves = rounded(v);
    __builtin_memcpy(to, &halves, size_t(count) * sizeof(bfloat16));
}
