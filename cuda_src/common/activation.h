// What is done last to a result, as the workload asks: OPT_RELU, OPT_RELU6, OPT_SILU, OPT_HARDSWISH, OPT_GELU or OPT_TANH,
// at most one. `activated(x)` is for a float and for a vector; for integers, which have ReLU alone, too. A NaN stays one.
#pragma once

#include "activation_options.h"

#if OPT_SILU || OPT_GELU || OPT_TANH
#include "curves.h"
#include "exp2.h"
#endif

template <class T>
static inline T activated(T value) {
    // Not value > 0 ? value : 0, which would hide a NaN.
    if (OPT_RELU || OPT_RELU6) value = value < T{} ? T{} : value;
#if OPT_RELU6
    const T six = T{} + 6.0f;
    value = value > six ? six : value;
#elif OPT_HARDSWISH
    // x * min(max(x + 3, 0), 6) / 6; the largest x times 6 would overflow.
    const T six = T{} + 6.0f;
    T gate = value + 3.0f;
    gate = gate < T{} ? T{} : gate;
    gate = gate > six ? six : gate;
    value *= gate * (1.0f / 6.0f);
#endif
    return value;
}

#if OPT_SILU
// x / (1 + e^-x). With t = e^-|x|, which does not overflow, it is x / (1 + t), or x t / (1 + t) of a negative x.
template <>
inline vec activated(vec value) {
    const vec negative = value < vec{} ? value : -value;
    const vec t = exp2_negative(negative * splat(1.44269504f));  // log2(e)
    return value * (value < vec{} ? t : splat(1.0f)) / (splat(1.0f) + t);
}

template <>
inline float activated(float value) {
    return value / (1.0f + __builtin_expf(-value));
}
#elif OPT_GELU
// x (1 + erf(t)) / 2 with t = x / sqrt 2. Away from 0 it is made of erfc: what is left of x far below 0 is then no
// difference of numbers near 1. Beyond 4 there is nothing left: 8e-9 of x.
template <>
inline vec activated(vec x) {
    const vec t = x * splat(0.70710678f), size = t < vec{} ? -t : t, half = splat(0.5f);
    const vec near = half + half * t * erf_over_x(t * t);
    vec tail = half * exp2_negative(log_erfc(size) * splat(1.44269504f));  // log2(e)
    tail = size > splat(4.0f) ? vec{} : tail;
    const vec far = t < vec{} ? tail : splat(1.0f) - tail;
    return x * (size < splat(1.0f) ? near : far);
}

template <>
inline float activated(float x) {
    return x * 0.5f * __builtin_erfcf(x * -0.70710678f);
}
#elif OPT_TANH
// With t = e^-2|x| it is (1 - t) / (1 + t), and of a negative x minus that.
template <>
inline vec activated(vec x) {
    const vec size = x < vec{} ? -x : x, one = splat(1.0f);
    const vec t = exp2_negative(size * splat(-2.88539008f));  // -2 log2(e)
    const vec far = (one - t) / (one + t);
    return size < splat(0.625f) ? tanh_near_zero(x) : x < vec{} ? -far : far;
}

template <>
inline float activated(float x) {
    return __builtin_tanhf(x);
}
#endif
