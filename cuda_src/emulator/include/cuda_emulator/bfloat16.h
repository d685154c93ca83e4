// __nv_bfloat16 and __nv_bfloat162: the type and its conversions. The arithmetic is in small_float_ops.h.
#pragma once
#include "atomics.h"
#include "small_floats.h"

namespace cuda_emulator {
typedef Format<7, 8> BfloatFormat;
}

struct __nv_bfloat16_raw {
  unsigned short x;
};
struct __nv_bfloat16;
CUDA_EMU_INLINE __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits);

struct __attribute__((aligned(2))) __nv_bfloat16 {
  unsigned short __x;
  __nv_bfloat16() = default;
  __nv_bfloat16(float v) : __x(cuda_emulator::BfloatFormat::round(v)) {}
  __nv_bfloat16(double v) : __x(cuda_emulator::BfloatFormat::round(v)) {}
  __nv_bfloat16(int v) : __x(cuda_emulator::BfloatFormat::round(v)) {}
  __nv_bfloat16(unsigned v) : __x(cuda_emulator::BfloatFormat::round(v)) {}
  __nv_bfloat16(long long v) : __x(cuda_emulator::BfloatFormat::round(double(v))) {}
  __nv_bfloat16(unsigned long long v) : __x(cuda_emulator::BfloatFormat::round(double(v))) {}
  __nv_bfloat16(__nv_bfloat16_raw raw) : __x(raw.x) {}
  operator float() const { return cuda_emulator::BfloatFormat::widen(__x); }
  operator __nv_bfloat16_raw() const { return __nv_bfloat16_raw{__x}; }
  operator bool() const { return (__x & 0x7fff) != 0; }
  operator int() const { return cuda_emulator::to_integer<int>(float(*this)); }
  operator unsigned() const { return cuda_emulator::to_integer<unsigned>(float(*this)); }
  template <class T>
  __nv_bfloat16& operator=(T v) { return *this = __nv_bfloat16(v); }
};
struct __attribute__((aligned(4))) __nv_bfloat162 {
  __nv_bfloat16 x, y;
  __nv_bfloat162() = default;
  __nv_bfloat162(const __nv_bfloat16& low, const __nv_bfloat16& high) : x(low), y(high) {}
};
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

CUDA_EMU_INLINE __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16(__nv_bfloat16_raw{bits}); }
CUDA_EMU_INLINE __nv_bfloat16 __short_as_bfloat16(short bits) { return __ushort_as_bfloat16((unsigned short)bits); }
CUDA_EMU_INLINE unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) { return h.__x; }
CUDA_EMU_INLINE short __bfloat16_as_short(__nv_bfloat16 h) { return (short)h.__x; }

#define EMU_T __nv_bfloat16
#define EMU_T2 __nv_bfloat162
#define EMU_FORMAT cuda_emulator::BfloatFormat
#define EMU_MAKE(v) __ushort_as_bfloat16(cuda_emulator::BfloatFormat::round(v))
#define EMU_BITS(v) __ushort_as_bfloat16(v)
#include "small_float_ops.h"
#undef EMU_T
#undef EMU_T2
#undef EMU_FORMAT
#undef EMU_MAKE
#undef EMU_BITS

CUDA_EMU_INLINE float __bfloat162float(__nv_bfloat16 h) { return cuda_emulator::BfloatFormat::widen(h.__x); }
CUDA_EMU_INLINE __nv_bfloat16 __float2bfloat16(float f) { return __nv_bfloat16(f); }
CUDA_EMU_INLINE __nv_bfloat16 __double2bfloat16(double d) { return __nv_bfloat16(d); }
#define EMU_ROUND(suffix, mode)                                                                     \
  CUDA_EMU_INLINE __nv_bfloat16 __float2bfloat16_##suffix(float f) {                                \
    return __ushort_as_bfloat16(cuda_emulator::BfloatFormat::round(f, cuda_emulator::mode));        \
  }
EMU_ROUND(rn, NEAREST)
EMU_ROUND(rz, TOWARD_ZERO)
EMU_ROUND(rd, DOWN)
EMU_ROUND(ru, UP)
#undef EMU_ROUND
CUDA_EMU_INLINE __nv_bfloat16 __int2bfloat16_rn(int i) { return __nv_bfloat16(i); }
CUDA_EMU_INLINE int __bfloat162int_rn(__nv_bfloat16 h) {
  return cuda_emulator::to_integer<int>(rintf(__bfloat162float(h)));
}
CUDA_EMU_INLINE int __bfloat162int_rz(__nv_bfloat16 h) {
  return cuda_emulator::to_integer<int>(truncf(__bfloat162float(h)));
}
CUDA_EMU_INLINE __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) {
  return __nv_bfloat162(low, high);
}
CUDA_EMU_INLINE __nv_bfloat162 make_bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) { return __nv_bfloat162(low, high); }
CUDA_EMU_INLINE __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 h) { return __nv_bfloat162(h, h); }
CUDA_EMU_INLINE __nv_bfloat16 __low2bfloat16(__nv_bfloat162 h) { return h.x; }
CUDA_EMU_INLINE __nv_bfloat16 __high2bfloat16(__nv_bfloat162 h) { return h.y; }
CUDA_EMU_INLINE __nv_bfloat162 __float2bfloat162_rn(float f) { return __nv_bfloat162(__nv_bfloat16(f), __nv_bfloat16(f)); }
CUDA_EMU_INLINE __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
  return __nv_bfloat162(__nv_bfloat16(low), __nv_bfloat16(high));
}
CUDA_EMU_INLINE __nv_bfloat162 __float22bfloat162_rn(float2 f) { return __floats2bfloat162_rn(f.x, f.y); }
CUDA_EMU_INLINE float2 __bfloat1622float2(__nv_bfloat162 h) {
  return float2{__bfloat162float(h.x), __bfloat162float(h.y)};
}
