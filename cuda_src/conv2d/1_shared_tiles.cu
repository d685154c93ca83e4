/*[tuner]
name = "cuda_conv_shared_tiles"
operator = "conv2d"
summary = "A patch of the image and the taps of some filters in shared memory: each pixel is fetched once for all its windows."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]

[parameters]
ROWS = { values = [1, 2, 4, 8, 16], doc = "rows of the output a block; a thread each" }
COLS = { values = [8, 16, 32], doc = "columns of the output a block; a thread each" }
FILTERS = { values = [1, 2, 4, 8, 16], doc = "filters a block, all of them in each thread" }
CHANNELS = { values = [1, 2, 4, 8], doc = "channels whose patches are in shared memory together" }

[let]
patch_rows = "(ROWS - 1) * stride + (r - 1) * dilation + 1"
patch_cols = "(COLS - 1) * stride + (s - 1) * dilation + 1"
patch = "patch_rows * patch_cols"
threads = "ROWS * COLS"
tiles = "ceildiv(p, ROWS) * ceildiv(q, COLS)"
filter_blocks = "ceildiv(group_k, FILTERS) * groups"
blocks = "tiles * filter_blocks * n"
taps = "group_c * r * s"
weights = "FILTERS * r * s"
# The patch is rounded up, so that the filters' part begins on a boundary of 16 bytes.
shared = "CHANNELS * (ceildiv(patch, 16) * 16 + weights) * element_bytes"

[constraints]
whole_warps = "threads % warp_size == 0"
threads_fit = "threads <= max_threads_block"
shared_fits = "shared <= shared_bytes_block_optin"
grid_fits = "filter_blocks <= max_grid_y and n <= max_grid_z and tiles <= max_grid_x"
filters_used = "FILTERS < 2 * group_k"
channels_used = "CHANNELS < 2 * group_c"
columns_used = "COLS < 2 * q or COLS == 8"
rows_used = "ROWS < 2 * p or ROWS <= 4"

[features]
macs = "blocks * threads * FILTERS * taps"
traffic_bytes = "blocks * group_c * (patch + weights) * element_bytes"
steps = "ceildiv(group_c, CHANNELS)"
threads = "threads"
shared = "shared"
registers = "FILTERS + 8"

[launch]
grid = ["tiles", "filter_blocks", "n"]
block = ["COLS", "ROWS", "1"]
shared_bytes = "shared"
*/

// Rung 1: in rung 0 a pixel is read once for each of the r * s windows it lies in, and again for every filter. A block
// here fetches the patch of the image that its ROWS x COLS outputs see, for CHANNELS channels at a time, and uses it for
// FILTERS filters. Windows overlap, so a patch is little larger than the outputs it serves:
//
//   2 x 4 outputs, 3 x 3 taps, stride 1:      o o o o         x x x x x x
//                                             o o o o   <-    x x x x x x      24 pixels for 8 x 9 = 72 reads
//                                                             x x x x x x
//                                                             x x x x x x
#include "conv2d.cuh"

extern "C" __global__ void __launch_bounds__(ROWS* COLS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const Out* __restrict__ residual, const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h,
           int w, int k, int r, int s, int p, int q) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const int patch_rows = (ROWS - 1) * OPT_STRIDE + (r - 1) * OPT_DILATION + 1;
  const int patch_cols = (COLS - 1) * OPT_STRIDE + (s - 1) * OPT_DILATION + 1;
  const int patch = patch_rows * patch_cols, taps = r * s;
  In* const pixels = reinterpret_cast<In*>(memory);                       // [CHANNELS][patch_rows][patch_cols], then up to 15 more
  In* const weights = pixels + CHANNELS * ((patch + 15) / 16 * 16);       // [CHANNELS][taps][FILTERS]
  const int thread = threadIdx.y * COLS + threadIdx.x, image = blockIdx.z;
  const int tiles_q = (q + COLS - 1) / COLS, p0 = blockIdx.x / tiles_q * ROWS, q0 = blockIdx.x % tiles_q * COLS;
  const int filter_blocks = (of.group_k() + FILTERS - 1) / FILTERS;  // of a group
  const int group = blockIdx.y / filter_blocks, within = blockIdx.y % filter_blocks * FILTERS;
  const int filter0 = group * of.group_k() + within, filters = min(FILTERS, of.group_k() - within);
  const int y0 = p0 * OPT_STRIDE - TOP, x0 = q0 * OPT_STRIDE - LEFT;
  Acc sum[FILTERS] = {};
  for (int channel0 = 0; channel0 < of.group_c(); channel0 += CHANNELS) {
    const int channels = min(CHANNELS, of.group_c() - channel0);
    for (int i = thread; i < channels * patch; i += ROWS * COLS) {
      // Consecutive threads along the contiguous dimension of X.
      const int channel = OPT_NHWC ? i % channels : i / patch, at = OPT_NHWC ? i / channels : i % patch;
      const int y = y0 + at / patch_cols, x = x0 + at % patch_cols;
      const bool inside = y >= 0 && y < h && x >= 0 && x < w;
      pixels[channel * patch + at] =
          inside ? X[of.x_index(image, group * of.group_c() + channel0 + channel, y, x)] : In(0);
    }
    for (int i = thread; i < channels * taps * FILTERS; i += ROWS * COLS) {
      const int filter = i % FILTERS, tap = i / FILTERS % taps, channel = i / (FILTERS * taps);
      weights[i] = filter < filters ? W[of.w_index(filter0 + filter, channel0 + channel, tap / s, tap % s)] : In(0);
    }
    __syncthreads();
    for (int channel = 0; channel < channels; ++channel)
      for (int i = 0; i < r; ++i) {
        const In* row = pixels + channel * patch + (threadIdx.y * OPT_STRIDE + i * OPT_DILATION) * patch_cols +
                        threadIdx.x * OPT_STRIDE;
        const In* weight = weights + (channel * r + i) * s * FILTERS;
        for (int j = 0; j < s; ++j, weight += FILTERS) {
          const Acc pixel = widen(row[j * OPT_DILATION]);
#pragma unroll
          for (int filter = 0; filter < FILTERS; ++filter)
            sum[filter] = multiply_add(pixel, widen(weight[filter]), sum[filter]);
        }
      }
    __syncthreads();
  }
  const int row = p0 + threadIdx.y, col = q0 + threadIdx.x;
  if (row >= p || col >= q) return;
  const Finish finish{bias, scale, residual};
#pragma unroll
  for (int filter = 0; filter < FILTERS; ++filter)
    if (filter < filters) {
      const size_t place = of.y_index(image, filter0 + filter, row * q + col);
      Y[place] = finish(sum[filter], filter0 + filter, place);
    }
}
