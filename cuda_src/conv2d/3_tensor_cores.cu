/*[tuner]
name = "cuda_conv_tensor_cores"
operator = "conv2d"
summary = "The implicit product on tensor cores (f32 or int32 sums), tiles gathered from X asynchronously."
dtypes = ["f16", "bf16", "int8"]
claims = ["tensor_cores", "tensor_cores:int8", "wide_loads:int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q"]
requires = ["wmma_f16", "wmma_int8:int8", "cp_async"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "nhwc", "bias", "relu", "residual", "relu6", "silu", "hardswish", "scale_tensor", "scale_channel"]
use = ["image_tiles", "whole_depth", "occupancy", "large_shared"]

[parameters]
BF = { values = [16, 32, 64, 128], doc = "filters a block" }
BK = { values = [16, 32, 64, 128], doc = "depth of the tiles in shared memory" }
WP = { values = [16, 32, 64, 128], doc = "pixels a warp" }
WF = { values = [16, 32, 64], doc = "filters a warp" }

[let]
warps = "(BP // WP) * (BF // WF)"
threads = "warps * warp_size"
int8 = "element_bytes == 1"
# int8 tiles have a row a pixel in either layout; others NCHW's a row a step of depth (pad_bytes).
gap_bytes = "16 * PAD * (BF + BP) if int8 else pad_bytes"
# Tiles, and afterwards a patch of sums for each warp: 16 x 16, of int8 16 rows of the warp's tile.
patch_bytes = "64 * ((WF if nhwc else WP) + 8) if int8 else 1280"
shared = "max(STAGES * (tile_bytes + gap_bytes), warps * patch_bytes)"
# A fragment of sums is 8 registers a thread, one of an operand too; windows of pixels; addresses and loops.
sums = "WP * WF // 32"
registers_needed = "sums + (WP + WF) // 2 + 4 * windows + 56"

[constraints]
warp_tiles_divide = "BP % WP == 0 and BF % WF == 0"
elements_fit_a_thread = "BP * BK <= 32 * threads * (8 if nhwc else 1) and tile_bytes <= 256 * threads"
filters_used = "BF < 2 * group_k or BF == 16"
products_are_whole = "32 <= BK if int8 else BK <= 64"

[features]
warp_intensity = "WP * WF / (WP + WF)"
registers = "sums"

[launch]
grid = ["tiles", "groups", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 3: rung 2's tiles, multiplied by tensor cores, 16 x 16 x 16 at a time. An element of 16 bits is too small for an
// asynchronous copy of its own (4 bytes at least), so NCHW's pixels pass through registers; NHWC's channels arrive 16
// bytes at a time, which is why frameworks keep images so on tensor cores. int8 has a product of its own: mma_int8.cuh.
#if DTYPE_INT8
#include "mma_int8.cuh"
#else
#include "../common/fragments.cuh"
#include "walk.cuh"

constexpr int WM = OPT_NHWC ? WP : WF, WN = OPT_NHWC ? WF : WP;
constexpr int WARPS_N = BN / WN, ACROSS_M = WM / EDGE, ACROSS_N = WN / EDGE;

// Depth is contiguous in both operands, but not in NCHW's image, which is the second one.
template <bool> struct SecondLayout { typedef nvcuda::wmma::row_major type; };
template <> struct SecondLayout<true> { typedef nvcuda::wmma::col_major type; };
typedef nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, EDGE, EDGE, EDGE, In, nvcuda::wmma::row_major> PartA;
typedef nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, EDGE, EDGE, EDGE, In, SecondLayout<bool(OPT_NHWC)>::type> PartB;

template <bool ALIGNED>
__device__ __forceinline__ void convolve(In* stages, const Sizes& of, const In* X, const In* W, const Finish& finish,
                                         Out* Y) {
  const Walk<ALIGNED> walk(of, blockIdx.x, blockIdx.y);
  const int warp = threadIdx.x / 32;
  const int warp_row = warp / WARPS_N * WM, warp_col = warp % WARPS_N * WN;  // in the block's tile
  SumFragment<Acc> sum[ACROSS_M][ACROSS_N];
#pragma unroll
  for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j) nvcuda::wmma::fill_fragment(sum[i][j], 0.0f);
  walk.take(stages, X, W, 0, walk.steps(of), [&](const In* a, const In* b) {
#pragma unroll
    for (int step = 0; step < BK; step += EDGE) {
      PartA a_part[ACROSS_M];
      PartB b_part[ACROSS_N];
#pragma unroll
      for (int i = 0; i < ACROSS_M; ++i)
        nvcuda::wmma::load_matrix_sync(a_part[i], a + TileA::offset(warp_row + i * EDGE, step), TileA::STRIDE);
#pragma unroll
      for (int j = 0; j < ACROSS_N; ++j)
        nvcuda::wmma::load_matrix_sync(b_part[j], b + TileB::offset(warp_col + j * EDGE, step), TileB::STRIDE);
#pragma unroll
      for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
        for (int j = 0; j < ACROSS_N; ++j) nvcuda::wmma::mma_sync(sum[i][j], a_part[i], b_part[j], sum[i][j]);
    }
  });
  __syncthreads();  // the patches lie where the tiles were
  Acc* const patch = reinterpret_cast<Acc*>(stages) + warp * PATCH;
  const bool aligned = ALIGNED && whole_groups(of, 8);
#pragma unroll
  for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j)
      write_fragment(patch, sum[i][j], Y, walk.row0 + warp_row + i * EDGE, walk.col0 + warp_col + j * EDGE, walk.rows,
                     walk.cols, threadIdx.x % 32, aligned, [&](int row, int col) { return walk.place(row, col); },
                     [&](Acc value, size_t place, int row, int col) { return finish(value, walk.filter(row, col), place); });
}
#endif

extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, MIN_BLOCKS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const Out* __restrict__ residual, const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h,
           int w, int k, int r, int s, int p, int q) {
  extern __shared__ __align__(128) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const Finish finish{bias, scale, residual};
  if (whole_pieces(of, X, W, Y))
    convolve<true>(stages, of, X, W, finish, Y);
  else
    convolve<false>(stages, of, X, W, finish, Y);
}
