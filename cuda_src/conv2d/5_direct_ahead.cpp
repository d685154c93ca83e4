/*[tuner]
name = "conv_direct_ahead"
operator = "conv2d"
summary = "conv_direct with constant weights, packed before any call: for workloads that are frozen."
dtypes = ["f32", "f16", "int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
use = ["channel_tiles", "cores", "direct"]

[workspace]
ahead = "4 * groups * ceildiv(group_k, CHANNELS) * CHANNELS * group_c * r * s"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 5. What rung 1 packs in each call is packed once: in inference the weights are the same in every call. A call
// reads each weight once for all pixels of a block and never writes one, so small images, whose calls were mostly
// packing, gain most.
#define HUGE_PAGES 1
#define INT8_IN_F32 1
#define W_AHEAD 1
#include "direct.h"

extern "C" int pack_ahead(const element* W, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k,
                          int64_t r, int64_t s) {
    const Shape at(n, c, h, w, k, r, s);
    for (int64_t block = 0; block < OPT_GROUPS * ceil_div(at.outer, CHANNELS); ++block) pack_block(ahead, W, at, block);
    return 0;
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, result* Y, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w,
                      int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, ahead, {bias, scale, nullptr, residual}, Y, Shape(n, c, h, w, k, r, s));
}
