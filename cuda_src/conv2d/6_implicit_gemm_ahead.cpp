/*[tuner]
name = "conv_implicit_gemm_ahead"
operator = "conv2d"
summary = "conv_implicit_gemm with constant weights, packed before any call: for workloads that are frozen."
dtypes = ["f32", "f16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
use = ["cores", "panel_shape", "windows"]

[parameters]
DOTS = { values = [false], doc = "dot products want weights in rows, and panels are columns" }
PACK_W = { values = [true], doc = "the weights lie in the order in which they are read" }

[workspace]
ahead = "4 * groups * ceildiv(group_k, MR) * MR * group_c * r * s"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 6. Rung 2 has to weigh a copy of the weights in each call (PACK_W) against reading them in place, a row of them
// for each channel of the register tile, which are as many streams. In inference the weights are the same in every call,
// and the copy is made once: one stream, and no thread waits for another one's part of it.
#define HUGE_PAGES 1
#define OPT_NHWC 0
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#define W_AHEAD 1
#include "windows.h"

extern "C" int pack_ahead(const element* W, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k,
                          int64_t r, int64_t s) {
    const Shape at(n, c, h, w, k, r, s);
    const Convolution work = {at, Strides(at), W, nullptr, nullptr, nullptr, nullptr, ahead, ahead, false};
    for (int64_t i = 0; i < OPT_GROUPS * work.tiles(); ++i) work.pack(i / work.tiles(), i % work.tiles());
    return 0;
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, result* Y, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r,
                      int64_t s) {
    (void)scale;
    return convolve(X, W, ahead, bias, residual, Y, Shape(n, c, h, w, k, r, s));
}
