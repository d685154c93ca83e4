/*[tuner]
name = "cuda_conv_implicit_gemm"
operator = "conv2d"
summary = "A product of pixels and filters whose image matrix is never made: tiles are gathered from X, asynchronously."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s", "p", "q"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
requires = ["cp_async"]
use = ["pixel_tiles", "image_tiles", "whole_depth", "occupancy", "large_shared"]

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

extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, MIN_BLOCKS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const Out* __restrict__ residual, const float* __restrict__ scale, Out* __restrict__ Y, int n, int c, int h,
           int w, int k, int r, int s, int p, int q) {
  extern __shared__ __align__(16) unsigned char memory[];
  In* stages = reinterpret_cast<In*>(memory);
  const Sizes of{n, c, h, w, k, r, s, p, q};
  const Finish finish{bias, scale, residual};
  if (whole_fours(of, X, W, Y))
    convolve<true>(stages, of, X, W, finish, Y);
  else
    convolve<false>(stages, of, X, W, finish, Y);
}
