/*[tuner]
name = "cuda_naive"
operator = "gemm"
summary = "One thread an element of D, threads down the rows: every access of a warp is strided."
dtypes = ["f32", "f16", "int8", "bf16", "e4m3", "e5m2"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
options = ["operator", "silu", "gelu", "tanh"]

[parameters]
BLOCK_M = { values = [8, 16, 32], doc = "rows of D a block; consecutive threads take consecutive rows" }
BLOCK_N = { values = [4, 8, 16, 32], doc = "columns of D a block" }

[let]
threads = "BLOCK_M * BLOCK_N"
blocks_n = "ceildiv(n, BLOCK_N)"

[constraints]
threads_fit = "threads <= max_threads_block"
grid_fits = "blocks_n <= max_grid_y and batch <= max_grid_z"

[features]
# Each lane its own 32-byte sector of A, one sector of B for all.
traffic_bytes = "batch * m * n * k * (32 + 1)"
steps = "k / 16"
threads = "threads"

[launch]
grid = ["ceildiv(m, BLOCK_M)", "blocks_n", "batch"]
block = ["BLOCK_M", "BLOCK_N", "1"]
*/

// Rung 0: the definition, a thread an element. Consecutive threads of a warp take consecutive *rows*, so with
// row-major A and D a warp touches 32 cache lines where one would do. What every later rung is compared with.
#include "gemm.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK_M* BLOCK_N, 1)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  const int row = blockIdx.x * BLOCK_M + threadIdx.x;
  const int col = blockIdx.y * BLOCK_N + threadIdx.y;
  if (row >= m || col >= n) return;
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  Acc sum = 0;
  for (int depth = 0; depth < k; ++depth)
    sum = multiply_add(widen(A[a_index(row, depth, m, k)]), widen(B[b_index(depth, col, n, k)]), sum);
  const size_t index = (size_t(blockIdx.z) * m + row) * n + col;
  D[index] = finish(sum, C, bias, index, col);
}
