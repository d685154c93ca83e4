// Products of a warpgroup (wgmma.cuh) of more widths: N = 80, 96, 112, 144, 160, 176, 208, 224, 240 columns.
//
// A grid of blocks that fills its last wave wants tiles of other widths than powers of two: 25,088 pixels are 131 tiles
// of 192, and a GPU has 132 SMs.
#pragma once
#include "wgmma.cuh"

#define WIDTH_REGISTERS_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WIDTH_REGISTERS_16 WIDTH_REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define WIDTH_REGISTERS_24 WIDTH_REGISTERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define WIDTH_REGISTERS_32 WIDTH_REGISTERS_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define WIDTH_REGISTERS_40 WIDTH_REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define WIDTH_REGISTERS_48 WIDTH_REGISTERS_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define WIDTH_REGISTERS_56 WIDTH_REGISTERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define WIDTH_REGISTERS_64 WIDTH_REGISTERS_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define WIDTH_REGISTERS_72 WIDTH_REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define WIDTH_REGISTERS_80 WIDTH_REGISTERS_72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define WIDTH_REGISTERS_88 WIDTH_REGISTERS_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define WIDTH_REGISTERS_96 WIDTH_REGISTERS_88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define WIDTH_REGISTERS_104 WIDTH_REGISTERS_96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define WIDTH_REGISTERS_112 WIDTH_REGISTERS_104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define WIDTH_REGISTERS_120 WIDTH_REGISTERS_112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define WIDTH_SUM_8(kept, j) \
  kept(sum[j][0]), kept(sum[j][1]), kept(sum[j][2]), kept(sum[j][3]), kept(sum[j + 1][0]), kept(sum[j + 1][1]), \
      kept(sum[j + 1][2]), kept(sum[j + 1][3])
#define WIDTH_SUM_16(kept, j) WIDTH_SUM_8(kept, j), WIDTH_SUM_8(kept, j + 2)
#define WIDTH_SUM_24(kept, j) WIDTH_SUM_16(kept, j), WIDTH_SUM_8(kept, j + 4)
#define WIDTH_SUM_32(kept, j) WIDTH_SUM_24(kept, j), WIDTH_SUM_8(kept, j + 6)
#define WIDTH_SUM_40(kept, j) WIDTH_SUM_32(kept, j), WIDTH_SUM_8(kept, j + 8)
#define WIDTH_SUM_48(kept, j) WIDTH_SUM_40(kept, j), WIDTH_SUM_8(kept, j + 10)
#define WIDTH_SUM_56(kept, j) WIDTH_SUM_48(kept, j), WIDTH_SUM_8(kept, j + 12)
#define WIDTH_SUM_64(kept, j) WIDTH_SUM_56(kept, j), WIDTH_SUM_8(kept, j + 14)
#define WIDTH_SUM_72(kept, j) WIDTH_SUM_64(kept, j), WIDTH_SUM_8(kept, j + 16)
#define WIDTH_SUM_80(kept, j) WIDTH_SUM_72(kept, j), WIDTH_SUM_8(kept, j + 18)
#define WIDTH_SUM_88(kept, j) WIDTH_SUM_80(kept, j), WIDTH_SUM_8(kept, j + 20)
#define WIDTH_SUM_96(kept, j) WIDTH_SUM_88(kept, j), WIDTH_SUM_8(kept, j + 22)
#define WIDTH_SUM_104(kept, j) WIDTH_SUM_96(kept, j), WIDTH_SUM_8(kept, j + 24)
#define WIDTH_SUM_112(kept, j) WIDTH_SUM_104(kept, j), WIDTH_SUM_8(kept, j + 26)
#define WIDTH_SUM_120(kept, j) WIDTH_SUM_112(kept, j), WIDTH_SUM_8(kept, j + 28)

#define WIDTH_16(T, n, count, a, b, c, d, types)                                                                  \
  template <> struct Wgmma<T, n> {                                                                                \
    template <bool OUTER_A, bool OUTER_B>                                                                         \
    static __device__ __forceinline__ void add(float (&sum)[n / 8][4], unsigned long long of_a,                   \
                                               unsigned long long of_b) {                                         \
      asm volatile("{ .reg .pred kept; setp.ne.b32 kept, 1, 0; wgmma.mma_async.sync.aligned.m64n" #n "k16." types  \
                   " {" WIDTH_REGISTERS_##count "}, %" #a ", %" #b ", kept, 1, 1, %" #c ", %" #d "; }"              \
                   : WIDTH_SUM_##count("+f", 0)                                                                   \
                   : "l"(of_a), "l"(of_b), "n"(int(OUTER_A)), "n"(int(OUTER_B))                                   \
                   : "memory");                                                                                   \
    }                                                                                                             \
  };
#define WIDTH_8(n, count, a, b)                                                                                   \
  template <> struct Wgmma<signed char, n> {                                                                      \
    template <bool OUTER_A, bool OUTER_B>                                                                         \
    static __device__ __forceinline__ void add(int (&sum)[n / 8][4], unsigned long long of_a,                     \
                                               unsigned long long of_b) {                                         \
      static_assert(!OUTER_A && !OUTER_B, "depth is contiguous");                                                 \
      asm volatile("{ .reg .pred kept; setp.ne.b32 kept, 1, 0; wgmma.mma_async.sync.aligned.m64n" #n               \
                   "k32.s32.s8.s8 {" WIDTH_REGISTERS_##count "}, %" #a ", %" #b ", kept; }"                         \
                   : WIDTH_SUM_##count("+r", 0)                                                                   \
                   : "l"(of_a), "l"(of_b)                                                                         \
                   : "memory");                                                                                   \
    }                                                                                                             \
  };
#define WIDTH(n, count, a, b, c, d)                              \
  WIDTH_16(__half, n, count, a, b, c, d, "f32.f16.f16")          \
  WIDTH_16(__nv_bfloat16, n, count, a, b, c, d, "f32.bf16.bf16") \
  WIDTH_8(n, count, a, b)
WIDTH(80, 40, 40, 41, 42, 43)
WIDTH(96, 48, 48, 49, 50, 51)
WIDTH(112, 56, 56, 57, 58, 59)
WIDTH(144, 72, 72, 73, 74, 75)
WIDTH(160, 80, 80, 81, 82, 83)
WIDTH(176, 88, 88, 89, 90, 91)
WIDTH(208, 104, 104, 105, 106, 107)
WIDTH(224, 112, 112, 113, 114, 115)
WIDTH(240, 120, 120, 121, 122, 123)
#undef WIDTH
#undef WIDTH_8
#undef WIDTH_16
