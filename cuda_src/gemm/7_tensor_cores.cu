/*[tuner]
name = "cuda_tensor_cores"
operator = "gemm"
summary = "Tensor cores (wmma, f16 with f32 sums), fed by asynchronous copies in several stages."
dtypes = ["f16"]
claims = ["wide_loads", "tensor_cores"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
requires = ["wmma_f16"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["warp_tiles", "stages", "padded_rows", "pieces", "block_tiles", "occupancy", "large_shared"]

[parameters]
BK = { values = [16, 32, 64], doc = "depth of the tiles in shared memory" }

[let]
# Tiles, and afterwards a patch of sums for each warp.
shared = "max(STAGES * (tile_bytes + pad_bytes), warps * 1280)"
# A fragment of sums is 8 registers a thread, one of A or B too; about 40 for addresses and loops.
registers_needed = "sums + (WM + WN) // 2 + 40"

[launch]
grid = ["tiles", "1", "batch"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 7: a tensor core does 16 x 16 x 16 multiply-adds as one operation of a warp (wmma), 8 to 16 times the rate
// of the f32 pipe, so that now the tiles cannot arrive fast enough: rung 5's stages and rung 6's near square warp
// tiles matter more than ever. Fragments are read from the tiles as they lie, row- or column-major.
//
// WM x WN = 32 x 48 is ACROSS_M x ACROSS_N = 2 x 3 fragments of sums, each 16 x 16 and spread over the warp's lanes in
// an order that only the hardware knows. At the end each goes through a patch of shared memory (PATCH, tensor_cores.cuh),
// from which two lanes take a row: lane 5 columns 8 ... 15 of row 2.
//
//   a_part[0]   sum[0][0]  sum[0][1]  sum[0][2]
//   a_part[1]   sum[1][0]  sum[1][1]  sum[1][2]
//               b_part[0]  b_part[1]  b_part[2]
#include "tensor_cores.cuh"
#include "tiles.cuh"

constexpr int WARPS_N = BN / WN, WARPS = BM / WM * WARPS_N, THREADS = WARPS * 32;
constexpr int ACROSS_M = WM / EDGE, ACROSS_N = WN / EDGE;
typedef Operand<In, !OPT_TRANS_A, BM, BK, PAD * VECTOR, THREADS> TileA;
typedef Operand<In, bool(OPT_TRANS_B), BN, BK, PAD * VECTOR, THREADS> TileB;

template <bool> struct Layout { typedef nvcuda::wmma::col_major type; };
template <> struct Layout<true> { typedef nvcuda::wmma::row_major type; };
typedef nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, EDGE, EDGE, EDGE, In, Layout<!OPT_TRANS_A>::type> PartA;
typedef nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, EDGE, EDGE, EDGE, In, Layout<!OPT_TRANS_B>::type> PartB;

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, const In* A, const In* B, const Out* C, const Out* bias, Out* D,
                                         int m, int n, int k) {
  const int thread = threadIdx.x, warp = thread / 32;
  const int warp_row = warp / WARPS_N * WM, warp_col = warp % WARPS_N * WN;  // in the block's tile
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (m + BM - 1) / BM, (n + BN - 1) / BN, tile_m, tile_n);
  const int row0 = tile_m * BM, col0 = tile_n * BN;
  Sum sum[ACROSS_M][ACROSS_N];
#pragma unroll
  for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j) nvcuda::wmma::fill_fragment(sum[i][j], 0.0f);
  pipelined<TileA, TileB, BK, STAGES, ALIGNED>(
      stages, A, B, row0, col0, m, n, k, 0, (k + BK - 1) / BK, thread, [&](const In* a, const In* b) {
#pragma unroll
        for (int depth = 0; depth < BK; depth += EDGE) {
          PartA a_part[ACROSS_M];
          PartB b_part[ACROSS_N];
#pragma unroll
          for (int i = 0; i < ACROSS_M; ++i)
            nvcuda::wmma::load_matrix_sync(a_part[i], a + TileA::offset(warp_row + i * EDGE, depth), TileA::STRIDE);
#pragma unroll
          for (int j = 0; j < ACROSS_N; ++j)
            nvcuda::wmma::load_matrix_sync(b_part[j], b + TileB::offset(warp_col + j * EDGE, depth), TileB::STRIDE);
#pragma unroll
          for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
            for (int j = 0; j < ACROSS_N; ++j) nvcuda::wmma::mma_sync(sum[i][j], a_part[i], b_part[j], sum[i][j]);
        }
      });
  __syncthreads();  // the patches lie where the tiles were
  Acc* patch = reinterpret_cast<Acc*>(stages) + warp * PATCH;
  const bool aligned = ALIGNED && n % 8 == 0;
#pragma unroll
  for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j)
      write_fragment(patch, sum[i][j], C, bias, D, blockIdx.z, row0 + warp_row + i * EDGE,
                     col0 + warp_col + j * EDGE, m, n, thread % 32, aligned);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  extern __shared__ __align__(128) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  if (TileA::aligned(A, m, k) && TileB::aligned(B, n, k) && reinterpret_cast<size_t>(D) % 16 == 0)
    multiply<true>(stages, A, B, C, bias, D, m, n, k);
  else
    multiply<false>(stages, A, B, C, bias, D, m, n, k);
}
