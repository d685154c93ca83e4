/*[tuner]
name = "conv_winograd_ahead"
operator = "conv2d"
summary = "conv_winograd with constant filters, transformed before any call: for workloads that are frozen."
dtypes = ["f32", "f16", "bf16"]
entry = "conv2d"
special_values = false
arguments = ["X", "W", "bias", "residual", "scale", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
# As in conv_winograd.
fewer_operations = "4 if c >= 32 else 2.25"
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "nhwc", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
use = ["winograd", "channel_tiles", "cores", "winograd_blocks"]

[workspace]
ahead = "4 * (36 if TILE == 4 and c >= 32 else 16) * c * ceildiv(k, CHANNELS) * CHANNELS"

[prepare]
entry = "transform_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 7. Rung 3 transforms all filters in each call; in inference they are the same in every call, and are transformed
// once. They take 4 (F(4x4)) or 1.8 times the memory of the weights, which a call reads in their place: where the
// transform was cheaper than that, in large images of few channels, little is gained. The error is rung 3's.
#define HUGE_PAGES 1
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#define W_AHEAD 1
#include "winograd_blocks.h"

template <class F>
static int lay_out(const Shape& at, const element* W, float* ahead) {
    const Winograd<F> work = {at, nullptr, W, nullptr, {nullptr, nullptr}, nullptr, ahead};
    float* packed = nullptr;
    if (posix_memalign(reinterpret_cast<void**>(&packed), 64, size_t(work.packed_size()) * sizeof(float))) return 1;
    for (int64_t block = 0; block < work.blocks(); ++block) {
        work.transform_filters(block, packed, ahead + block * work.block_size());
    }
    free(packed);
    return 0;
}

extern "C" int transform_ahead(const element* W, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k,
                               int64_t r, int64_t s) {
    const Shape at(n, c, h, w, k, r, s);
    if (TILE == 4 && c >= 32) return lay_out<F4>(at, W, ahead);
    return lay_out<F2>(at, W, ahead);
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, result* Y, float* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r,
                      int64_t s) {
    (void)scale;
    return convolve(X, W, ahead, bias, residual, Y, Shape(n, c, h, w, k, r, s));
}
