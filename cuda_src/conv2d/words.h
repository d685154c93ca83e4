// Words of two bf16 on any target: where dots16.h has no instruction for them, each half is an f32 of its own, and one
// product of words two products of floats. And finished sums as words, and parts of vectors of bf16.
#pragma once
#include "../common/activation.h"
#include "../common/dots16.h"

#if !DOTS16
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
    if (count >= LANES) return store(to, v);
    const bits16 halves = rounded(v);
    __builtin_memcpy(to, &halves, size_t(count) * sizeof(bfloat16));
}
