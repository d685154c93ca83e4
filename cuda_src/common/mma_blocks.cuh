// Tensor cores by their own instructions: a warp's product of blocks in registers, and blocks from shared memory.
//
// A block is 16 rows of an operand's outer dimension by 32 bytes of its depth (16 elements of f16 or bf16, 32 of 8 bits,
// 8 of tf32), in four registers a lane, whatever the type (PTX ISA 8.7, "Matrix Fragments for mma"). Lane 4 g + t
// holds the four bytes number t of
//
//            of A:   bytes 0 ... 15    bytes 16 ... 31       of B:   bytes 0 ... 15    bytes 16 ... 31
//   outer g          register 0        register 2                    register 0        register 1
//   outer g + 8      register 1        register 3                    register 2        register 3
//
// so that A's block is one operand of an mma, and B's is two, of 8 columns each. Where outers are INTERLEAVED
// (swizzled.cuh) outer 2 g stands in place of g, and 2 g + 1 in place of g + 8: a product does not mind in which order
// its rows and columns are.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

constexpr int BLOCK_OUTER = 16;         // of a block
constexpr int BLOCK_BYTES = 32;         // of a row of a block
template <typename T>
constexpr int BLOCK_DEPTH = BLOCK_BYTES / int(sizeof(T));

// sum += a b for 16 rows, 8 columns and a block's depth. Lane 4 g + t holds columns 2 t and 2 t + 1 of row g in
// sum[0] and sum[1], of row g + 8 in sum[2] and sum[3]. b: half a block's registers.
#define MMA(name, element, shape, types, kept)                                                               \
  __device__ __forceinline__ void name(element (&sum)[4], const unsigned (&a)[4], const unsigned* b) { \
    asm("mma.sync.aligned." shape ".row.col." types " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
        : kept(sum[0]), kept(sum[1]), kept(sum[2]), kept(sum[3])      \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                    \
  }
MMA(mma_f16, float, "m16n8k16", "f32.f16.f16.f32", "+f")
MMA(mma_bf16, float, "m16n8k16", "f32.bf16.bf16.f32", "+f")
MMA(mma_tf32, float, "m16n8k8", "f32.tf32.tf32.f32", "+f")
MMA(mma_e4m3, float, "m16n8k32", "f32.e4m3.e4m3.f32", "+f")
MMA(mma_e5m2, float, "m16n8k32", "f32.e5m2.e5m2.f32", "+f")
MMA(mma_int8, int, "m16n8k32", "s32.s8.s8.s32", "+r")
#undef MMA

// Four matrices of 8 rows of 16 bytes: lanes 8 i ... 8 i + 7 give the addresses of the rows of matrix i.
__device__ __forceinline__ void load_matrices(unsigned (&to)[4], unsigned row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}
// The same, each transposed as a matrix of 16-bit elements.
__device__ __forceinline__ void load_transposed(unsigned (&to)[4], unsigned row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// 16 bytes from global to shared memory, complete after the pipeline's wait; zeros where not `inside`, and then
// nothing is read.
__device__ __forceinline__ void copy_piece_async(void* to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(unsigned(__cvta_generic_to_shared(to))),
               "l"(__cvta_generic_to_global(from)), "r"(inside ? 16 : 0)
               : "memory");
}
