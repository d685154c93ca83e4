/*[tuner]
name = "conv_amx_bf16_ahead"
operator = "conv2d"
summary = "conv_amx_bf16 with constant weights, packed before any call: for workloads that are frozen."
dtypes = ["bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
requires = ["amx-bf16", "avx512bw"]
use = ["cores", "amx_bf16_tiles"]

[supports]
"sums over one channel fill no tile" = "group_c > 1"

[let]
# Units of two channels, in runs filled up to sixteen; a row more is what sums begin with.
run = "ceildiv((s if WINDOWS else 1) * group_c, 32) * 16"
runs = "r if WINDOWS else r * s"

[workspace]
ahead = "4 * groups * ceildiv(group_k, CHANNELS) * CHANNELS * (runs * run + 1)"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 12. Rung 11 with the weights in whole tiles before any call; they are as large as they were, but for what fills
// up the last tile of a run.
#define HUGE_PAGES 1
#define W_AHEAD 1
#include "amx_bf16.h"

extern "C" int pack_ahead(const element* W, int32_t* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k,
                          int64_t r, int64_t s) {
    const Shape at(n, c, h, w, k, r, s);
    const TileConvolution work = {at, {at}, W, {nullptr, nullptr}, nullptr, nullptr, nullptr, ahead, false};
    for (int64_t block = 0; block < work.all_blocks(); ++block) work.pack(block);
    return 0;
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual, result* Y,
                      int32_t* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, ahead, {bias, nullptr, nullptr, residual}, Y, Shape(n, c, h, w, k, r, s));
}
