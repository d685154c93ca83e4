/*[tuner]
name = "cuda_mma_stream_k"
operator = "gemm"
summary = "Rung 10 as a persistent kernel: blocks for every SM, even shares of all the work (stream-K)."
dtypes = ["f16", "bf16", "int8", "tf32", "e4m3", "e5m2"]
claims = ["wide_loads", "tensor_cores", "tensor_cores:int8"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k", "partial", "arrived"]
requires = ["cp_async", "fp8:e4m3", "fp8:e5m2"]
options = ["operator", "silu", "gelu", "tanh"]
use = ["warp_tiles", "swizzled_stages", "pieces", "shares"]

[parameters]
BK = { values = [16, 32, 64, 128], doc = "depth of the tiles in shared memory" }
GROUP_M = { values = [1, 4, 8, 16], doc = "rows of blocks visited together" }
BLOCKS_SM = { values = [1, 2, 3, 4], doc = "blocks an SM holds: as many are launched; caps the registers a thread" }

[let]
blocks = "sm_count * BLOCKS_SM"
# Sums; two steps' blocks; about 40 for addresses and loops.
registers_needed = "sums + (WM + WN) // 2 + 40"

[constraints]
threads_fit = "32 <= threads <= max_threads_block"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_sm_fit = "registers_needed * threads * BLOCKS_SM <= registers_sm"
threads_of_sm_fit = "threads * BLOCKS_SM <= max_threads_sm"
# All blocks run at once; each has 1 KiB of shared memory for the system (`shared_bytes_reserved`).
blocks_fit_an_sm = "BLOCKS_SM * (shared + 16 + 1024) <= shared_bytes_sm"

[features]
# Sums of a divided tile go out to memory and come back.
traffic_bytes = "tiles * (BM + BN) * k * element_bytes + 8 * BM * BN * blocks"
threads = "threads"

[launch]
grid = ["blocks", "1", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 11: 4096 x 4096 in tiles of 128 x 128 is 1024 tiles for 216 blocks at a time on 108 SMs: four full waves and a
// fifth of three quarters; of a smaller matrix the last wave is a larger share. So as many blocks as the SMs hold are
// launched, and each takes an equal share of the steps of all tiles (stream-K, as rung 9 for f32; shares.cuh), with
// rung 10's main loop. They end together, whatever the number of tiles.
#include "blocks.cuh"
#include "shares.cuh"

template <bool ALIGNED>
__device__ __forceinline__ void multiply(In* stages, bool* last_to_arrive, const In* A, const In* B, const Out* C,
                                         const Out* bias, Out* D, int m, int n, int k, Acc* partial, int* arrived) {
  const int tiles_m = (m + BM - 1) / BM, tiles_n = (n + BN - 1) / BN, depth_steps = (k + BK - 1) / BK;
  const Shares shares = {(long long)OPT_BATCH * tiles_m * tiles_n * depth_steps, (long long)gridDim.x};
  const long long end = shares.first_step(blockIdx.x + 1LL);
  for (long long step = shares.first_step(blockIdx.x); step < end;) {
    const int tile = int(step / depth_steps), first = int(step % depth_steps);
    const int last = int(min((long long)depth_steps, first + end - step));
    step += last - first;
    const int batch = tile / (tiles_m * tiles_n);
    int tile_m, tile_n;
    grouped_tile<GROUP_M>(tile % (tiles_m * tiles_n), tiles_m, tiles_n, tile_m, tile_n);
    Sums sum = {};
    accumulate_blocks<ALIGNED>(sum, stages, A + size_t(batch) * m * k, B + size_t(batch) * k * n, tile_m * BM,
                               tile_n * BN, m, n, k, first, last);
    constexpr int ROW = 8 * ACROSS_N;  // sums of a block of A
    const bool whole = gather_parts<BM * BN, ACROSS_M * ROW, THREADS>(
        [&](int i) -> Acc& { return sum[i / ROW][i % ROW / 4][i % 4]; }, shares, tile, first, last, depth_steps,
        partial, arrived, last_to_arrive);
    // The sums go through the tiles' memory: nobody reads tiles after the last barrier of ring_ahead.
    if (whole) write_sums(sum, stages, C, bias, D, batch, tile_m * BM, tile_n * BN, m, n);
    __syncthreads();  // the next tile's copies take the place of this one's sums
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_SM)
    gemm(const In* __restrict__ A, const In* __restrict__ B, const Out* __restrict__ C,
         const Out* __restrict__ bias, Out* __restrict__ D, int m, int n, int k, Acc* partial, int* arrived) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ bool last_to_arrive;
  In* stages = reinterpret_cast<In*>(memory);
  // Every matrix of a batch is aligned if the first is and whole pieces make up its rows.
  const bool a_aligned = (OPT_TRANS_A ? m : k) % VECTOR_OF<In> == 0 && reinterpret_cast<size_t>(A) % 16 == 0;
  const bool b_aligned = (OPT_TRANS_B ? k : n) % VECTOR_OF<In> == 0 && reinterpret_cast<size_t>(B) % 16 == 0;
  if (a_aligned && b_aligned)
    multiply<true>(stages, &last_to_arrive, A, B, C, bias, D, m, n, k, partial, arrived);
  else
    multiply<false>(stages, &last_to_arrive, A, B, C, bias, D, m, n, k, partial, arrived);
}
