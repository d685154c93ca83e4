// __half and __half2: the type and its conversions. The arithmetic is in small_float_ops.h.
#pragma once
#include "atomics.h"
#include "small_floats.h"

namespace cuda_emulator {
typedef Format<10, 5> HalfFormat;
}

struct __half_raw {
  unsigned short x;
};
struct __half;
CUDA_EMU_INLINE __half __ushort_as_half(unsigned short bits);

struct __attribute__((aligned(2))) __half {
  unsigned short __x;
  __half() = default;
  __half(float v) : __x(cuda_emulator::HalfFormat::round(v)) {}
  __half(double v) : __x(cuda_emulator::HalfFormat::round(v)) {}
  __half(int v) : __x(cuda_emulator::HalfFormat::round(v)) {}
  __half(unsigned v) : __x(cuda_emulator::HalfFormat::round(v)) {}
  __half(short v) : __x(cuda_emulator::HalfFormat::round(v)) {}
  __half(unsigned short v) : __x(cuda_emulator::HalfFormat::round(v)) {}
  __half(long v) : __x(cuda_emulator::HalfFormat::round(double(v))) {}
  __half(unsigned long v) : __x(cuda_emulator::HalfFormat::round(double(v))) {}
  __half(long long v) : __x(cuda_emulator::HalfFormat::round(double(v))) {}
  __half(unsigned long long v) : __x(cuda_emulator::HalfFormat::round(double(v))) {}
  __half(__half_raw raw) : __x(raw.x) {}
  operator float() const { return cuda_emulator::HalfFormat::widen(__x); }
  operator __half_raw() const { return __half_raw{__x}; }
  operator bool() const { return (__x & 0x7fff) != 0; }
  operator signed char() const { return cuda_emulator::to_integer<signed char>(float(*this)); }
  operator unsigned char() const { return cuda_emulator::to_integer<unsigned char>(float(*this)); }
  operator short() const { return cuda_emulator::to_integer<short>(float(*this)); }
  operator unsigned short() const { return cuda_emulator::to_integer<unsigned short>(float(*this)); }
  operator int() const { return cuda_emulator::to_integer<int>(float(*this)); }
  operator unsigned() const { return cuda_emulator::to_integer<unsigned>(float(*this)); }
  operator long() const { return cuda_emulator::to_integer<long>(float(*this)); }
  operator unsigned long() const { return cuda_emulator::to_integer<unsigned long>(float(*this)); }
  operator long long() const { return cuda_emulator::to_integer<long long>(float(*this)); }
  operator unsigned long long() const { return cuda_emulator::to_integer<unsigned long long>(float(*this)); }
  template <class T>
  __half& operator=(T v) { return *this = __half(v); }
};
struct __attribute__((aligned(4))) __half2 {
  __half x, y;
  __half2() = default;
  __half2(const __half& low, const __half& high) : x(low), y(high) {}
};
typedef __half half;
typedef __half2 half2;
typedef __half nv_half;
typedef __half2 nv_half2;

CUDA_EMU_INLINE __half __ushort_as_half(unsigned short bits) { return __half(__half_raw{bits}); }
CUDA_EMU_INLINE __half __short_as_half(short bits) { return __ushort_as_half((unsigned short)bits); }
CUDA_EMU_INLINE unsigned short __half_as_ushort(__half h) { return h.__x; }
CUDA_EMU_INLINE short __half_as_short(__half h) { return (short)h.__x; }

#define EMU_T __half
#define EMU_T2 __half2
#define EMU_FORMAT cuda_emulator::HalfFormat
#define EMU_MAKE(v) __ushort_as_half(cuda_emulator::HalfFormat::round(v))
#define EMU_BITS(v) __ushort_as_half(v)
#include "small_float_ops.h"
#undef EMU_T
#undef EMU_T2
#undef EMU_FORMAT
#undef EMU_MAKE
#undef EMU_BITS

CUDA_EMU_INLINE float __half2float(__half h) { return cuda_emulator::HalfFormat::widen(h.__x); }
CUDA_EMU_INLINE __half __float2half(float f) { return __half(f); }
CUDA_EMU_INLINE __half __double2half(double d) { return __half(d); }
#define EMU_ROUND(suffix, mode, round_f)                                                           \
  CUDA_EMU_INLINE __half __float2half_##suffix(float f) {                                          \
    return __ushort_as_half(cuda_emulator::HalfFormat::round(f, cuda_emulator::mode));             \
  }                                                                                                \
  CUDA_EMU_INLINE __half __int2half_##suffix(int i) {                                              \
    return __ushort_as_half(cuda_emulator::HalfFormat::round(i, cuda_emulator::mode));             \
  }                                                                                                \
  CUDA_EMU_INLINE __half __uint2half_##suffix(unsigned i) {                                        \
    return __ushort_as_half(cuda_emulator::HalfFormat::round(i, cuda_emulator::mode));             \
  }                                                                                                \
  CUDA_EMU_INLINE __half __short2half_##suffix(short i) {                                          \
    return __ushort_as_half(cuda_emulator::HalfFormat::round(i, cuda_emulator::mode));             \
  }                                                                                                \
  CUDA_EMU_INLINE int __half2int_##suffix(__half h) {                                              \
    return cuda_emulator::to_integer<int>(round_f(__half2float(h)));                               \
  }                                                                                                \
  CUDA_EMU_INLINE unsigned __half2uint_##suffix(__half h) {                                        \
    return cuda_emulator::to_integer<unsigned>(round_f(__half2float(h)));                          \
  }                                                                                                \
  CUDA_EMU_INLINE short __half2short_##suffix(__half h) {                                          \
    return cuda_emulator::to_integer<short>(round_f(__half2float(h)));                             \
  }
EMU_ROUND(rn, NEAREST, rintf)
EMU_ROUND(rz, TOWARD_ZERO, truncf)
EMU_ROUND(rd, DOWN, floorf)
EMU_ROUND(ru, UP, ceilf)
#undef EMU_ROUND

CUDA_EMU_INLINE __half2 __halves2half2(__half low, __half high) { return __half2(low, high); }
CUDA_EMU_INLINE __half2 make_half2(__half low, __half high) { return __half2(low, high); }
CUDA_EMU_INLINE __half2 __half2half2(__half h) { return __half2(h, h); }
CUDA_EMU_INLINE __half __low2half(__half2 h) { return h.x; }
CUDA_EMU_INLINE __half __high2half(__half2 h) { return h.y; }
CUDA_EMU_INLINE __half2 __low2half2(__half2 h) { return __half2(h.x, h.x); }
CUDA_EMU_INLINE __half2 __high2half2(__half2 h) { return __half2(h.y, h.y); }
CUDA_EMU_INLINE __half2 __lows2half2(__half2 a, __half2 b) { return __half2(a.x, b.x); }
CUDA_EMU_INLINE __half2 __highs2half2(__half2 a, __half2 b) { return __half2(a.y, b.y); }
CUDA_EMU_INLINE __half2 __float2half2_rn(float f) { return __half2(__half(f), __half(f)); }
CUDA_EMU_INLINE __half2 __floats2half2_rn(float low, float high) { return __half2(__half(low), __half(high)); }
CUDA_EMU_INLINE __half2 __float22half2_rn(float2 f) { return __half2(__half(f.x), __half(f.y)); }
CUDA_EMU_INLINE float2 __half22float2(__half2 h) { return float2{__half2float(h.x), __half2float(h.y)}; }
