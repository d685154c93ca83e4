/*[tuner]
name = "cuda_int8"
operator = "gemm"
summary = "int8 with exact int32 sums: four products an instruction (dp4a), or tensor cores (wmma)."
dtypes = ["int8"]
claims = ["wide_loads"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
requires = ["dp4a", "wmma_int8"]
options = "operator"
use = ["warp_tiles", "stages", "pieces", "block_tiles", "occupancy", "large_shared"]

[parameters]
TENSOR = { values = [0, 1], doc = "0: dp4a; 1: tensor cores" }
BK = { values = [16, 32, 64, 128], doc = "depth of the tiles in shared memory" }
TM = { values = [1, 2, 4, 8], doc = "rows of D a thread (dp4a)" }
TN = { values = [1, 2, 4, 8], doc = "columns of D a thread (dp4a)" }

[let]
# Tiles, and afterwards a patch of sums for each warp.
shared = "max(stages_bytes, warps * 1280)"
# Sums; fragments: 4 words a row of A and a column of B for dp4a, 2 registers a fragment for wmma; 40 for the rest.
registers_needed = "sums + (4 * (TM + TN) if TENSOR == 0 else (WM + WN) // 8) + 40"

[constraints]
lanes_share_the_warp_tile = """
  TM == 1 and TN == 1 if TENSOR == 1 else WM * WN == warp_size * TM * TN and WM % TM == 0 and WN % TN == 0"""

[launch]
grid = ["tiles", "1", "batch"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 8: int8 elements are a quarter as large, and one instruction (dp4a) multiplies four pairs and adds them up,
// provided that the four lie together along k; so do the tensor cores' rows. Tiles are therefore kept as slices
// of 16 steps of k, [BK / 16][outer][16 bytes]: a row of a slice is one 128-bit access, rows follow each other
// without a bank conflict, and a fragment starts on a boundary of 256 bytes. An operand whose other dimension is
// contiguous (A transposed, B not) is turned on the way, four bytes by four.
//
// Slices of an operand with OUTER = 64 and BK = 32, 16 bytes a bracket:
//
//   depth  0 ... 15   [outer 0][outer 1][outer 2] ... [outer 63]
//   depth 16 ... 31   [outer 0][outer 1][outer 2] ... [outer 63]    place(2, 17) = (1 * 64 + 2) * 16 + 1
#include "tensor_cores.cuh"
#include "tiles.cuh"

constexpr int WARPS_N = BN / WN, WARPS = BM / WM * WARPS_N, THREADS = WARPS * 32;

template <bool DEPTH_CONTIGUOUS, int OUTER>
struct Slices : Operand<In, DEPTH_CONTIGUOUS, OUTER, BK, 0, THREADS> {
  typedef Operand<In, DEPTH_CONTIGUOUS, OUTER, BK, 0, THREADS> Base;
  typedef typename Base::Window Window;
  static constexpr bool RUNS_OF_FOUR = false;

  static __device__ __forceinline__ int place(int outer, int depth) {
    return (depth / 16 * OUTER + outer) * 16 + depth % 16;
  }

  template <int LANES, int COUNT>
  static __device__ __forceinline__ int outer(int lane, int i) {
    return i * LANES + lane;
  }

  template <bool ALIGNED>
  static __device__ __forceinline__ void copy_async(In* tile, const Window& window, int thread) {
    if (!ALIGNED) {
#pragma unroll 2
      for (int i = thread; i < OUTER * BK; i += THREADS) {
        const int row = i / Base::COLS, col = i % Base::COLS;
        const int to = DEPTH_CONTIGUOUS ? place(row, col) : place(col, row);
        tile[to] = window.holds(row, col) ? *window.at(row, col) : In(0);
      }
    } else if (DEPTH_CONTIGUOUS) {
#pragma unroll
      for (int i = thread; i < Base::PIECES; i += THREADS) {
        const int row = i / Base::PER_ROW, col = i % Base::PER_ROW * 16;
        if (window.holds(row, col))
          __pipeline_memcpy_async(tile + place(row, col), window.at(row, col), 16);
        else
          *reinterpret_cast<uint4*>(tile + place(row, col)) = make_uint4(0, 0, 0, 0);
      }
    } else {
      // Four rows (steps of k) of 16 columns at a time: 128-bit reads, 16 words out.
#pragma unroll 1
      for (int i = thread; i < Base::PIECES / 4; i += THREADS) {
        const int depth = i / (OUTER / 16) * 4, col = i % (OUTER / 16) * 16;
        unsigned int words[4][4];
#pragma unroll
        for (int step = 0; step < 4; ++step) {
          const uint4 piece = window.holds(depth + step, col)
                                  ? *reinterpret_cast<const uint4*>(window.at(depth + step, col))
                                  : make_uint4(0, 0, 0, 0);
          words[step][0] = piece.x, words[step][1] = piece.y, words[step][2] = piece.z, words[step][3] = piece.w;
        }
#pragma unroll
        for (int j = 0; j < 16; ++j) {
          unsigned int turned = 0;
#pragma unroll
          for (int step = 0; step < 4; ++step) turned |= (words[step][j / 4] >> j % 4 * 8 & 0xFF) << step * 8;
          *reinterpret_cast<unsigned int*>(tile + place(col + j, depth)) = turned;
        }
      }
    }
  }
};
typedef Slices<!OPT_TRANS_A, BM> TileA;
typedef Slices<bool(OPT_TRANS_B), BN> TileB;

#if TENSOR
typedef nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, EDGE, EDGE, EDGE, In, nvcuda::wmma::row_major> PartA;
typedef nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, EDGE, EDGE, EDGE, In, nvcuda::wmma::col_major> PartB;

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, const In* A, const In* B, const Out* C, const Out* bias, Out* D,
                                         int row0, int col0, int warp_row, int warp_col, int m, int n, int k) {
  constexpr int ACROSS_M = WM / EDGE, ACROSS_N = WN / EDGE;
  Sum sum[ACROSS_M][ACROSS_N];
#pragma unroll
  for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j) nvcuda::wmma::fill_fragment(sum[i][j], 0);
  pipelined<TileA, TileB, BK, STAGES, ALIGNED>(
      stages, A, B, row0, col0, m, n, k, 0, (k + BK - 1) / BK, threadIdx.x, [&](const In* a, const In* b) {
#pragma unroll
        for (int depth = 0; depth < BK; depth += EDGE) {
          PartA a_part[ACROSS_M];
          PartB b_part[ACROSS_N];
#pragma unroll
          for (int i = 0; i < ACROSS_M; ++i)
            nvcuda::wmma::load_matrix_sync(a_part[i], a + TileA::place(warp_row + i * EDGE, depth), 16);
#pragma unroll
          for (int j = 0; j < ACROSS_N; ++j)
            nvcuda::wmma::load_matrix_sync(b_part[j], b + TileB::place(warp_col + j * EDGE, depth), 16);
#pragma unroll
          for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
            for (int j = 0; j < ACROSS_N; ++j) nvcuda::wmma::mma_sync(sum[i][j], a_part[i], b_part[j], sum[i][j]);
        }
      });
  __syncthreads();  // the patches lie where the tiles were
  Acc* patch = reinterpret_cast<Acc*>(stages) + threadIdx.x / 32 * PATCH;
#pragma unroll
  for (int i = 0; i < ACROSS_M; ++i)
#pragma unroll
    for (int j = 0; j < ACROSS_N; ++j)
      write_fragment(patch, sum[i][j], C, bias, D, blockIdx.z, row0 + warp_row + i * EDGE,
                     col0 + warp_col + j * EDGE, m, n, threadIdx.x % 32, ALIGNED && n % 8 == 0);
}
#else
template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, const In* A, const In* B, const Out* C, const Out* bias, Out* D,
                                         int row0, int col0, int warp_row, int warp_col, int m, int n, int k) {
  constexpr int LANES_M = WM / TM, LANES_N = WN / TN;
  const int lane_m = threadIdx.x % 32 / LANES_N, lane_n = threadIdx.x % LANES_N;
  Acc sum[TM][TN] = {};
  pipelined<TileA, TileB, BK, STAGES, ALIGNED>(
      stages, A, B, row0, col0, m, n, k, 0, (k + BK - 1) / BK, threadIdx.x, [&](const In* a, const In* b) {
#pragma unroll 2
        for (int depth = 0; depth < BK; depth += 16) {
          int4 a_part[TM], b_part[TN];
#pragma unroll
          for (int i = 0; i < TM; ++i)
            a_part[i] = *reinterpret_cast<const int4*>(a + TileA::place(warp_row + i * LANES_M + lane_m, depth));
#pragma unroll
          for (int j = 0; j < TN; ++j)
            b_part[j] = *reinterpret_cast<const int4*>(b + TileB::place(warp_col + j * LANES_N + lane_n, depth));
#pragma unroll
          for (int i = 0; i < TM; ++i)
#pragma unroll
            for (int j = 0; j < TN; ++j) {
              sum[i][j] = __dp4a(a_part[i].x, b_part[j].x, sum[i][j]);
              sum[i][j] = __dp4a(a_part[i].y, b_part[j].y, sum[i][j]);
              sum[i][j] = __dp4a(a_part[i].z, b_part[j].z, sum[i][j]);
              sum[i][j] = __dp4a(a_part[i].w, b_part[j].w, sum[i][j]);
            }
        }
      });
  write<TileA, TileB, LANES_M, LANES_N, ALIGNED>(sum, C, bias, D, blockIdx.z, row0 + warp_row, col0 + warp_col, lane_m,
                                                 lane_n, m, n);
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  extern __shared__ __align__(128) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  const int warp = threadIdx.x / 32;
  const int warp_row = warp / WARPS_N * WM, warp_col = warp % WARPS_N * WN;  // in the block's tile
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (m + BM - 1) / BM, (n + BN - 1) / BN, tile_m, tile_n);
  if (TileA::aligned(A, m, k) && TileB::aligned(B, n, k) && reinterpret_cast<size_t>(D) % 16 == 0)
    multiply<true>(stages, A, B, C, bias, D, tile_m * BM, tile_n * BN, warp_row, warp_col, m, n, k);
  else
    multiply<false>(stages, A, B, C, bias, D, tile_m * BM, tile_n * BN, warp_row, warp_col, m, n, k);
}
