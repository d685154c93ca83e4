// An int32 sum on its way back to int8: clamp(round(f32(sum) * scale) + zero point), ties to even; and the sum of two such
// results. For files whose workload may have OPT_SCALE_TENSOR, OPT_SCALE_CHANNEL, OPT_ZERO_POINTS and OPT_QUANTIZED_RESIDUAL.
#pragma once
#include "simd.h"

#if defined(OPT_SCALE_TENSOR) && (OPT_SCALE_TENSOR || OPT_SCALE_CHANNEL)
#define REQUANTIZED 1
#else
#define REQUANTIZED 0
#endif
#if !defined(OPT_ZERO_POINTS)
#define OPT_ZERO_POINTS 0
#endif
#if !defined(OPT_SCALE_CHANNEL)
#define OPT_SCALE_CHANNEL 0
#endif
#if !defined(OPT_QUANTIZED_RESIDUAL)
#define OPT_QUANTIZED_RESIDUAL 0
#endif

#if DTYPE_INT8
typedef float floats __attribute__((vector_size(VECTOR_BYTES)));
typedef float floats_unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES)));
typedef int8_t bytes __attribute__((vector_size(VECTOR_BYTES / 4)));

static inline floats load_floats(const float* p) { return *reinterpret_cast<const floats_unaligned*>(p); }

// AVX-512 rounds, takes the lesser and greater of two and narrows with saturation in one instruction each; Clang spells
// them otherwise than GCC.
#if defined(__AVX512F__) && defined(__clang__)
#include <immintrin.h>
#define ROUNDED_512(v) (ints)_mm512_cvtps_epi32((__m512)(v))
#define LESSER_512(a, b) (floats)_mm512_min_ps((__m512)(a), (__m512)(b))
#define GREATER_512(a, b) (floats)_mm512_max_ps((__m512)(a), (__m512)(b))
#define SATURATED_512(v) (bytes)_mm512_cvtsepi32_epi8((__m512i)(v))
#define WIDENED_512(v) (ints)_mm512_cvtepi8_epi32((__m128i)(v))
#define FUSED_512(a, b, c) (floats)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define NEAREST_512(v) (floats)_mm512_roundscale_ps((__m512)(v), 8)
#elif defined(__AVX512F__)
#define ROUNDED_512(v) (ints)__builtin_ia32_cvtps2dq512_mask(v, ints{}, (unsigned short)0xFFFF, 4)
#define LESSER_512(a, b) __builtin_ia32_minps512_mask(a, b, floats{}, (unsigned short)0xFFFF, 4)
#define GREATER_512(a, b) __builtin_ia32_maxps512_mask(a, b, floats{}, (unsigned short)0xFFFF, 4)
#define SATURATED_512(v) (bytes)__builtin_ia32_pmovsdb512_mask(v, (sixteen_bytes){}, (unsigned short)0xFFFF)
#define WIDENED_512(v) (ints)__builtin_ia32_pmovsxbd512_mask((sixteen_bytes)(v), ints{}, (unsigned short)0xFFFF)
#define FUSED_512(a, b, c) __builtin_ia32_vfmaddps512_mask(a, b, c, (unsigned short)0xFFFF, 4)
#define NEAREST_512(v) __builtin_ia32_rndscaleps_mask(v, 8, floats{}, (unsigned short)0xFFFF, 4)
typedef char sixteen_bytes __attribute__((vector_size(16)));
#endif

// Rounded, ties to even, between two integers no further from 0 than 512.
static inline ints rounded_between(floats value, floats low, floats high) {
#if defined(__AVX512F__)
    return ROUNDED_512(LESSER_512(GREATER_512(value, low), high));
#else
    // 1.5 * 2^23: what is added to it is rounded to an integer, which then is the difference of the bits.
    const floats large = floats{} + 12582912.0f;
    // Small enough for the sum with `large`; between a product and the sum, so that no compiler fuses them.
    value = value < low ? low : value;
    value = value > high ? high : value;
    return (ints)(value + large) - 0x4B400000;
#endif
}

// Sums times scales, rounded, with the zero point: on the right side of int8's ends, but maybe beyond them. One scale
// for all: `by` is a vector of it.
static inline ints rescale(ints sums, floats by, int32_t zero) {
    // Beyond int8 by more than a zero point may bring back.
    const floats low = floats{} - 512.0f, high = floats{} + 512.0f;
    const ints whole = rounded_between(__builtin_convertvector(sums, floats) * by, low, high);
    return OPT_ZERO_POINTS ? whole + zero : whole;
}

static inline ints clamped(ints whole) {
    const ints least = ints{} - 128, most = ints{} + 127;
    whole = whole < least ? least : whole;
    return whole > most ? most : whole;
}

static inline int32_t requantize(int32_t sum, float by, int32_t zero) {
    float value = __builtin_rintf(float(sum) * by);
    value = value < -512.0f ? -512.0f : value > 512.0f ? 512.0f : value;
    const int32_t whole = int32_t(value) + (OPT_ZERO_POINTS ? zero : 0);
    return whole < -128 ? -128 : whole > 127 ? 127 : whole;
}

#if OPT_QUANTIZED_RESIDUAL
static inline ints load_bytes(const int8_t* p) {
    bytes narrow;
    __builtin_memcpy(&narrow, p, sizeof narrow);
#if defined(__AVX512F__)
    return WIDENED_512(narrow);
#else
    return __builtin_convertvector(narrow, ints);
#endif
}

// a * b + c, rounded once.
static inline floats fused(floats a, floats b, floats c) {
#if defined(__AVX512F__)
    return FUSED_512(a, b, c);
#elif defined(__FMA__)
    return __builtin_ia32_vfmaddps256(a, b, c);
#else
    for (int l = 0; l < LANES; ++l) a[l] = __builtin_fmaf(a[l], b[l], c[l]);
    return a;
#endif
}

// What is the same for all sums with a residual: to be made before any result is stored, since bytes may be anything.
struct Ratios {
    floats first, residual, added, least;

    Ratios(const float* ratios, int32_t least)
        : first(floats{} + ratios[0]), residual(floats{} + ratios[1]), added(floats{} + ratios[2]),
          least(floats{} + float(least)) {}
};

// As `rescale`, but within int8, and as floats.
static inline floats rescaled_floats(ints sums, floats by, int32_t zero) {
#if defined(__AVX512F__)
    floats whole = NEAREST_512(__builtin_convertvector(sums, floats) * by);
    if (OPT_ZERO_POINTS) whole += floats{} + float(zero);  // exact, or far beyond int8
    return LESSER_512(GREATER_512(whole, floats{} - 128.0f), floats{} + 127.0f);
#else
    return __builtin_convertvector(clamped(rescale(sums, by, zero)), floats);
#endif
}

// Sums as int8 results, and these with a residual, as ONNX Runtime's QLinearAdd has it (tuner/operators/conv2d.py).
static inline ints rescale_and_add(ints sums, floats by, int32_t zero, ints residual, const Ratios& ratios) {
    const floats added = fused(__builtin_convertvector(residual, floats), ratios.residual, ratios.added);
    const floats total = fused(rescaled_floats(sums, by, zero), ratios.first, added);
    return rounded_between(total, ratios.least, floats{} + 127.0f);
}
#endif

// What lies beyond int8 becomes its ends.
static inline bytes narrowed(ints v) {
#if defined(__AVX512F__)
    return SATURATED_512(v);
#else
    return __builtin_convertvector(clamped(v), bytes);
#endif
}

static inline void store(int8_t* p, ints v) {
    const bytes narrow = narrowed(v);
    __builtin_memcpy(p, &narrow, sizeof narrow);
}
#endif
