// What every rung of the CUDA ladder shares: element types, the epilogue, where op(A) and op(B) lie.
//
// D[b] = act(alpha * op(A[b]) op(B[b]) + beta * C[b] + bias), row-major. The configuration and the options
// arrive as macros: DTYPE_F32, DTYPE_F16 or DTYPE_INT8, OPT_TRANS_A, OPT_TRANS_B, OPT_ALPHA, OPT_BETA, OPT_BIAS,
// OPT_RELU.
#pragma once
#include <cuda_fp16.h>

#if DTYPE_F16
typedef __half In;   // A and B
typedef float Acc;   // sums
typedef __half Out;  // C, bias and D
#elif DTYPE_INT8
typedef signed char In;
typedef int Acc;
typedef int Out;
#else
typedef float In;
typedef float Acc;
typedef float Out;
#endif

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__half x) { return __half2float(x); }
__device__ __forceinline__ int widen(signed char x) { return x; }
__device__ __forceinline__ int widen(int x) { return x; }

__device__ __forceinline__ void narrow(float x, float& y) { y = x; }
__device__ __forceinline__ void narrow(float x, __half& y) { y = __float2half(x); }
__device__ __forceinline__ void narrow(int x, int& y) { y = x; }

__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ int multiply_add(int a, int b, int c) { return a * b + c; }

// Elements of op(A) [m, k] and op(B) [k, n]. 64-bit: 50,000 squared passes 2^31.
__device__ __forceinline__ size_t a_index(int row, int depth, int m, int k) {
  return OPT_TRANS_A ? size_t(depth) * m + row : size_t(row) * k + depth;
}
__device__ __forceinline__ size_t b_index(int depth, int col, int n, int k) {
  return OPT_TRANS_B ? size_t(col) * k + depth : size_t(depth) * n + col;
}

// One element of D from its sum; `index` is that of the element in C and D.
__device__ __forceinline__ Out finish(Acc sum, const Out* __restrict__ C, const Out* __restrict__ bias,
                                      size_t index, int col) {
  Acc value = Acc(OPT_ALPHA) * sum;
  if (OPT_BETA != 0) value += Acc(OPT_BETA) * widen(C[index]);
  if (OPT_BIAS) value += widen(bias[col]);
  if (OPT_RELU) value = value < Acc(0) ? Acc(0) : value;  // in this order a NaN stays a NaN
  Out result;
  narrow(value, result);
  return result;
}

// Tile of block `block` where tiles are visited GROUP rows at a time, down before across: blocks that run
// together then share rows of A and columns of B in L2. GROUP = 1 is row by row.
template <int GROUP>
__device__ __forceinline__ void grouped_tile(int block, int tiles_m, int tiles_n, int& tile_m, int& tile_n) {
  const int first = block / (GROUP * tiles_n) * GROUP;
  const int rows = min(GROUP, tiles_m - first);
  const int within = block % (GROUP * tiles_n);
  tile_m = first + within % rows;
  tile_n = within / rows;
}
