// Products of a warpgroup (wgmma.cuh) in a chain: what the first one gives stays in registers and becomes the first
// factor of the second, as attention has it. Elements are f16 or bf16.
//
// Lane 4 g + t of a warp holds, of 64 x 16 elements of the first factor, those of rows g and g + 8 of its sixteen rows
// (PTX ISA 9.7.15.5, "Register Fragments"):
//
//   register 0: row g,     columns 2 t, 2 t + 1          register 2: row g,     columns 2 t + 8, ...
//   register 1: row g + 8, columns 2 t, 2 t + 1          register 3: row g + 8, columns 2 t + 8, ...
//
// which is how sums of two neighbouring products of eight columns lie: a0 and a1 of the first, a2 and a3 of the second.
#pragma once
#include "wgmma.cuh"

// Factors in registers are there: the compiler does not know how long a product reads them.
template <int COUNT>
__device__ __forceinline__ void held(unsigned (&factor)[COUNT][4]) {
#pragma unroll
  for (int j = 0; j < COUNT; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+r"(factor[j][e])::"memory");
}

// begin(sum, a, b): sum [64][N] = a b, of which both have contiguous depth, where KEPT added to what is there.
// follow(sum, a, b): sum [64][N] += a b, where a is in registers and the columns of b are contiguous.
template <typename T, int N> struct Chain;
#define CHAIN(T, n, count, o0, o1, o2, o3, o4, type)                                                               \
  template <> struct Chain<T, n> {                                                                                 \
    template <bool KEPT>                                                                                           \
    static __device__ __forceinline__ void begin(float (&sum)[n / 8][4], unsigned long long a,                     \
                                                 unsigned long long b) {                                           \
      asm volatile("{ .reg .pred kept; setp.ne.b32 kept, %" #o2 ", 0; wgmma.mma_async.sync.aligned.m64n" #n         \
                   "k16.f32." type "." type " {" REGISTERS_##count "}, %" #o0 ", %" #o1 ", kept, 1, 1, 0, 0; }"      \
                   : SUM_##count("+f", 0)                                                                          \
                   : "l"(a), "l"(b), "n"(int(KEPT))                                                                \
                   : "memory");                                                                                    \
    }                                                                                                              \
    static __device__ __forceinline__ void follow(float (&sum)[n / 8][4], const unsigned (&a)[4],                  \
                                                  unsigned long long b) {                                          \
      asm volatile("{ .reg .pred kept; setp.ne.b32 kept, 1, 0; wgmma.mma_async.sync.aligned.m64n" #n "k16.f32."     \
                   type "." type " {" REGISTERS_##count "}, {%" #o0 ", %" #o1 ", %" #o2 ", %" #o3 "}, %" #o4         \
                   ", kept, 1, 1, 1; }"                                                                            \
                   : SUM_##count("+f", 0)                                                                          \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)                                            \
                   : "memory");                                                                                    \
    }                                                                                                              \
  }
#define CHAINS(T, type)                                                                                            \
  CHAIN(T, 64, 32, 32, 33, 34, 35, 36, type); CHAIN(T, 80, 40, 40, 41, 42, 43, 44, type);                          \
  CHAIN(T, 96, 48, 48, 49, 50, 51, 52, type); CHAIN(T, 128, 64, 64, 65, 66, 67, 68, type);                         \
  CHAIN(T, 160, 80, 80, 81, 82, 83, 84, type); CHAIN(T, 176, 88, 88, 89, 90, 91, 92, type);                        \
  CHAIN(T, 192, 96, 96, 97, 98, 99, 100, type); CHAIN(T, 256, 128, 128, 129, 130, 131, 132, type)
CHAINS(__half, "f16");
CHAINS(__nv_bfloat16, "bf16");
#undef CHAINS
#undef CHAIN
