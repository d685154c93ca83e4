/*[tuner]
name = "conv_direct"
operator = "conv2d"
summary = "Direct: a register tile of pixels x vectors of output channels, weights packed, any layout."
dtypes = ["f32", "f16", "int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
use = ["channel_tiles", "cores", "direct"]
*/
// Rung 1. Every weight is used for all pixels of a register tile and every pixel for all its channels, so two
// loads serve PIXELS * CHANNELS products, and a sum never leaves its register (Georganas et al., Anatomy of
// high-performance deep learning convolutions on SIMD architectures, SC 2018). Weights are packed into the
// order in which the tile reads them: taps outermost, then output channels, a vector of them at a time. A
// table of offsets says where each tap lies in the (padded) image, so one loop serves every kernel size,
// dilation and layout. int8 is computed in f32, exactly: up to 1024 products of at most 2^14 stay under 2^24.
#define HUGE_PAGES 1
#define INT8_IN_F32 1
#define W_AHEAD 0
#include "direct.h"

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, result* Y, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r,
                      int64_t s) {
    return convolve(X, W, nullptr, {bias, scale, nullptr, residual}, Y, Shape(n, c, h, w, k, r, s));
}
