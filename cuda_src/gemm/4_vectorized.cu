/*[tuner]
name = "cuda_vectorized"
operator = "gemm"
summary = "128-bit loads from global and from padded shared memory, 128-bit stores; blocks in groups for L2."
dtypes = ["f32", "f16", "int8"]
claims = ["wide_loads"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["threads_side_by_side", "thread_tiles", "padded_rows", "pieces", "block_tiles", "occupancy"]

[let]
# Sums, four steps of fragments, about 40 for addresses and loops.
registers_needed = "TM * TN + 2 * (TM + TN) + 40"

[constraints]
shared_fits = "tile_bytes + pad_bytes <= shared_bytes_block"

[features]
shared = "tile_bytes"

[launch]
grid = ["tiles", "1", "batch"]
block = ["threads", "1", "1"]
*/

// Rung 4: rung 3 moves one element an instruction, and those instructions compete with the multiply-adds for
// issue slots. Here a thread moves 16 bytes at once: from global memory, into and out of shared memory. Rows in
// shared memory are padded by 16 bytes, else the eight lanes of a phase that read down a column would all
// hit the same four banks.
//
// BM x BN x BK = 4 x 8 x 4 with TM x TN = 2 x 4 is LANES_M x LANES_N = 2 x 2 threads. TileA and TileB are Operands
// (common/tiles.cuh): [----] is a piece of 16 bytes, four f32, and `pad` the PAD pieces behind a row.
//
//   TileA, A as it is     TileB, B as it is            what thread (1, 0) owns of D
//   row 0   [----] pad    depth 0   [----][----] pad   . . . .  . . . .
//   row 1   [----] pad    depth 1   [----][----] pad   o o o o  . . . .
//   row 2   [----] pad    depth 2   [----][----] pad   . . . .  . . . .
//   row 3   [----] pad    depth 3   [----][----] pad   o o o o  . . . .
#include "tiles.cuh"

constexpr int LANES_M = BM / TM, LANES_N = BN / TN, THREADS = LANES_M * LANES_N;
typedef Operand<In, !OPT_TRANS_A, BM, BK, PAD * VECTOR, THREADS> TileA;
typedef Operand<In, bool(OPT_TRANS_B), BN, BK, PAD * VECTOR, THREADS> TileB;

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* a, In* b, const In* A, const In* B, const Out* C, const Out* bias,
                                         Out* D, int m, int n, int k) {
  const int thread = threadIdx.x, lane_m = thread / LANES_N, lane_n = thread % LANES_N;
  int tile_m, tile_n;
  grouped_tile<GROUP_M>(blockIdx.x, (m + BM - 1) / BM, (n + BN - 1) / BN, tile_m, tile_n);
  const int row0 = tile_m * BM, col0 = tile_n * BN;
  Acc sum[TM][TN] = {};
  for (int depth0 = 0; depth0 < k; depth0 += BK) {
    TileA::template copy<ALIGNED>(a, TileA::Window(A, row0, depth0, m, k), thread);
    TileB::template copy<ALIGNED>(b, TileB::Window(B, col0, depth0, n, k), thread);
    __syncthreads();
    accumulate<TileA, TileB, LANES_M, LANES_N, BK, UNROLL>(sum, a, b, lane_m, lane_n);
    __syncthreads();
  }
  write<TileA, TileB, LANES_M, LANES_N, ALIGNED>(sum, C, bias, D, blockIdx.z, row0, col0, lane_m, lane_n, m, n);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  __shared__ __align__(16) In a[TileA::SIZE];
  __shared__ __align__(16) In b[TileB::SIZE];
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  if (TileA::aligned(A, m, k) && TileB::aligned(B, n, k) && n % 4 == 0 &&
      reinterpret_cast<size_t>(D) % 16 == 0)
    multiply<true>(a, b, A, B, C, bias, D, m, n, k);
  else
    multiply<false>(a, b, A, B, C, bias, D, m, n, k);
}
