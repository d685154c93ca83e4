// Vector types with CUDA's alignments (CUDA C++ Programming Guide, "Built-in Vector Types") and make_ functions.
#pragma once

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

#define CUDA_EMULATOR_VECTORS(name, T, a1, a2, a3, a4)                                              \
  struct __attribute__((aligned(a1))) name##1 { T x; };                                             \
  struct __attribute__((aligned(a2))) name##2 { T x, y; };                                          \
  struct __attribute__((aligned(a3))) name##3 { T x, y, z; };                                       \
  struct __attribute__((aligned(a4))) name##4 { T x, y, z, w; };                                    \
  constexpr inline name##1 make_##name##1(T x) { return name##1{x}; }                               \
  constexpr inline name##2 make_##name##2(T x, T y) { return name##2{x, y}; }                       \
  constexpr inline name##3 make_##name##3(T x, T y, T z) { return name##3{x, y, z}; }               \
  constexpr inline name##4 make_##name##4(T x, T y, T z, T w) { return name##4{x, y, z, w}; }

CUDA_EMULATOR_VECTORS(char, signed char, 1, 2, 1, 4)
CUDA_EMULATOR_VECTORS(uchar, unsigned char, 1, 2, 1, 4)
CUDA_EMULATOR_VECTORS(short, short, 2, 4, 2, 8)
CUDA_EMULATOR_VECTORS(ushort, unsigned short, 2, 4, 2, 8)
CUDA_EMULATOR_VECTORS(int, int, 4, 8, 4, 16)
CUDA_EMULATOR_VECTORS(long, long, 8, 16, 8, 16)
CUDA_EMULATOR_VECTORS(ulong, unsigned long, 8, 16, 8, 16)
CUDA_EMULATOR_VECTORS(longlong, long long, 8, 16, 8, 16)
CUDA_EMULATOR_VECTORS(ulonglong, unsigned long long, 8, 16, 8, 16)
CUDA_EMULATOR_VECTORS(float, float, 4, 8, 4, 16)
CUDA_EMULATOR_VECTORS(double, double, 8, 16, 8, 16)
#undef CUDA_EMULATOR_VECTORS

// uint3 is threadIdx's type and lies in api.h.
struct uint1 { unsigned x; };
struct __attribute__((aligned(8))) uint2 { unsigned x, y; };
struct __attribute__((aligned(16))) uint4 { unsigned x, y, z, w; };
constexpr inline uint1 make_uint1(unsigned x) { return uint1{x}; }
constexpr inline uint2 make_uint2(unsigned x, unsigned y) { return uint2{x, y}; }
constexpr inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return uint3{x, y, z}; }
constexpr inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return uint4{x, y, z, w}; }
