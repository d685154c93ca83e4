/*[tuner]
name = "cuda_coalesced"
operator = "gemm"
summary = "One thread an element of D, threads along the columns: B and D are read and written by whole lines."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
options = ["operator", "silu", "gelu", "tanh"]

[parameters]
BLOCK_M = { values = [1, 2, 4, 8, 16, 32], doc = "rows of D a block" }
BLOCK_N = { values = [32, 64, 128, 256], doc = "columns of D a block; consecutive threads, consecutive columns" }
UNROLL = { values = [1, 2, 4, 8, 16], doc = "steps of k unrolled: that many loads in flight" }

[let]
threads = "BLOCK_M * BLOCK_N"
blocks_m = "ceildiv(m, BLOCK_M)"

[constraints]
threads_fit = "64 <= threads <= max_threads_block"
grid_fits = "blocks_m <= max_grid_y and batch <= max_grid_z"

[features]
# A row of B an element each, one 32-byte sector of A for a warp.
traffic_bytes = "batch * m * n * k * (element_bytes + 1)"
steps = "k / UNROLL"
threads = "threads"

[launch]
grid = ["ceildiv(n, BLOCK_N)", "blocks_m", "batch"]
block = ["BLOCK_N", "BLOCK_M", "1"]
*/

// Rung 1: the same arithmetic with consecutive threads on consecutive *columns*. A warp reads 32 neighbours of a
// row of B in one transaction, one broadcast element of A, and writes one line of D.
#include "gemm.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK_M* BLOCK_N, 1)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  const int col = blockIdx.x * BLOCK_N + threadIdx.x;
  const int row = blockIdx.y * BLOCK_M + threadIdx.y;
  if (row >= m || col >= n) return;
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  Acc sum = 0;
  constexpr int unroll = UNROLL;
#pragma unroll unroll
  for (int depth = 0; depth < k; ++depth)
    sum = multiply_add(widen(A[a_index(row, depth, m, k)]), widen(B[b_index(depth, col, n, k)]), sum);
  const size_t index = (size_t(blockIdx.z) * m + row) * n + col;
  D[index] = finish(sum, C, bias, index, col);
}
