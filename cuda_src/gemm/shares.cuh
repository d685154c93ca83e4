// Stream-K: even shares of the steps of all tiles for a fixed number of workers, and how a tile's parts come together.
/*[tuner.shared]
# Blocks share the work of a tile through a workspace, and its last one combines their sums.
[shares.let]
tiles = "ceildiv(m, BM) * ceildiv(n, BN) * batch"
# A block leaves the sums of the tiles that it begins and ends with and does not finish: two at most.
partial_bytes = "2 * blocks * BM * BN * 4"

[shares.constraints]
shared_fits = "shared + 16 <= shared_bytes_block_optin"
workspace_fits = "partial_bytes <= 2**30"

[shares.features]
macs = "tiles * BM * BN * k"
steps = "ceildiv(k, BK) * tiles / blocks"
blocks = "blocks"
intensity = "BM * BN / (BM + BN)"

[shares.workspace]
partial = "partial_bytes"
arrived = "tiles * 4"
*/
#pragma once
#include "gemm.cuh"

// The steps are 0 ... steps - 1; worker w of `workers` takes those from first_step(w) to first_step(w + 1).
struct Shares {
  long long steps, workers;
  __device__ __forceinline__ long long first_step(long long worker) const { return worker * steps / workers; }
  // The last worker whose share begins at or before a step: w * steps / workers < step + 1.
  __device__ __forceinline__ long long worker_of(long long step) const {
    return ((step + 1) * workers + steps - 1) / steps - 1;
  }
};

// What a worker does with its sums of a tile: the whole tile's are left as they are. A part goes to `partial`, and the
// last worker to arrive, by the count of steps in arrived[tile], adds up all parts in the order of k, so that the
// result does not depend on who came when, and sets the count back to zero for the next call. True where `sum` now
// holds the whole tile's.
//
// sum(i): this thread's sum number i of COUNT. partial: two parts of SIZE sums for each worker.
// first, last: the worker's steps of the tile's depth_steps. last_to_arrive: in shared memory.
template <int SIZE, int COUNT, int THREADS, typename Sum>
__device__ __forceinline__ bool gather_parts(const Sum& sum, const Shares& shares, int tile, int first, int last,
                                             int depth_steps, Acc* partial, int* arrived, bool* last_to_arrive) {
  if (first == 0 && last == depth_steps) return true;
  const int thread = threadIdx.x;
  // A share has at most two parts of tiles: one that does not begin its tile, one that does.
  Acc* mine = partial + (2LL * blockIdx.x + (first == 0)) * SIZE + thread;
#pragma unroll
  for (int i = 0; i < COUNT; ++i) mine[i * THREADS] = sum(i);
  __threadfence();  // the part is seen by whoever sees the count
  __syncthreads();
  if (thread == 0) *last_to_arrive = atomicAdd(arrived + tile, last - first) + last - first == depth_steps;
  __syncthreads();
  if (!*last_to_arrive) return false;
  __threadfence();
  const long long begin = (long long)tile * depth_steps, final = shares.worker_of(begin + depth_steps - 1);
#pragma unroll
  for (int i = 0; i < COUNT; ++i) sum(i) = 0;
  for (long long worker = shares.worker_of(begin); worker <= final; ++worker) {
    const long long start = shares.first_step(worker);
    if (start == shares.first_step(worker + 1)) continue;  // more workers than steps: an empty share
    // volatile: past the first-level cache, which other blocks' stores do not reach.
    const volatile Acc* part = partial + (2 * worker + (start <= begin)) * SIZE + thread;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) sum(i) += part[i * THREADS];
  }
  if (thread == 0) arrived[tile] = 0;
  return true;
}
