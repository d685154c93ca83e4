/*[tuner]
name = "conv_amx_bf16"
operator = "conv2d"
summary = "bf16 by AMX: 16 pixels x 16 output channels an instruction, products added in f32."
dtypes = ["bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
requires = ["amx-bf16", "avx512bw"]
use = ["cores", "amx_bf16_tiles"]

[supports]
"sums over one channel fill no tile" = "group_c > 1"
*/
// Rung 11. The other rungs convert bf16 to f32; a tile instruction multiplies 8192 pairs of bf16 as they are. Denormals
// count as zero.
#define HUGE_PAGES 1
#define W_AHEAD 0
#include "amx_bf16.h"

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual, result* Y,
                      int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, nullptr, {bias, nullptr, nullptr, residual}, Y, Shape(n, c, h, w, k, r, s));
}
