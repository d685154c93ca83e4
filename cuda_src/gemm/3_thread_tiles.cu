/*[tuner]
name = "cuda_thread_tiles"
operator = "gemm"
summary = "Each thread computes TM x TN elements in registers: shared memory is read (TM + TN) / (TM TN) as often."
dtypes = ["f32", "f16", "int8"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
options = ["operator", "silu", "gelu", "tanh"]

[parameters]
BM = { values = [16, 32, 64, 128], doc = "rows of D a block" }
BN = { values = [16, 32, 64, 128], doc = "columns of D a block" }
BK = { values = [4, 8, 16, 32], doc = "depth of the tiles in shared memory" }
TM = { values = [1, 2, 4, 8, 16], doc = "rows of D a thread" }
TN = { values = [1, 2, 4, 8, 16], doc = "columns of D a thread" }

[let]
tiles_m = "ceildiv(m, BM)"
tiles_n = "ceildiv(n, BN)"
blocks = "tiles_m * tiles_n * batch"
threads = "BM * BN // (TM * TN)"
shared = "BK * (BM + BN) * element_bytes"
# Sums, and one fragment of each operand; addresses and loops want about 40 more.
held = "TM * TN + TM + TN"
registers_needed = "held + 40"

[constraints]
thread_tiles_divide = "BM % TM == 0 and BN % TN == 0"
whole_warps = "threads % warp_size == 0"
threads_fit = "threads <= max_threads_block"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_block_fit = "registers_needed * threads <= registers_block"
shared_fits = "shared <= shared_bytes_block"
grid_fits = "tiles_m <= max_grid_y and batch <= max_grid_z"

[features]
macs = "blocks * BM * BN * k"
traffic_bytes = "blocks * (BM + BN) * k * element_bytes"
steps = "ceildiv(k, BK)"
threads = "threads"
shared = "shared"
intensity = "BM * BN / (BM + BN)"
registers = "held"

[launch]
grid = ["tiles_n", "tiles_m", "batch"]
block = ["threads", "1", "1"]
*/

// Rung 3: in rung 2 every multiply-add reads two elements of shared memory, which gives 32 of them a clock while
// the SM could do 64 or 128 multiply-adds. A thread that owns TM x TN elements of D reads TM + TN elements for
// TM * TN multiply-adds: 8 x 8 reads one for every four.
#include "gemm.cuh"

constexpr int THREADS_N = BN / TN;
constexpr int THREADS = BM / TM * THREADS_N;

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k) {
  __shared__ In a[BK][BM];
  __shared__ In b[BK][BN];
  const int thread = threadIdx.x;
  const int row0 = blockIdx.y * BM, col0 = blockIdx.x * BN;
  A += size_t(blockIdx.z) * m * k;
  B += size_t(blockIdx.z) * k * n;
  const In zero = In(0);
  // Rows thread_m, thread_m + BM / TM, ... and likewise columns: neighbours read neighbouring banks.
  const int thread_m = thread / THREADS_N, thread_n = thread % THREADS_N;
  Acc sum[TM][TN] = {};
  for (int depth0 = 0; depth0 < k; depth0 += BK) {
#pragma unroll
    for (int i = thread; i < BM * BK; i += THREADS) {
      // Consecutive threads along the contiguous dimension of the matrix in memory.
      const int row = OPT_TRANS_A ? i % BM : i / BK, depth = OPT_TRANS_A ? i / BM : i % BK;
      const bool inside = row0 + row < m && depth0 + depth < k;
      a[depth][row] = inside ? A[a_index(row0 + row, depth0 + depth, m, k)] : zero;
    }
#pragma unroll
    for (int i = thread; i < BN * BK; i += THREADS) {
      const int col = OPT_TRANS_B ? i / BK : i % BN, depth = OPT_TRANS_B ? i % BK : i / BN;
      const bool inside = col0 + col < n && depth0 + depth < k;
      b[depth][col] = inside ? B[b_index(depth0 + depth, col0 + col, n, k)] : zero;
    }
    __syncthreads();
#pragma unroll
    for (int depth = 0; depth < BK; ++depth) {
      Acc a_part[TM], b_part[TN];
#pragma unroll
      for (int i = 0; i < TM; ++i) a_part[i] = widen(a[depth][thread_m + i * (BM / TM)]);
#pragma unroll
      for (int j = 0; j < TN; ++j) b_part[j] = widen(b[depth][thread_n + j * THREADS_N]);
#pragma unroll
      for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; ++j) sum[i][j] = multiply_add(a_part[i], b_part[j], sum[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < TM; ++i)
#pragma unroll
    for (int j = 0; j < TN; ++j) {
      const int row = row0 + thread_m + i * (BM / TM), col = col0 + thread_n + j * THREADS_N;
      if (row >= m || col >= n) continue;
      const size_t index = (size_t(blockIdx.z) * m + row) * n + col;
      D[index] = finish(sum[i][j], C, bias, index, col);
    }
}
