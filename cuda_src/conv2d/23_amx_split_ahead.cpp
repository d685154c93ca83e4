/*[tuner]
name = "conv_amx_split_ahead"
operator = "conv2d"
summary = "conv_amx_split with constant weights, split and packed before any call: for workloads that are frozen."
dtypes = ["f32"]
accuracy = "numbers below 2^-102 (2e-31) lose their low parts, below 2^-126 (1e-38) they count as zero"
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
requires = ["amx-tile", "amx-bf16", "avx512f"]
use = ["cores", "amx_split_slabs"]

[supports]
"sums over one channel fill no tile" = "group_c > 1"

[let]
panels = "groups * ceildiv(group_k, 16 * DOWN)"

[workspace]
# Six bytes an element, and of each panel whether it is special.
ahead = "panels * panel + ceildiv(panels, 16) * 64"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 23. Rung 22 with the weights' parts made once, ahead of the calls: they take one and a half times the bytes of the
// weights, more where what fills up the last chunk of 32 channels is much.
#define PACK_W ahead
#include "amx_split.h"

extern "C" int pack_ahead(const float* W, char* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r,
                          int64_t s) {
    const Layout lay(Shape(n, c, h, w, k, r, s));
    const Weights weights = {lay, W};
    int32_t* special = reinterpret_cast<int32_t*>(ahead + weights.panels() * weights.panel_bytes());
    for (int64_t panel = 0; panel < weights.panels(); ++panel) {
        special[panel] = weights.pack(ahead + panel * weights.panel_bytes(), panel);
    }
    return 0;
}

extern "C" int conv2d(const float* X, const float* W, const float* bias, const float* residual, float* Y, char* ahead,
                      int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, ahead, {bias, nullptr, nullptr, residual}, Y, Shape(n, c, h, w, k, r, s));
}
