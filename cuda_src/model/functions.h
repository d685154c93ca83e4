// Functions of one float that ONNX's operators name, without branches, so that loops over them become vectors.
//
// Polynomials are minimax fits (Lawson's iteration on 2000 Chebyshev points); errors are stated before rounding.
#pragma once
#include <stdint.h>

#include "../common/curves.h"

static inline float as_float(int32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}

static inline int32_t as_bits(float value) {
    int32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    return bits;
}

// x = n ln 2 + f with |f| <= ln 2 / 2, e^x = 2^n e^f. Adding 1.5 * 2^23 rounds to an integer, which then is in the low
// bits. ln 2 in two parts, the first of few bits, so that n times it is exact. The polynomial errs by 1.9e-9 relative.
static inline __attribute__((always_inline)) float exp_parts(float x, int32_t* n) {
    const float magic = 12582912.0f;
    const float rounded = x * 1.44269504f + magic;
    const float whole = rounded - magic;
    const float f = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float p = 0.001395604f;
    p = p * f + 0.008375129f;
    p = p * f + 0.041666083f;
    p = p * f + 0.16666415f;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    *n = as_bits(rounded) - as_bits(magic);
    return p;
}

// 2^n in two factors: of the largest and of denormal results no single float is the factor. A NaN stays.
static inline float exp_of(float x) {
    x = x > 89.0f ? 89.0f : x;
    x = x < -105.0f ? -105.0f : x;
    int32_t n;
    const float p = exp_parts(x, &n);
    const int32_t half = n >> 1;
    return p * as_float((half + 127) << 23) * as_float((n - half + 127) << 23);
}

// For |x| <= 80, where one factor is enough.
static inline float exp_in_range(float x) {
    int32_t n;
    const float p = exp_parts(x, &n);
    return p * as_float((n + 127) << 23);
}

static inline float relu_of(float x) { return x < 0.0f ? 0.0f : x; }
static inline float abs_of(float x) { return __builtin_fabsf(x); }
static inline float sqrt_of(float x) { return __builtin_sqrtf(x); }
// x to the power of 0.5, which of -infinity and of -0 is no root: infinity and 0.
static inline float half_power_of(float x) { return x < -3.402823466e38f ? -x : __builtin_sqrtf(x + 0.0f); }
static inline float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(-x)); }
static inline float clip_of(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}
static inline float leaky_of(float x, float alpha) { return x < 0.0f ? alpha * x : x; }
static inline float hard_sigmoid_of(float x, float alpha, float beta) { return clip_of(alpha * x + beta, 0.0f, 1.0f); }
// Of equal zeros the second; a NaN of either stays.
static inline float larger_of(float a, float b) { return a > b || a != a ? a : b; }
static inline float smaller_of(float a, float b) { return a < b || a != a ? a : b; }

// Above 0.625 it is 1 - 2 / (e^2x + 1).
static inline float tanh_of(float x) {
    const float size = abs_of(x), far_x = size > 20.0f ? 20.0f : size;
    const float far = __builtin_copysignf(1.0f - 2.0f / (exp_in_range(2.0f * far_x) + 1.0f), x);
    return size < 0.625f ? tanh_near_zero(x) : x != x ? x : far;
}

// Above 1 it is 1 - erfc; beyond 4 it is 1.
static inline float erf_of(float x) {
    const float size = abs_of(x), far_x = size > 4.0f ? 4.0f : size;
    const float far = __builtin_copysignf(1.0f - exp_in_range(log_erfc(far_x)), x);
    return size < 1.0f ? x * erf_over_x(x * x) : x != x ? x : far;
}

// What stands for x: round(x / scale) + zero within low and high, ties to even; of a NaN it is low. The quotient is
// rounded as a division rounds it, by a correction of what the reciprocal gives; 512 steps are beyond any 8 bits.
static inline float quantized_of(float x, float scale, float zero, float low, float high) {
    const float most = 512.0f * scale, reciprocal = 1.0f / scale;
    x = x > -most ? x : -most;
    x = x < most ? x : most;
    float quotient = x * reciprocal;
    quotient = __builtin_fmaf(__builtin_fmaf(-quotient, scale, x), reciprocal, quotient);
    return clip_of(__builtin_rintf(quotient) + zero, low, high);
}

// A sum of quantized numbers as ONNX Runtime computes it: each times its scale over the result's, zero points together.
static inline float quantized_sum_of(float x, float by_x, float y, float by_y, float zeros, float low, float high) {
    return clip_of(__builtin_rintf(__builtin_fmaf(x, by_x, __builtin_fmaf(y, by_y, zeros))), low, high);
}
