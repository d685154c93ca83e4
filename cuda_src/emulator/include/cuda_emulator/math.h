// CUDA's single- and double-precision functions on top of the host's math library.
//
// Intrinsics whose result the CUDA Math API defines exactly (rounded add, multiply, fma, conversions) are exact;
// approximations (__expf, __sinf, ...) give the host library's value, closer to the truth than a GPU's.
#pragma once
#include <math.h>

#include "sync.h"

namespace cuda_emulator {
template <class T>
CUDA_EMU_INLINE T saturate(T x) { return x >= T(0) ? (x < T(1) ? x : T(1)) : T(0); }  // NaN gives 0
// CUDA's float-to-integer conversions clamp, and give 0 for a NaN; the host's are undefined there.
template <class I, class F>
CUDA_EMU_INLINE I to_integer(F x) {
  constexpr I low = I(-1) < I(0) ? I(I(1) << (sizeof(I) * 8 - 1)) : I(0);
  constexpr I high = I(~low);
  if (x != x) return I(0);
  if (x <= F(low)) return low;
  if (x >= F(high)) return high;
  return I(x);
}
template <class To, class From>
CUDA_EMU_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "sizes differ");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
CUDA_EMU_INLINE float fast_exp(float x) { return expf(x); }
CUDA_EMU_INLINE float fast_exp10(float x) { return (float)pow(10.0, (double)x); }
CUDA_EMU_INLINE float fast_log(float x) { return logf(x); }
CUDA_EMU_INLINE float fast_log2(float x) { return log2f(x); }
CUDA_EMU_INLINE float fast_log10(float x) { return log10f(x); }
CUDA_EMU_INLINE float fast_sin(float x) { return sinf(x); }
CUDA_EMU_INLINE float fast_cos(float x) { return cosf(x); }
CUDA_EMU_INLINE float fast_tan(float x) { return tanf(x); }
CUDA_EMU_INLINE float fast_tanh(float x) { return tanhf(x); }
CUDA_EMU_INLINE float fast_pow(float x, float y) { return powf(x, y); }
CUDA_EMU_INLINE void fast_sincos(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
}  // namespace cuda_emulator

// The C library declares functions of these names for itself, hence macros.
#define __expf ::cuda_emulator::fast_exp
#define __exp10f ::cuda_emulator::fast_exp10
#define __logf ::cuda_emulator::fast_log
#define __log2f ::cuda_emulator::fast_log2
#define __log10f ::cuda_emulator::fast_log10
#define __sinf ::cuda_emulator::fast_sin
#define __cosf ::cuda_emulator::fast_cos
#define __tanf ::cuda_emulator::fast_tan
#define __tanhf ::cuda_emulator::fast_tanh
#define __powf ::cuda_emulator::fast_pow
#define __sincosf ::cuda_emulator::fast_sincos
#define __fdividef(x, y) ((float)(x) / (float)(y))

#define CUDA_EMU_MINMAX(A, B, R)                                            \
  CUDA_EMU_INLINE R min(A a, B b) { return (R)a < (R)b ? (R)a : (R)b; }     \
  CUDA_EMU_INLINE R max(A a, B b) { return (R)a > (R)b ? (R)a : (R)b; }
CUDA_EMU_MINMAX(int, int, int)
CUDA_EMU_MINMAX(unsigned, unsigned, unsigned)
CUDA_EMU_MINMAX(int, unsigned, unsigned)
CUDA_EMU_MINMAX(unsigned, int, unsigned)
CUDA_EMU_MINMAX(long, long, long)
CUDA_EMU_MINMAX(unsigned long, unsigned long, unsigned long)
CUDA_EMU_MINMAX(long long, long long, long long)
CUDA_EMU_MINMAX(unsigned long long, unsigned long long, unsigned long long)
#undef CUDA_EMU_MINMAX
// As fminf and fmaxf: the number, where one of the two is a NaN.
CUDA_EMU_INLINE float min(float a, float b) { return fminf(a, b); }
CUDA_EMU_INLINE float max(float a, float b) { return fmaxf(a, b); }
CUDA_EMU_INLINE double min(double a, double b) { return fmin(a, b); }
CUDA_EMU_INLINE double max(double a, double b) { return fmax(a, b); }
CUDA_EMU_INLINE double min(float a, double b) { return fmin(a, b); }
CUDA_EMU_INLINE double max(float a, double b) { return fmax(a, b); }
CUDA_EMU_INLINE double min(double a, float b) { return fmin(a, b); }
CUDA_EMU_INLINE double max(double a, float b) { return fmax(a, b); }

