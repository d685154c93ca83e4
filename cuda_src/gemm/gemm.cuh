// What every rung of the CUDA ladder shares: element types, the epilogue, where op(A) and op(B) lie.
//
// D[b] = act(alpha * op(A[b]) op(B[b]) + beta * C[b] + bias), row-major. The configuration and the options
// arrive as macros: DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_TF32, DTYPE_E4M3, DTYPE_E5M2 or
// DTYPE_INT8, OPT_TRANS_A, OPT_TRANS_B, OPT_ALPHA, OPT_BETA, OPT_BIAS
// and those of activation.cuh.
/*[tuner.shared]
# A block computes a tile of D at a time, BM x BN.
[block_tiles.parameters]
GROUP_M = { values = [1, 4, 8, 16], doc = "rows of blocks visited together" }
MIN_BLOCKS = { values = [1, 2, 3, 4], doc = "blocks an SM shall hold: caps the registers a thread" }

[block_tiles.let]
tiles = "ceildiv(m, BM) * ceildiv(n, BN)"
blocks = "tiles * batch"

[block_tiles.constraints]
grid_fits = "batch <= max_grid_z"

[block_tiles.features]
macs = "blocks * BM * BN * k"
traffic_bytes = "blocks * (BM + BN) * k * element_bytes"
steps = "ceildiv(k, BK)"
intensity = "BM * BN / (BM + BN)"

# Tiles of A and B in shared memory, copied 16 bytes at a time.
[pieces.let]
tile_bytes = "(BM + BN) * BK * element_bytes"

[pieces.constraints]
# No thread without work: at least half of the threads have a 16-byte piece of the larger tile to fetch.
threads_have_pieces = "2 * max(BM, BN) * BK * element_bytes >= 16 * threads"
# At most 16 pieces a thread: they are unrolled, and each wants its predicate.
pieces_fit_a_thread = "tile_bytes <= 16 * 16 * threads"

# Warps that multiply on tensor cores, or as many products a lane: WM x WN of the block's tile each.
[warp_tiles.parameters]
BM = { values = [16, 32, 64, 128, 256], doc = "rows of D a block" }
BN = { values = [16, 32, 64, 128, 256], doc = "columns of D a block" }
WM = { values = [16, 32, 64, 128], doc = "rows of D a warp" }
WN = { values = [16, 32, 64, 128], doc = "columns of D a warp" }

[warp_tiles.let]
warps = "(BM // WM) * (BN // WN)"
threads = "warps * warp_size"
# Registers a thread.
sums = "WM * WN // 32"

[warp_tiles.constraints]
warp_tiles_divide = "BM % WM == 0 and BN % WN == 0"

[warp_tiles.features]
warp_intensity = "WM * WN / (WM + WN)"
registers = "sums"
*/
#pragma once
#include "../common/activation.cuh"
#include "../common/half.cuh"
#include "../common/resources.cuh"

#if DTYPE_F16
typedef __half In;   // A and B
typedef float Acc;   // sums
typedef __half Out;  // C, bias and D
#elif DTYPE_BF16
typedef __nv_bfloat16 In;
typedef float Acc;
typedef __nv_bfloat16 Out;
#elif DTYPE_E4M3 || DTYPE_E5M2
#include "../common/float8.cuh"
#if DTYPE_E4M3
typedef __nv_fp8_e4m3 In;
#else
typedef __nv_fp8_e5m2 In;
#endif
typedef float Acc;
typedef __nv_bfloat16 Out;
#elif DTYPE_INT8
typedef signed char In;
typedef int Acc;
typedef int Out;
#else
typedef float In;
typedef float Acc;
typedef float Out;
#endif

// Elements of op(A) [m, k] and op(B) [k, n]. 64-bit: 50,000 squared passes 2^31.
__device__ __forceinline__ size_t a_index(int row, int depth, int m, int k) {
  return OPT_TRANS_A ? size_t(depth) * m + row : size_t(row) * k + depth;
}
__device__ __forceinline__ size_t b_index(int depth, int col, int n, int k) {
  return OPT_TRANS_B ? size_t(col) * k + depth : size_t(depth) * n + col;
}

// One element of D from its sum, and those of C and bias, which count where there are any.
__device__ __forceinline__ Out finish(Acc sum, Out c, Out bias) {
  Acc value = Acc(OPT_ALPHA) * sum;
  if (OPT_BETA != 0) value += Acc(OPT_BETA) * widen(c);
  if (OPT_BIAS) value += widen(bias);
  value = activated(value);
  Out result;
  narrow(value, result);
  return result;
}
// The same; `index` is that of the element in C and D.
__device__ __forceinline__ Out finish(Acc sum, const Out* __restrict__ C, const Out* __restrict__ bias,
                                      size_t index, int col) {
  return finish(sum, OPT_BETA != 0 ? C[index] : Out(0), OPT_BIAS ? bias[col] : Out(0));
}

// Where element (row, col) of a batch entry lies in C and D.
struct PlaceInD {
  size_t batch;
  int m, n;
  __device__ __forceinline__ size_t operator()(int row, int col) const { return (batch * m + row) * n + col; }
};

// `finish` for the writers of common/.
struct Finish {
  const Out *C, *bias;
  __device__ __forceinline__ Out operator()(Acc sum, size_t index, int, int col) const {
    return finish(sum, C, bias, index, col);
  }
  // Neighbours of a row at once: those of C and bias lie on a boundary of as many.
  template <int COUNT>
  __device__ __forceinline__ void run(Out (&result)[COUNT], const Acc (&sum)[COUNT], size_t index, int,
                                      int col) const {
    Out c[COUNT] = {}, b[COUNT] = {};
    if (OPT_BETA != 0) load(c, C + index);
    if (OPT_BIAS) load(b, bias + col);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) result[i] = finish(sum[i], c[i], b[i]);
  }
};
