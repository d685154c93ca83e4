// Products of a warpgroup, four warps: operands from shared memory, by descriptors, sums in registers (sm_90a).
//
// sum [64][N] += a [64][32 bytes of depth] b [N][the same depth]. Warp w of the group has rows 16 w ... 16 w + 15, and
// its lanes hold them as those of mma.sync (mma_blocks.cuh): lane 4 g + t columns 8 j + 2 t and the next, of row g in
// sum[j][0] and sum[j][1], of row g + 8 in sum[j][2] and sum[j][3] (PTX ISA 9.7.15.5, "Register Fragments").
//
// A product is issued and runs on; it reads shared memory and changes its sums until a wait says that it is done:
//
//   wgmma_fence()      what the group has written to sums is there for the products that follow
//   Wgmma::add(...)    any number of them
//   wgmma_commit()     they are a batch
//   wgmma_wait<1>()    all batches but the last are done
//
// Tensor cores read shared memory by another way than loads and stores (the async proxy): who wrote an operand calls
// fence_async_proxy() between that and the barrier.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "wgmma_registers.cuh"

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}
__device__ __forceinline__ void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Sums are read from here on: the compiler does not know that a wait has changed them.
template <typename Acc, int COUNT>
__device__ __forceinline__ void arrived(Acc (&sum)[COUNT][4]) {
#pragma unroll
  for (int j = 0; j < COUNT; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if constexpr (sizeof(Acc) == 4 && Acc(1) / 2 == 0)
        asm volatile("" : "+r"(sum[j][e])::"memory");
      else
        asm volatile("" : "+f"(sum[j][e])::"memory");
    }
}

// An operand in panels of 128 bytes with the swizzle of as many (panels.cuh), from a byte of shared memory on that lies
// in its first row (PTX ISA 9.7.15.5.1.2, "Matrix Descriptor"). `next_panel` is read where the outer dimension is the
// contiguous one: bytes from one panel to the next. Groups of eight rows are 1024 bytes apart.
__device__ __forceinline__ unsigned long long describe(unsigned at, int next_panel) {
  return (unsigned long long)((at & 0x3ffff) >> 4) | (unsigned long long)(next_panel >> 4) << 16 |
         1024ull >> 4 << 32 | 1ull << 62;
}

// Products of elements of a type with N columns; OUTER_A, OUTER_B: whether the operand's outer dimension is the
// contiguous one, which 16-bit elements may have. a, b, c, d: operands behind the `count` registers of the sum.
template <typename T, int N> struct Wgmma;
#define WGMMA_16(T, n, count, a, b, c, d, types)                                                                   \
  template <> struct Wgmma<T, n> {                                                                                 \
    template <bool OUTER_A, bool OUTER_B>                                                                          \
    static __device__ __forceinline__ void add(float (&sum)[n / 8][4], unsigned long long of_a,                    \
                                               unsigned long long of_b) {                                          \
      asm volatile("{ .reg .pred kept; setp.ne.b32 kept, 1, 0; wgmma.mma_async.sync.aligned.m64n" #n "k16." types   \
                   " {" REGISTERS_##count "}, %" #a ", %" #b ", kept, 1, 1, %" #c ", %" #d "; }"                    \
                   : SUM_##count("+f", 0)                                                                          \
                   : "l"(of_a), "l"(of_b), "n"(int(OUTER_A)), "n"(int(OUTER_B))                                    \
                   : "memory");                                                                                    \
    }                                                                                                              \
  }
// 8-bit elements: depth is the contiguous dimension.
#define WGMMA_8(T, element, n, count, a, b, types, kept_as, scales)                                                \
  template <> struct Wgmma<T, n> {                                                                                 \
    template <bool OUTER_A, bool OUTER_B>                                                                          \
    static __device__ __forceinline__ void add(element (&sum)[n / 8][4], unsigned long long of_a,                  \
                                               unsigned long long of_b) {                                          \
      static_assert(!OUTER_A && !OUTER_B, "depth is contiguous");                                                  \
      asm volatile("{ .reg .pred kept; setp.ne.b32 kept, 1, 0; wgmma.mma_async.sync.aligned.m64n" #n "k32." types   \
                   " {" REGISTERS_##count "}, %" #a ", %" #b ", kept" scales "; }"                                   \
                   : SUM_##count(kept_as, 0)                                                                       \
                   : "l"(of_a), "l"(of_b)                                                                          \
                   : "memory");                                                                                    \
    }                                                                                                              \
  }
#define WGMMA_ALL_16(T, types)                                                                               \
  WGMMA_16(T, 64, 32, 32, 33, 34, 35, types); WGMMA_16(T, 128, 64, 64, 65, 66, 67, types);                   \
  WGMMA_16(T, 192, 96, 96, 97, 98, 99, types); WGMMA_16(T, 256, 128, 128, 129, 130, 131, types)
#define WGMMA_ALL_8(T, element, types, kept_as, scales)                                                      \
  WGMMA_8(T, element, 64, 32, 32, 33, types, kept_as, scales);                                               \
  WGMMA_8(T, element, 128, 64, 64, 65, types, kept_as, scales);                                              \
  WGMMA_8(T, element, 192, 96, 96, 97, types, kept_as, scales);                                              \
  WGMMA_8(T, element, 256, 128, 128, 129, types, kept_as, scales)
WGMMA_ALL_16(__half, "f32.f16.f16");
WGMMA_ALL_16(__nv_bfloat16, "f32.bf16.bf16");
WGMMA_ALL_8(signed char, int, "s32.s8.s8", "+r", "");
WGMMA_ALL_8(__nv_fp8_e4m3, float, "f32.e4m3.e4m3", "+f", ", 1, 1");
WGMMA_ALL_8(__nv_fp8_e5m2, float, "f32.e5m2.e5m2", "+f", ", 1, 1");
#undef WGMMA_ALL_8
#undef WGMMA_ALL_16
