// Tensor cores by the instructions themselves: who holds which element is then known, which wmma leaves open, so that
// sums can be worked on in registers and become an operand of the next product without passing through memory.
//
// A product is 16 x 8 with a depth of 16, of f16 or bf16 with f32 sums. A register holds two neighbouring elements. Lane
// 4 r + c of a warp has (PTX ISA, "Matrix fragments for mma.m16n8k16 with .f16"):
//
//   a [16 rows][16 depth]   a0: row r,     depth 2c, 2c + 1     a1: row r + 8, the same depth
//                           a2: row r,     depth 2c + 8, ...    a3: row r + 8, depth 2c + 8, ...
//   b [16 depth][8 columns] b0: column r,  depth 2c, 2c + 1     b1: column r,  depth 2c + 8, ...
//   sums [16][8]            0, 1: row r,   columns 2c, 2c + 1   2, 3: row r + 8, the same columns
//
// Sums of two products side by side, in pairs of the narrow type, are an `a`: a0 and a1 of the first, a2 and a3 of the second.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Four matrices of 8 x 8 elements from shared memory. Each lane says where one row begins, lanes 8 i ... 8 i + 7 those
// of matrix i, on 16 bytes; lane 4 r + c gets elements 2c and 2c + 1 of row r, of each matrix one register.
template <typename T>
__device__ __forceinline__ void load_matrices(unsigned (&to)[4], const T* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

// The same of matrices that lie transposed: the lane gets elements r of rows 2c and 2c + 1.
template <typename T>
__device__ __forceinline__ void load_transposed(unsigned (&to)[4], const T* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

// sum += a b, of elements of type T; and two numbers of it in one register.
template <typename T> struct Narrow;
#define NARROW(T, Pair, type, convert)                                                                             \
  template <> struct Narrow<T> {                                                                                   \
    static __device__ __forceinline__ void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0,      \
                                                        unsigned b1) {                                             \
      asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, " \
                   "{%8, %9}, {%0, %1, %2, %3};"                                                                   \
                   : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                        \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                                \
    }                                                                                                              \
    static __device__ __forceinline__ unsigned pack(float low, float high) {                                       \
      const Pair pair = convert(low, high);                                                                        \
      unsigned bits;                                                                                               \
      memcpy(&bits, &pair, sizeof bits);                                                                           \
      return bits;                                                                                                 \
    }                                                                                                              \
  }
NARROW(__half, __half2, "f16", __floats2half2_rn);
NARROW(__nv_bfloat16, __nv_bfloat162, "bf16", __floats2bfloat162_rn);
#undef NARROW
