/*[tuner]
name = "conv_winograd"
operator = "conv2d"
summary = "Winograd F(2x2,3x3) or F(4x4,3x3): 2.25 or 4 times fewer products, on transformed tiles."
dtypes = ["f32", "f16", "bf16"]
entry = "conv2d"
special_values = false
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s"]
# Products of F(4x4,3x3), the most; F(2x2,3x3) does 2.25 times fewer.
fewer_operations = "4 if c >= 32 else 2.25"
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "nhwc", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
use = ["winograd", "channel_tiles", "cores", "winograd_blocks"]
*/
// Rung 3. An output tile of m x m pixels is A^T [sum over c of (G g G^T) * (B^T d B)] A: per channel (m+2)^2
// products instead of 9 m^2, and the sum over channels is (m+2)^2 independent matrix products of all tiles with
// all filters (Lavin and Gray, CVPR 2016). Filters are transformed in every call.
//
// A NaN or an infinity spreads: it is added to and subtracted from its neighbours in the transforms, so all outputs of
// its tile become NaN. That is inherent, hence `special_values = false`.
//
// Error. Let a = max over p of sum_i A_pi^2 |B_i|^2 |G_i|^2. If sums over c err as the operator's tolerance
// assumes, an output's error has a standard deviation of at most u s c a / sqrt(2), where a direct sum has
// u s 9c / sqrt(2). a is 5 for F(2,3): less than the direct sum. It is 23.5 for F(4,3) with the points used here,
// 2.6 times the direct sum's, and 94 with the usual points, 10 times, which would fail. So F(4x4) sums 32 channels
// at a time and adds these sums up (16 where there are fewer than 64), which makes its sums over c err no more
// than those of 9c terms. What its transforms round grows with sqrt(c) only, and fits the tolerance from 32
// channels on; with fewer F(2x2) is computed. Largest errors seen, as shares of the tolerance (200,000 outputs,
// 4 seeds): F(4x4) 0.67 with 32 channels, 0.56 with 64, 0.41 with 128; F(2x2) 0.23 with 16, 0.18 with 64.
//
// Halves (f16, bf16) are converted on their way in and out; all between is f32.
//
// TILE = 2: tiles of 4 x 4 pixels (IN of F2, winograd.h), 2 apart, make 2 x 2 outputs (OUT) each. The 16 elements of a
// transformed tile go to 16 matrices, one each:
//
//   columns of the image   0 1 2 3 4 5        matrix e, of 0 ... 15:  [tiles][c] times [c][filters]
//   tile 0                 x x x x            outputs 0 1
//   tile 1                     x x x x        outputs 2 3
#define HUGE_PAGES 1
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#define W_AHEAD 0
#include "winograd_blocks.h"

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, result* Y, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    (void)scale;
    return convolve(X, W, nullptr, bias, residual, Y, Shape(n, c, h, w, k, r, s));
}
