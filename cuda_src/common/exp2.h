// 2^x for vectors of x <= 0: of attention's scores the largest is subtracted before, and SiLU takes e^-|x|. Whoever wants
// e^x multiplies by log2(e) before; scores are multiplied by it with their scale, so no exponential needs it.
#pragma once
#include <utility>

#include "simd.h"

typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES)));

// The larger of two; where b is a NaN, b.
static inline vec larger(vec a, vec b) {
#if defined(__AVX512F__) && !defined(__clang__)
    return __builtin_ia32_maxps512_mask(a, b, a, -1, 4);
#elif defined(__AVX__) && !defined(__AVX512F__) && !defined(__clang__)
    return __builtin_ia32_maxps256(a, b);
#else
    return a > b ? a : b;
#endif
}

// x = n + f with n an integer and |f| <= 1/2, so 2^x = 2^n 2^f. Adding 1.5 * 2^23 rounds to an integer, since
// the last bit of such a number is worth 1; 127 more, and its low bits are the exponent field of 2^n. 2^f is a
// polynomial of degree 5 with 2^0 = 1 exactly, since a rescaling by 1 must change nothing. Its coefficients
// minimise the largest relative error, 1.1e-7 before rounding (a linear program over 4001 Chebyshev points).
// The whole errs by at most 1.94e-7 for -126 <= x <= 0 (1.9e-7 where products and sums are fused), measured over every
// 509th float (slowly: every one) by tests/kernels/test_attention_exp.py; below -127 the result is 0, between them less than 1.2e-38. A NaN stays.
static inline vec exp2_negative(vec x) {
    const vec magic = splat(12582912.0f + 127.0f);
    x = larger(splat(-127.0f), x);
    const vec rounded = x + magic;
    const vec f = x - (rounded - magic);
    vec p = splat(0.001326465280726552f);
    p = p * f + splat(0.009671511128544807f);
    p = p * f + splat(0.05550733953714371f);
    p = p * f + splat(0.24022242426872253f);
    p = p * f + splat(0.6931470036506653f);
    p = p * f + splat(1.0f);
    return p * (vec)((ints)rounded << 23);
}

// Every lane takes the value of its partner `W` away. The mask is a constant of the type system: built in a loop it
// is a vector assembled at run time, whose latency kept the next keys' loads from being issued ahead.
template <int W, int... I>
static inline vec partners(vec v, std::integer_sequence<int, I...>) {
#if defined(__clang__)
    return __builtin_shufflevector(v, v, (I ^ W)...);
#else
    return __builtin_shuffle(v, ints{(I ^ W)...});
#endif
}

// All lanes into one, halving the vector each time.
template <int W = LANES / 2, class Combine>
static inline float across(vec v, Combine combine) {
    if constexpr (W == 0) return v[0];
    else return across<W / 2>(combine(v, partners<W>(v, std::make_integer_sequence<int, LANES>())), combine);
}

static inline float sum_across(vec v) {
    return across(v, [](vec a, vec b) { return a + b; });
}

static inline float largest_across(vec v) {
    return across(v, larger);
}

// Of each four lanes of a and b the lanes I ..., those of b counted from 4 on.
template <int... I, int... L>
static inline vec of_fours(vec a, vec b, std::integer_sequence<int, I...>, std::integer_sequence<int, L...>) {
    constexpr int pick[4] = {I...};
#if defined(__clang__)
    return __builtin_shufflevector(a, b, (L / 4 * 4 + pick[L % 4] % 4 + pick[L % 4] / 4 * LANES)...);
#else
    return __builtin_shuffle(a, b, ints{(L / 4 * 4 + pick[L % 4] % 4 + pick[L % 4] / 4 * LANES)...});
#endif
}

// The sums across four vectors, in the first four lanes: with half as many instructions as one after the other.
static inline vec sums_across(vec a, vec b, vec c, vec d) {
    const auto lanes = std::make_integer_sequence<int, LANES>();
    const auto add = [&](vec x, vec y, auto low, auto high) { return of_fours(x, y, low, lanes) + of_fours(x, y, high, lanes); };
    const std::integer_sequence<int, 0, 4, 1, 5> first;
    const std::integer_sequence<int, 2, 6, 3, 7> last;
    const std::integer_sequence<int, 0, 1, 4, 5> left;
    const std::integer_sequence<int, 2, 3, 6, 7> right;
    vec sums = add(add(a, b, first, last), add(c, d, first, last), left, right);
    if constexpr (LANES > 8) sums += partners<8>(sums, lanes);
    if constexpr (LANES > 4) sums += partners<4>(sums, lanes);
    return sums;
}
