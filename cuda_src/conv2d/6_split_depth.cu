/*[tuner]
name = "cuda_conv_split_depth"
operator = "conv2d"
summary = "The implicit product with its depth split among blocks: for images so small that whole windows leave SMs idle."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q", "partial", "arrived"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
requires = ["cp_async"]
use = ["pixel_tiles", "image_tiles", "occupancy", "large_shared"]

[supports]
"its parts of the depth are 16 bytes at least" = "depth * element_bytes >= 32"

[parameters]
SPLIT = { values = [2, 3, 4, 6, 8, 12, 16], doc = "parts of the depth, a block each" }

[let]
tiles_of_y = "tiles * groups"
blocks = "tiles_of_y * SPLIT"
partial_bytes = "blocks * BP * BF * 4"

[constraints]
grid_fits = "groups <= max_grid_y and tiles <= max_grid_x and SPLIT <= max_grid_z"
workspace_fits = "partial_bytes <= 2**30"
parts_have_depth = "SPLIT * BK <= depth"
split_needed = "SPLIT == 2 or tiles_of_y < 4 * sm_count"

[features]
macs = "tiles_of_y * BP * BF * depth"
# Parts go out to memory and come back.
traffic_bytes = "tiles_of_y * (BP + BF) * depth * element_bytes + 2 * partial_bytes"
steps = "ceildiv(depth, BK * SPLIT)"
blocks = "blocks"

[launch]
grid = ["tiles", "groups", "SPLIT"]
block = ["threads", "1", "1"]
shared_bytes = "shared"

[workspace]
partial = "partial_bytes"
arrived = "tiles_of_y * 4"
*/

// Rung 6: a 7 x 7 image has few pixels to share out: 49 of them and 512 filters are 32 tiles of 64 x 32 for 108 SMs,
// each with 4608 taps to walk. Here SPLIT blocks share the depth of a tile. Each leaves its sums in `partial`; the last
// to arrive, by the count in `arrived`, adds them up in the order of the depth, so that the result does not depend on
// who came when, and sets the count back to zero for the next call. One launch does all.
constexpr int GROUP_M = 1;
#include "implicit.cuh"

// Whether this block is the last of its tile's. `arrived` counts the parts that are there.
__device__ __forceinline__ bool last_of(int* arrived) {
  __shared__ bool last;
  __threadfence();  // the part is seen by whoever sees the count
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(arrived, 1) == SPLIT - 1;
  __syncthreads();
  return last;
}

template <bool ALIGNED>
__device__ __forceinline__ void convolve(In* stages, const Sizes& of, const In* X, const In* W, const Finish& finish,
                                         Out* Y, Acc* partial, int* arrived) {
  const Block<ALIGNED> block(of, blockIdx.x, blockIdx.y);
  const int steps = block.steps(of), part = blockIdx.z;
  Sums sum = {};
  block.multiply(sum, stages, X, W, int((long long)part * steps / SPLIT), int((part + 1LL) * steps / SPLIT));
  const size_t tile = size_t(blockIdx.y) * gridDim.x + blockIdx.x;
  Acc* const parts = partial + tile * SPLIT * (BP * BF) + threadIdx.x;
#pragma unroll
  for (int i = 0; i < TM * TN; ++i) parts[part * (BP * BF) + i * BLOCK_THREADS] = sum[i / TN][i % TN];
  if (!last_of(arrived + tile)) return;
  __threadfence();
#pragma unroll
  for (int i = 0; i < TM * TN; ++i) {
    // volatile: past the first-level cache, which other blocks' stores do not reach.
    const volatile Acc* from = parts + i * BLOCK_THREADS;
    Acc total = 0;
    for (int other = 0; other < SPLIT; ++other) total += from[other * (BP * BF)];
    sum[i / TN][i % TN] = total;
  }
  if (threadIdx.x == 0) arrived[tile] = 0;
  block.write(sum, Y, finish);
}

extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, MIN_BLOCKS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const Out* __restrict__ residual, const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h,
           int w, int k, int r, int s, int p, int q, Acc* partial, int* arrived) {
  extern __shared__ __align__(16) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const Finish finish{bias, scale, residual};
  if (whole_fours(of, X, W, Y))
    convolve<true>(stages, of, X, W, finish, Y, partial, arrived);
  else
    convolve<false>(stages, of, X, W, finish, Y, partial, arrived);
}
