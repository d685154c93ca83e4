/*[tuner]
name = "conv_implicit_gemm_bf16_ahead"
operator = "conv2d"
summary = "conv_implicit_gemm_bf16 with constant weights, packed before any call: for workloads that are frozen."
dtypes = ["bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
use = ["cores", "panel_shape", "bf16_panels"]

[workspace]
ahead = "4 * groups * ceildiv(group_k, MR) * MR * ceildiv(taps, 2)"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 19. Rung 18 with the weights in panels before any call.
#define HUGE_PAGES 1
#define OPT_NHWC 0
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#define W_AHEAD 1
#include "bf16_panels.h"

extern "C" int pack_ahead(const element* W, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k,
                          int64_t r, int64_t s) {
    const Shape at(n, c, h, w, k, r, s);
    const PanelConvolution work = {at, Strides(at), W, nullptr, nullptr, nullptr, nullptr, nullptr, ahead};
    for (int64_t i = 0; i < work.all_tiles(); ++i) work.pack(i);
    return 0;
}

extern "C" int conv2d(const element* X, const element*, const addend* bias, const result* residual, result* Y,
                      float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, nullptr, ahead, bias, residual, Y, Shape(n, c, h, w, k, r, s));
}
