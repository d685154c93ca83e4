/*[tuner]
name = "cuda_conv_direct"
operator = "conv2d"
summary = "One thread an output, the formula as it stands: every tap is read from global memory."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]

[parameters]
BLOCK = { values = [32, 64, 128, 256, 512, 1024], doc = "threads a block; neighbours take outputs that are neighbours in memory" }
UNROLL = { values = [1, 2, 4], doc = "taps of a row in straight-line code" }

[let]
outputs = "n * k * p * q"
blocks = "ceildiv(outputs, BLOCK)"
taps = "group_c * r * s"
macs = "outputs * taps"

[constraints]
threads_fit = "BLOCK <= max_threads_block"
grid_fits = "blocks <= max_grid_x"

[features]
macs = "macs"
# NCHW: a warp reads neighbouring pixels and one weight. NHWC: one pixel, and a weight of each of its filters.
traffic_bytes = "macs * (32 if nhwc else element_bytes)"
steps = "taps / 8"
threads = "BLOCK"

[launch]
grid = ["blocks", "1", "1"]
block = ["BLOCK", "1", "1"]
*/

// Rung 0: the definition, a thread an output. Threads are numbered as Y lies in memory, so that a warp writes
// neighbours; what it reads it reads r * s times over. What every later rung is compared with.
#include "conv2d.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const Out* __restrict__ residual, const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h,
           int w, int k, int r, int s, int p, int q) {
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const size_t output = size_t(blockIdx.x) * BLOCK + threadIdx.x;
  if (output >= size_t(n) * k * p * q) return;
  const size_t pq = size_t(p) * q;
  const int filter = OPT_NHWC ? output % k : output / pq % k;
  const int image = output / (pq * k), within = OPT_NHWC ? output / k % pq : output % pq;
  const int first = filter / of.group_k() * of.group_c();  // channel of X where the filter's group begins
  const int y0 = within / q * OPT_STRIDE - TOP, x0 = within % q * OPT_STRIDE - LEFT;
  Acc sum = 0;
  for (int channel = 0; channel < of.group_c(); ++channel)
    for (int i = 0; i < r; ++i) {
      const int y = y0 + i * OPT_DILATION;
      if (y < 0 || y >= h) continue;
#pragma unroll UNROLL
      for (int j = 0; j < s; ++j) {
        const int x = x0 + j * OPT_DILATION;
        if (x < 0 || x >= w) continue;
        sum = multiply_add(widen(X[of.x_index(image, first + channel, y, x)]), widen(W[of.w_index(filter, channel, i, j)]),
                           sum);
      }
    }
  Y[output] = Finish{bias, scale, residual}(sum, filter, output);
}
