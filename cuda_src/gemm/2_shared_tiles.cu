/*[tuner]
name = "cuda_shared_tiles"
operator = "gemm"
summary = "Square tiles of A and B in shared memory: each element is fetched once a block, not once a thread."
dtypes = ["f32", "f16", "int8"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
options = ["operator", "silu", "gelu", "tanh"]

[parameters]
TILE = { values = [8, 16, 32], doc = "edge of the tiles of A, B and D" }
PAD = { values = [0, 1], doc = "elements added to a row in shared memory, so that a column spans all banks" }

[let]
tiles_m = "ceildiv(m, TILE)"
tiles_n = "ceildiv(n, TILE)"
blocks = "tiles_m * tiles_n * batch"
threads = "TILE * TILE"
shared = "2 * TILE * (TILE + PAD) * element_bytes"

[constraints]
threads_fit = "threads <= max_threads_block"
shared_fits = "shared <= shared_bytes_block"
grid_fits = "tiles_m <= max_grid_y and batch <= max_grid_z"

[features]
macs = "blocks * threads * k"
traffic_bytes = "blocks * 2 * TILE * k * element_bytes"
steps = "ceildiv(k, TILE)"
threads = "threads"
shared = "shared"

[launch]
grid = ["tiles_n", "tiles_m", "batch"]
block = ["TILE", "TILE", "1"]
*/

// Rung 2: in rung 1 each element of A is read by every thread of a row of D and each of B by every thread of a
// column. Here a block of TILE x TILE threads fetches a tile of each into shared memory and uses it TILE times:
// TILE = 32 cuts global reads to 1/32.
#include "gemm.cuh"

extern "C" __global__ void __launch_bounds__(TILE* TILE, 1)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  __shared__ In a[TILE][TILE + PAD];  // [row][depth]
  __shared__ In b[TILE][TILE + PAD];  // [depth][col]
  const int x = threadIdx.x, y = threadIdx.y;
  const int row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  const In zero = In(0);
  Acc sum = 0;
  for (int depth0 = 0; depth0 < k; depth0 += TILE) {
    // x runs along the contiguous dimension of the matrix in memory, transposed or not.
    const int a_row = row0 + (OPT_TRANS_A ? x : y), a_depth = depth0 + (OPT_TRANS_A ? y : x);
    const int b_col = col0 + (OPT_TRANS_B ? y : x), b_depth = depth0 + (OPT_TRANS_B ? x : y);
    a[a_row - row0][a_depth - depth0] = a_row < m && a_depth < k ? A[a_index(a_row, a_depth, m, k)] : zero;
    b[b_depth - depth0][b_col - col0] = b_col < n && b_depth < k ? B[b_index(b_depth, b_col, n, k)] : zero;
    __syncthreads();
#pragma unroll
    for (int depth = 0; depth < TILE; ++depth) sum = multiply_add(widen(a[y][depth]), widen(b[depth][x]), sum);
    __syncthreads();
  }
  const int row = row0 + y, col = col0 + x;
  if (row >= m || col >= n) return;
  const size_t index = (size_t(blockIdx.z) * m + row) * n + col;
  D[index] = finish(sum, C, bias, index, col);
}
