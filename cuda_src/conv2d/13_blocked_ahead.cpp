/*[tuner]
name = "conv_blocked_ahead"
operator = "conv2d"
summary = "A matrix product of constant weights and copied panels of windows, in slices of the depth, fetched ahead."
dtypes = ["f32"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
use = ["cores", "blocked"]

[workspace]
ahead = "4 * (ceildiv(k, MR) * MR * c * r * s + 16)"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 13. Within a model a layer's weights come from beyond L2, and its images are rarely aligned. Rung 6 waits for both:
// prefetchers stop at each page of 4 KiB, and a vector that lies in two cache lines takes two loads. Here
//
// - weights are fetched some lines before they are read,
// - a panel of pixels is copied to where it is aligned, a slice of the depth at a time, so that it stays in L1 for all
//   filters (Goto and van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34(3), 2008),
// - the lines of Y are fetched to be written, and what is added to it, while the sums are made,
// - a pixel that is left over belongs to a panel, with a vector along the filters: 49 pixels are three vectors of 16
//   along pixels and an eighth more, not four.
#define HUGE_PAGES 1
#define OPT_NHWC 0
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#define OPT_GROUPS 1
#include "blocked.h"

extern "C" int pack_ahead(const float* W, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k,
                          int64_t r, int64_t s) {
    const Shape at(n, c, h, w, k, r, s);
    const Convolution work = {at, Strides(at), nullptr, nullptr, nullptr, nullptr, ahead};
    work.pack(W);
    return 0;
}

extern "C" int conv2d(const float* X, const float*, const float* bias, const float* residual, float* Y, float* ahead,
                      int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    static thread_local Arena arena;
    const Shape at(n, c, h, w, k, r, s);
    const int64_t padded = ceil_div(at.padded() + READ_BEHIND, 16) * 16;
    Convolution work = {at, Strides(at), bias, residual, X, Y, ahead};
    const int64_t size = (M_INSIDE ? 1 : n * work.panels()) * work.size(work.slice());
    float* memory = arena.reserve(padded + size * threads);
    if (!memory) return 1;
    if (!IN_PLACE) work.X = memory;
    BY_TEAM {
        if (!IN_PLACE) {
            pad_image(memory, X, at, TEAM_SIZE, TEAM_INDEX);
            wait_for_team();
        }
        work.run(memory + padded + size * TEAM_INDEX, TEAM_SIZE, TEAM_INDEX);
    }
    return 0;
}