CUDA_EMU_INLINE float __fadd_rn(float a, float b) { return a + b; }
CUDA_EMU_INLINE float __fsub_rn(float a, float b) { return a - b; }
CUDA_EMU_INLINE float __fmul_rn(float a, float b) { return a * b; }
CUDA_EMU_INLINE float __fdiv_rn(float a, float b) { return a / b; }
CUDA_EMU_INLINE float __frcp_rn(float a) { return 1.0f / a; }
CUDA_EMU_INLINE float __fsqrt_rn(float a) { return sqrtf(a); }
CUDA_EMU_INLINE float __frsqrt_rn(float a) { return float(1.0 / sqrt(double(a))); }
CUDA_EMU_INLINE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
CUDA_EMU_INLINE float __fmaf_ieee_rn(float a, float b, float c) { return fmaf(a, b, c); }
CUDA_EMU_INLINE double __dadd_rn(double a, double b) { return a + b; }
CUDA_EMU_INLINE double __dmul_rn(double a, double b) { return a * b; }
CUDA_EMU_INLINE double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
CUDA_EMU_INLINE float __saturatef(float x) { return cuda_emulator::saturate(x); }
CUDA_EMU_INLINE float rsqrtf(float x) { return float(1.0 / sqrt(double(x))); }
CUDA_EMU_INLINE double rsqrt(double x) { return 1.0 / sqrt(x); }
CUDA_EMU_INLINE float rcbrtf(float x) { return 1.0f / cbrtf(x); }
CUDA_EMU_INLINE float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
CUDA_EMU_INLINE float fdividef(float a, float b) { return a / b; }
CUDA_EMU_INLINE float sinpif(float x) { return float(sin(double(x) * 3.14159265358979323846)); }
CUDA_EMU_INLINE float cospif(float x) { return float(cos(double(x) * 3.14159265358979323846)); }

CUDA_EMU_INLINE int __float_as_int(float x) { return cuda_emulator::bits_as<int>(x); }
CUDA_EMU_INLINE unsigned __float_as_uint(float x) { return cuda_emulator::bits_as<unsigned>(x); }
CUDA_EMU_INLINE float __int_as_float(int x) { return cuda_emulator::bits_as<float>(x); }
CUDA_EMU_INLINE float __uint_as_float(unsigned x) { return cuda_emulator::bits_as<float>(x); }
CUDA_EMU_INLINE long long __double_as_longlong(double x) { return cuda_emulator::bits_as<long long>(x); }
CUDA_EMU_INLINE double __longlong_as_double(long long x) { return cuda_emulator::bits_as<double>(x); }
CUDA_EMU_INLINE int __double2hiint(double x) { return int(__double_as_longlong(x) >> 32); }
CUDA_EMU_INLINE int __double2loint(double x) { return int(__double_as_longlong(x)); }

#define CUDA_EMU_CONVERSIONS(mode, round)                                                                    \
  CUDA_EMU_INLINE int __float2int_##mode(float x) { return cuda_emulator::to_integer<int>(round##f(x)); }    \
  CUDA_EMU_INLINE unsigned __float2uint_##mode(float x) { return cuda_emulator::to_integer<unsigned>(round##f(x)); } \
  CUDA_EMU_INLINE long long __float2ll_##mode(float x) { return cuda_emulator::to_integer<long long>(round##f(x)); } \
  CUDA_EMU_INLINE int __double2int_##mode(double x) { return cuda_emulator::to_integer<int>(round(x)); }     \
  CUDA_EMU_INLINE long long __double2ll_##mode(double x) { return cuda_emulator::to_integer<long long>(round(x)); }
CUDA_EMU_CONVERSIONS(rn, rint)
CUDA_EMU_CONVERSIONS(rz, trunc)
CUDA_EMU_CONVERSIONS(rd, floor)
CUDA_EMU_CONVERSIONS(ru, ceil)
#undef CUDA_EMU_CONVERSIONS
CUDA_EMU_INLINE float __int2float_rn(int x) { return float(x); }
CUDA_EMU_INLINE float __uint2float_rn(unsigned x) { return float(x); }
CUDA_EMU_INLINE float __ll2float_rn(long long x) { return float(x); }
CUDA_EMU_INLINE float __double2float_rn(double x) { return float(x); }
CUDA_EMU_INLINE double __int2double_rn(int x) { return double(x); }
