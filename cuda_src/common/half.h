// Half precision in memory, single in registers: loads and stores that convert, a vector at a time with F16C
// (every AVX2 machine has it), rounding to nearest even. Included by simd.h.
#pragma once

#if defined(__F16C__)
typedef short half8 __attribute__((vector_size(16)));
typedef short half8_unaligned __attribute__((vector_size(16), aligned(2), may_alias));
typedef short half16 __attribute__((vector_size(32)));
typedef short half16_unaligned __attribute__((vector_size(32), aligned(2), may_alias));
enum { NEAREST_EVEN = 0 };
#endif
#if defined(__clang__) && defined(__F16C__)
#include <immintrin.h>  // its builtins are called otherwise
#endif

static inline vec load(const _Float16* p) {
#if defined(__AVX512F__)
    half16 bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return __builtin_ia32_vcvtph2ps512_mask(bits, vec{}, (unsigned short)0xFFFF, 4 /* the mode in force */);
#elif defined(__F16C__) && defined(__clang__)
    return (vec)_mm256_cvtph_ps((__m128i)*reinterpret_cast<const half8_unaligned*>(p));
#elif defined(__F16C__)
    half8 bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return __builtin_ia32_vcvtph2ps256(bits);
#else
    vec v = {};
    for (int l = 0; l < LANES; ++l) v[l] = float(p[l]);
    return v;
#endif
}

static inline void store(_Float16* p, vec v) {
#if defined(__AVX512F__)
    *reinterpret_cast<half16_unaligned*>(p) =
        __builtin_ia32_vcvtps2ph512_mask(v, NEAREST_EVEN, half16{}, (unsigned short)0xFFFF);
#elif defined(__F16C__) && defined(__clang__)
    *reinterpret_cast<half8_unaligned*>(p) = (half8)_mm256_cvtps_ph((__m256)v, NEAREST_EVEN);
#elif defined(__F16C__)
    *reinterpret_cast<half8_unaligned*>(p) = __builtin_ia32_vcvtps2ph256(v, NEAREST_EVEN);
#else
    for (int l = 0; l < LANES; ++l) p[l] = _Float16(v[l]);
#endif
}
