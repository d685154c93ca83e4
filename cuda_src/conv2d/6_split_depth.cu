/*[tuner]
name = "cuda_conv_split_depth"
operator = "conv2d"
summary = "The implicit product with its depth split among blocks: for images so small that whole windows leave SMs idle."
dtypes = ["f32", "f16", "int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q", "partial", "arrived"]
options = "operator"
requires = ["cp_async"]

[supports]
"it divides depths by 32-bit multiplication" = "depth * max(r * s, group_c) < 2**31"
"its pixels are counted in 32 bits" = "pixels < 2**30"

[parameters]
BP = { values = [16, 32, 64, 128, 256], doc = "pixels a block" }
BF = { values = [8, 16, 32, 64, 128], doc = "filters a block" }
BK = { values = [4, 8, 16, 32], doc = "depth of the tiles in shared memory" }
TP = { values = [1, 2, 4, 8], doc = "pixels a thread" }
TF = { values = [1, 2, 4, 8], doc = "filters a thread" }
STAGES = { values = [2, 3, 4], doc = "tiles in shared memory: one in use, the others on their way" }
PAD = { values = [0, 1], doc = "16-byte pieces after each row in shared memory, against bank conflicts" }
UNROLL = { values = [1, 2], doc = "groups of four steps of depth in straight-line code" }
SPLIT = { values = [2, 3, 4, 6, 8, 12, 16], doc = "parts of the depth, a block each" }
MIN_BLOCKS = { values = [1, 2, 3], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
depth = "group_c * r * s"
pixels = "n * p * q"
tiles = "ceildiv(pixels, BP) * ceildiv(group_k, BF)"
tiles_of_y = "tiles * groups"
blocks = "tiles_of_y * SPLIT"
partial_bytes = "blocks * BP * BF * 4"
threads = "BP * BF // (TP * TF)"
row_bytes = "BK * element_bytes"
tile_bytes = "(BP + BF) * row_bytes"
pad_bytes = "16 * PAD * (BF + (BP if nhwc else BK))"
shared = "STAGES * (tile_bytes + pad_bytes)"
# Windows of a thread's pixels, two registers for the address and two for the pixel.
windows = "max(1, BP * row_bytes // 16 // threads if nhwc else BP // threads)"
registers_needed = "TP * TF + 2 * (TP + TF) + 4 * windows + 56"

[constraints]
thread_tiles_divide = "BP % TP == 0 and BF % TF == 0"
whole_warps = "threads % warp_size == 0"
threads_fit = "threads <= max_threads_block"
vector_divides_rows = "row_bytes % 16 == 0 and (nhwc or BP * element_bytes % 16 == 0)"
unroll_divides_depth = "BK % (4 * UNROLL) == 0"
threads_take_columns = "nhwc or threads % BP == 0 or BP % threads == 0"
threads_have_elements = "BP * BK >= threads * (16 // element_bytes if nhwc else 1)"
elements_fit_a_thread = "BP * BK <= 32 * threads and tile_bytes <= 256 * threads"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_sm_fit = "registers_needed * threads * MIN_BLOCKS <= registers_sm"
threads_of_sm_fit = "threads * MIN_BLOCKS <= max_threads_sm"
shared_fits = "shared <= shared_bytes_block_optin"
grid_fits = "groups <= max_grid_y and tiles <= max_grid_x and SPLIT <= max_grid_z"
workspace_fits = "partial_bytes <= 2**30"
parts_have_depth = "SPLIT * BK <= depth"
split_needed = "SPLIT == 2 or tiles_of_y < 4 * sm_count"
filters_used = "BF < 2 * group_k or BF == 8"

[features]
macs = "tiles_of_y * BP * BF * depth"
# Parts go out to memory and come back.
traffic_bytes = "tiles_of_y * (BP + BF) * depth * element_bytes + 2 * partial_bytes"
steps = "ceildiv(depth, BK * SPLIT)"
stages = "STAGES"
threads = "threads"
shared = "STAGES * tile_bytes"
intensity = "BP * BF / (BP + BF)"
blocks = "blocks"
registers = "TP * TF + TP + TF"

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
  for (int i = 0; i < TM * TN; ++i) parts[part * (BP * BF) + i * THREADS] = sum[i / TN][i % TN];
  if (!last_of(arrived + tile)) return;
  __threadfence();
#pragma unroll
  for (int i = 0; i < TM * TN; ++i) {
    // volatile: past the first-level cache, which other blocks' stores do not reach.
    const volatile Acc* from = parts + i * THREADS;
    Acc total = 0;
    for (int other = 0; other < SPLIT; ++other) total += from[other * (BP * BF)];
    sum[i / TN][i % TN] = total;
  }
  if (threadIdx.x == 0) arrived[tile] = 0;
  block.write(sum, Y, finish);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h, int w, int k, int r, int s, int p,
           int q, Acc* partial, int* arrived) {
  extern __shared__ __align__(16) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const Finish finish{bias, scale};
  if (whole_pieces(of, X, W, Y))
    convolve<true>(stages, of, X, W, finish, Y, partial, arrived);
  else
    convolve<false>(stages, of, X, W, finish, Y, partial, arrived);
}
