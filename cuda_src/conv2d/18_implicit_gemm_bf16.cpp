/*[tuner]
name = "conv_implicit_gemm_bf16"
operator = "conv2d"
summary = "conv_implicit_gemm for bf16 in words of two taps, by their dot product where there is one (AVX512_BF16): panels along pixels."
dtypes = ["bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
use = ["cores", "panel_shape", "bf16_panels"]
*/
// Rung 18. In NCHW rung 16 turns the image on its way in and the result on its way out, which for few channels takes as
// long as the product. Here, as in rung 2, vectors lie along pixels and nothing is turned; a panel is gathered in words of
// two neighbouring taps, as one instruction multiplies them. Sums are f32; denormals count as zero. An even number
// of weights of a filter are words as they lie.
#define HUGE_PAGES 1
#define OPT_NHWC 0
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#define W_AHEAD 0
#include "bf16_panels.h"

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual, result* Y,
                      int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, nullptr, bias, residual, Y, Shape(n, c, h, w, k, r, s));
}
