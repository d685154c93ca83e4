/*[tuner]
name = "conv_bf16_ahead"
operator = "conv2d"
summary = "conv_bf16 with constant weights, packed before any call: for workloads that are frozen."
dtypes = ["bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
use = ["cores", "pixel_shape", "bf16_tiles"]

[let]
row_is_run = "dilation == 1 and groups == 1"
words = "r * ceildiv(s * group_c, 2) if row_is_run else r * s * ceildiv(group_c, 2)"

[workspace]
ahead = "4 * groups * ceildiv(group_k, CHANNELS) * CHANNELS * words"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 17. Rung 16 with the weights as it reads them before any call.
#define HUGE_PAGES 1
#define W_AHEAD 1
#include "bf16_tiles.h"

extern "C" int pack_ahead(const element* W, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k,
                          int64_t r, int64_t s) {
    const Shape at(n, c, h, w, k, r, s);
    const Bf16Convolution work = {at, {at}, W, {nullptr, nullptr}, nullptr, nullptr, nullptr, ahead, false};
    for (int64_t block = 0; block < work.all_blocks(); ++block) work.pack(block);
    return 0;
}

extern "C" int conv2d(const element* X, const element*, const addend* bias, const result* residual, result* Y,
                      float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, nullptr, ahead, {bias, nullptr, nullptr, residual}, Y, Shape(n, c, h, w, k, r, s));
}
