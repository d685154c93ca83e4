// 8-bit floats e4m3 and e5m2 (OCP 8-bit Floating Point Specification 1.0), their types and conversions.
//
// Conversions of NVIDIA's types saturate to the largest finite number unless asked not to (CUDA Math API, "FP8
// Intrinsics"), as cvt.satfinite does.
#pragma once
#include "bfloat16.h"
#include "half.h"

namespace cuda_emulator {
// To nearest, ties to even; `SIGNIFICAND` explicit bits; `LARGEST` the encoding of the largest finite number.
template <int SIGNIFICAND, int BIAS, unsigned LARGEST, unsigned QUIET, unsigned OVER>
struct Format8 {
  static unsigned char round(double x, bool saturate = true) {
    const unsigned sign = __builtin_signbit(x) ? 0x80 : 0;
    if (x != x) return (unsigned char)(sign | QUIET);
    const double size = __builtin_fabs(x);
    if (size == 0) return (unsigned char)sign;
    if (size == __builtin_inf()) return (unsigned char)(sign | (saturate ? LARGEST : OVER));
    int exponent;
    __builtin_frexp(size, &exponent);  // size = 0.1xxx * 2^exponent
    int e = exponent - 1 < 1 - BIAS ? 1 - BIAS : exponent - 1;
    const double steps = __builtin_nearbyint(__builtin_ldexp(size, SIGNIFICAND - e));
    // Carries run from the significand into the exponent.
    const unsigned first = steps < (1 << SIGNIFICAND) ? 0 : unsigned(e + BIAS - 1) << SIGNIFICAND;
    const double encoding = first + steps;
    if (encoding > LARGEST) return (unsigned char)(sign | (saturate ? LARGEST : OVER));
    return (unsigned char)(sign | unsigned(encoding));
  }
  static float widen(unsigned char bits) {
    const unsigned magnitude = bits & 0x7f, biased = magnitude >> SIGNIFICAND;
    const unsigned rest = magnitude & ((1u << SIGNIFICAND) - 1);
    const float sign = bits & 0x80 ? -1.0f : 1.0f;
    if (magnitude > LARGEST) return magnitude == OVER && OVER != QUIET ? sign * __builtin_inff() : __builtin_nanf("");
    if (!biased) return sign * float(__builtin_ldexp(rest, 1 - BIAS - SIGNIFICAND));
    return sign * float(__builtin_ldexp(rest | 1u << SIGNIFICAND, int(biased) - BIAS - SIGNIFICAND));
  }
};
typedef Format8<3, 7, 0x7e, 0x7f, 0x7f> E4m3;   // no infinity
typedef Format8<2, 15, 0x7b, 0x7f, 0x7c> E5m2;
}  // namespace cuda_emulator

typedef unsigned char __nv_fp8_storage_t;
typedef unsigned short __nv_fp8x2_storage_t;
typedef unsigned __nv_fp8x4_storage_t;
enum __nv_saturation_t { __NV_NOSAT, __NV_SATFINITE };
enum __nv_fp8_interpretation_t { __NV_E4M3, __NV_E5M2 };

#define CUDA_EMU_FP8(name, format)                                                                     \
  struct name {                                                                                        \
    __nv_fp8_storage_t __x;                                                                            \
    name() = default;                                                                                  \
    explicit name(float v) : __x(cuda_emulator::format::round(v)) {}                                   \
    explicit name(double v) : __x(cuda_emulator::format::round(v)) {}                                  \
    explicit name(int v) : __x(cuda_emulator::format::round(v)) {}                                     \
    explicit name(__half v) : __x(cuda_emulator::format::round(float(v))) {}                           \
    explicit name(__nv_bfloat16 v) : __x(cuda_emulator::format::round(float(v))) {}                    \
    explicit operator float() const { return cuda_emulator::format::widen(__x); }                      \
    explicit operator double() const { return cuda_emulator::format::widen(__x); }                     \
    explicit operator __half() const { return __half(cuda_emulator::format::widen(__x)); }             \
    explicit operator __nv_bfloat16() const { return __nv_bfloat16(cuda_emulator::format::widen(__x)); } \
  };
CUDA_EMU_FP8(__nv_fp8_e4m3, E4m3)
CUDA_EMU_FP8(__nv_fp8_e5m2, E5m2)
#undef CUDA_EMU_FP8

CUDA_EMU_INLINE __nv_fp8_storage_t __nv_cvt_double_to_fp8(double x, __nv_saturation_t saturate,
                                                          __nv_fp8_interpretation_t kind) {
  const bool finite = saturate == __NV_SATFINITE;
  return kind == __NV_E4M3 ? cuda_emulator::E4m3::round(x, finite) : cuda_emulator::E5m2::round(x, finite);
}
CUDA_EMU_INLINE __nv_fp8_storage_t __nv_cvt_float_to_fp8(float x, __nv_saturation_t s, __nv_fp8_interpretation_t k) {
  return __nv_cvt_double_to_fp8(double(x), s, k);
}
CUDA_EMU_INLINE __nv_fp8x2_storage_t __nv_cvt_float2_to_fp8x2(float2 x, __nv_saturation_t s,
                                                              __nv_fp8_interpretation_t k) {
  return __nv_fp8x2_storage_t(__nv_cvt_float_to_fp8(x.x, s, k) | __nv_cvt_float_to_fp8(x.y, s, k) << 8);
}
CUDA_EMU_INLINE __half_raw __nv_cvt_fp8_to_halfraw(__nv_fp8_storage_t x, __nv_fp8_interpretation_t k) {
  return __half(k == __NV_E4M3 ? cuda_emulator::E4m3::widen(x) : cuda_emulator::E5m2::widen(x));
}
