// CUDA's words for the host compiler.
#pragma once

#define __CUDA_EMULATOR__ 1
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1  // what a file is compiled with otherwise is NVRTC
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define CUDART_VERSION 13000
#define CUDA_VERSION 13000

#define __global__ __attribute__((used))
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __cluster_dims__(...)
#define __builtin_assume(condition) ((void)0)
#define __assume(condition) ((void)0)
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __attribute__((aligned(n)))
#define __device_builtin__
#define __cudart_builtin__
#define __CUDA_ALIGN__(n) __align__(n)

// A block runs on one thread of the host, so what one block shares is what one host thread owns; unlike
// `static`, the word may follow `extern`, which is how dynamic shared memory is declared.
#define __shared__ thread_local

// nvcc takes `__shared__ alignas(16) float a[4]`; the host compiler wants a standard attribute first and
// only, but takes its own attribute anywhere. The function makes it hold for types as well as for sizes.
namespace cuda_emulator {
template <class T>
constexpr unsigned long alignment() { return alignof(T); }
template <unsigned long N>
constexpr unsigned long alignment() { return N; }
}  // namespace cuda_emulator
#define alignas(x) __attribute__((aligned(::cuda_emulator::alignment<x>())))
