// What is done last to a result, as the workload asks: OPT_RELU, OPT_RELU6, OPT_SILU or OPT_HARDSWISH, at most one.
// `activated(x)` is for a float and for a vector. A NaN stays one.
#pragma once

#if !defined(OPT_RELU6)  // of kernels that honour ReLU alone
#define OPT_RELU6 0
#define OPT_SILU 0
#define OPT_HARDSWISH 0
#endif

#if OPT_SILU
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
#endif
