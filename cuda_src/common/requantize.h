// An int32 sum on its way back to int8: clamp(round(f32(sum) * scale) + zero point), ties to even.
// For files whose workload may have OPT_SCALE_TENSOR, OPT_SCALE_CHANNEL and OPT_ZERO_POINTS.
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

#if DTYPE_INT8
typedef float floats __attribute__((vector_size(VECTOR_BYTES)));
typedef float floats_unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES)));
typedef int8_t bytes __attribute__((vector_size(VECTOR_BYTES / 4)));

static inline floats load_floats(const float* p) { return *reinterpret_cast<const floats_unaligned*>(p); }

// One scale for all: `by` is a vector of it.
static inline ints requantize(ints sums, floats by, int32_t zero) {
    const floats low = floats{} - 512.0f, high = floats{} + 512.0f;
    // 1.5 * 2^23: what is added to it is rounded to an integer, which then is the difference of the bits.
    const floats large = floats{} + 12582912.0f;
    floats value = __builtin_convertvector(sums, floats) * by;
    // Beyond int8 by more than a zero point may bring back, and small enough for the sum with `large`. Between the
    // product and the sum, so that no compiler fuses them.
    value = value < low ? low : value;
    value = value > high ? high : value;
    ints whole = (ints)(value + large) - 0x4B400000;
    if (OPT_ZERO_POINTS) whole += zero;
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

// Sums that are known to lie in int8.
static inline void store(int8_t* p, ints v) {
    const bytes narrow = __builtin_convertvector(v, bytes);
    __builtin_memcpy(p, &narrow, sizeof narrow);
}
#endif
