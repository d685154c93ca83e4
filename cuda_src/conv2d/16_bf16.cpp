/*[tuner]
name = "conv_bf16"
operator = "conv2d"
summary = "bf16 in words of two, by their dot product where there is one (AVX512_BF16): a tile of pixels x vectors of channels, any layout."
dtypes = ["bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
use = ["cores", "pixel_shape", "bf16_tiles"]
*/
// Rung 16. Rung 8 with pairs of bf16 in place of four bytes: an instruction multiplies 32 pairs of numbers where f32 has 16,
// and nothing is converted. An image in NHWC already lies as it is read, so that it is copied only for its padding. Sums
// are f32; denormals count as zero. Without the instruction (words.h) it is f32's rate on operands half as large.
#define HUGE_PAGES 1
#define W_AHEAD 0
#include "bf16_tiles.h"

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual, result* Y,
                      int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, nullptr, {bias, nullptr, nullptr, residual}, Y, Shape(n, c, h, w, k, r, s));
}
