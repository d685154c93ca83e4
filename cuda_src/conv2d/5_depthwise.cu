/*[tuner]
name = "cuda_conv_depthwise"
operator = "conv2d"
summary = "Few channels a group: a thread owns a run of outputs of one row and reads each pixel of it once a tap row."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]

[supports]
"it computes groups of up to 32 channels" = "group_c <= 32"

[parameters]
BLOCK = { values = [32, 64, 128, 256], doc = "threads a block" }
RUN = { values = [1, 2, 4, 7, 8, 14, 16], doc = "outputs of one row a thread" }
UNROLL = { values = [1, 3, 5], doc = "taps of a row in straight-line code" }
MIN_BLOCKS = { values = [1, 2, 4, 8], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
runs = "ceildiv(q, RUN)"
threads_needed = "n * k * p * runs"
blocks = "ceildiv(threads_needed, BLOCK)"
taps = "group_c * r * s"
registers_needed = "RUN * 2 + 40"
threads_of_grid = "blocks * BLOCK"

[constraints]
threads_fit = "BLOCK <= max_threads_block"
grid_fits = "blocks <= max_grid_x"
run_used = "RUN < 2 * q or RUN == 1"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_sm_fit = "registers_needed * BLOCK * MIN_BLOCKS <= registers_sm"
threads_of_sm_fit = "BLOCK * MIN_BLOCKS <= max_threads_sm"

[features]
macs = "threads_of_grid * RUN * taps"
traffic_bytes = "threads_of_grid * (RUN * stride + s * dilation) * r * group_c * element_bytes"
steps = "taps"
threads = "BLOCK"
registers = "RUN * 2"

[launch]
grid = ["blocks", "1", "1"]
block = ["BLOCK", "1", "1"]
*/

// Rung 5: with one channel a group (depthwise) there is no sum over channels to share out, so tiles of filters are
// empty and rung 2's product is 1/32 full. What can be shared is the row: a thread computes RUN neighbouring outputs,
// so that one weight serves RUN multiply-adds. With NHWC neighbouring threads take neighbouring channels, with NCHW
// neighbouring runs: either way a warp reads whole sectors.
//
//   RUN = 4, s = 3, stride 1:    pixels   a b c d e f        out 0 = a*u + b*v + c*w
//                                weights  u v w              out 1 = b*u + c*v + d*w   ... out 3 = d*u + e*v + f*w
#include "conv2d.cuh"

// `INSIDE`: all taps of the run lie in the image along x.
template <bool INSIDE>
__device__ __forceinline__ void add_row(Acc (&sum)[RUN], const In* __restrict__ pixels, const In* __restrict__ weights,
                                        int x0, int w, int s, size_t across, size_t weight_step) {
#pragma unroll UNROLL
  for (int j = 0; j < s; ++j) {
    const Acc weight = widen(weights[j * weight_step]);
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      const int x = x0 + i * OPT_STRIDE + j * OPT_DILATION;
      if (INSIDE || (x >= 0 && x < w)) sum[i] = multiply_add(widen(pixels[x * across]), weight, sum[i]);
    }
  }
}

extern "C" __global__ void __launch_bounds__(BLOCK, MIN_BLOCKS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const Out* __restrict__ residual, const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h,
           int w, int k, int r, int s, int p, int q) {
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const int runs = (q + RUN - 1) / RUN;
  size_t rest = size_t(blockIdx.x) * BLOCK + threadIdx.x;
  if (rest >= size_t(n) * k * p * runs) return;
  int filter = 0, run, row;
  if (OPT_NHWC) filter = rest % k, rest /= k;
  run = rest % runs, rest /= runs;
  row = rest % p, rest /= p;
  if (!OPT_NHWC) filter = rest % k, rest /= k;
  const int image = rest, first = filter / of.group_k() * of.group_c(), q0 = run * RUN;
  const int y0 = row * OPT_STRIDE - TOP, x0 = q0 * OPT_STRIDE - LEFT;
  const bool inside = x0 >= 0 && x0 + (RUN - 1) * OPT_STRIDE + (s - 1) * OPT_DILATION < w;
  const size_t across = OPT_NHWC ? c : 1, weight_step = OPT_NHWC ? of.group_c() : 1;
  Acc sum[RUN] = {};
  for (int channel = 0; channel < of.group_c(); ++channel)
    for (int i = 0; i < r; ++i) {
      const int y = y0 + i * OPT_DILATION;
      if (y < 0 || y >= h) continue;
      const In* pixels = X + of.x_index(image, first + channel, y, 0);
      const In* weights = W + of.w_index(filter, channel, i, 0);
      if (inside)
        add_row<true>(sum, pixels, weights, x0, w, s, across, weight_step);
      else
        add_row<false>(sum, pixels, weights, x0, w, s, across, weight_step);
    }
  const Finish finish{bias, scale, residual};
#pragma unroll
  for (int i = 0; i < RUN; ++i)
    if (q0 + i < q) {
      const size_t place = of.y_index(image, filter, row * q + q0 + i);
      Y[place] = finish(sum[i], filter, place);
    }
}
