/*[tuner]
name = "cuda_conv_implicit_gemm"
operator = "conv2d"
summary = "A product of pixels and filters whose image matrix is never made: tiles are gathered from X, asynchronously."
dtypes = ["f32", "f16", "int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q"]
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
GROUP_M = { values = [1, 4, 8], doc = "rows of blocks visited together" }
MIN_BLOCKS = { values = [1, 2, 3], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
depth = "group_c * r * s"
pixels = "n * p * q"
tiles = "ceildiv(pixels, BP) * ceildiv(group_k, BF)"
blocks = "tiles * groups"
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
grid_fits = "groups <= max_grid_y and tiles <= max_grid_x"
filters_used = "BF < 2 * group_k or BF == 8"

[features]
macs = "blocks * BP * BF * depth"
traffic_bytes = "blocks * (BP + BF) * depth * element_bytes"
steps = "ceildiv(depth, BK)"
stages = "STAGES"
threads = "threads"
shared = "STAGES * tile_bytes"
intensity = "BP * BF / (BP + BF)"
registers = "TP * TF + TP + TF"

[launch]
grid = ["tiles", "groups", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 2: all pixels of all images against all filters is a matrix product whose depth is a filter's taps. The image
// matrix would be r * s times the image; here its tiles are gathered from X as they are needed (Chetlur et al., cuDNN,
// 2014), several under way at once. Then everything that GEMM's rung 5 does holds.
#include "implicit.cuh"

template <bool ALIGNED>
__device__ __forceinline__ void convolve(In* stages, const Sizes& of, const In* X, const In* W, const Finish& finish,
                                         Out* Y) {
  const Block<ALIGNED> block(of, blockIdx.x, blockIdx.y);
  Sums sum = {};
  block.multiply(sum, stages, X, W, 0, block.steps(of));
  block.write(sum, Y, finish);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h, int w, int k, int r, int s, int p,
           int q) {
  extern __shared__ __align__(16) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const Finish finish{bias, scale};
  if (whole_pieces(of, X, W, Y))
    convolve<true>(stages, of, X, W, finish, Y);
  else
    convolve<false>(stages, of, X, W, finish, Y);
}
