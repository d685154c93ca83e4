/*[tuner]
name = "conv_naive"
operator = "conv2d"
summary = "Seven loops in the order of the formula, one thread: what everything is compared with."
dtypes = ["f32", "f16", "int8", "bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Z", "ratios", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points", "residual", "quantized_residual", "relu6", "silu", "hardswish"]
*/
// Rung 0. The definition as a programmer writes it, compiled with -O3: every tap asks whether it lies in the
// image, and the sum is one chain of dependent additions, which the compiler may not reorder into vectors.
#include "types.h"

extern "C" void conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                       const float* scale, const int32_t* Z, const float* ratios, result* Y, int64_t n, int64_t c,
                       int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    const Epilogue epilogue = {bias, scale, Z, residual, ratios};
    const accumulator padding = OPT_ZERO_POINTS ? accumulator(Z[0]) : 0;
    const int64_t inner = c / OPT_GROUPS, outer = k / OPT_GROUPS;
    const int64_t rows = (h + TOP + BOTTOM - OPT_DILATION * (r - 1) - 1) / OPT_STRIDE + 1;
    const int64_t columns = (w + LEFT + RIGHT - OPT_DILATION * (s - 1) - 1) / OPT_STRIDE + 1;
    for (int64_t image = 0; image < n; ++image) {
        for (int64_t out = 0; out < k; ++out) {
            const int64_t first = out / outer * inner;  // channel of X where this group begins
            for (int64_t p = 0; p < rows; ++p) {
                for (int64_t q = 0; q < columns; ++q) {
                    accumulator sum = 0;
                    for (int64_t in = 0; in < inner; ++in) {
                        for (int64_t i = 0; i < r; ++i) {
                            const int64_t y = p * OPT_STRIDE + i * OPT_DILATION - TOP;
                            const bool beside = y < 0 || y >= h;
                            if (beside && !OPT_ZERO_POINTS) continue;
                            for (int64_t j = 0; j < s; ++j) {
                                const int64_t x = q * OPT_STRIDE + j * OPT_DILATION - LEFT;
                                const int64_t channel = first + in;
                                const element b = W[OPT_NHWC ? ((out * r + i) * s + j) * inner + in
                                                         : ((out * inner + in) * r + i) * s + j];
                                if (OPT_ZERO_POINTS && (beside || x < 0 || x >= w)) {
                                    sum += padding * accumulator(b);
                                    continue;
                                }
                                if (x < 0 || x >= w) continue;
                                const element a = X[OPT_NHWC ? ((image * h + y) * w + x) * c + channel
                                                         : ((image * c + channel) * h + y) * w + x];
                                sum += accumulator(a) * accumulator(b);
                            }
                        }
                    }
                    const int64_t place = OPT_NHWC ? ((image * rows + p) * columns + q) * k + out
                                                   : ((image * k + out) * rows + p) * columns + q;
                    Y[place] = epilogue(sum, out, place);
                }
            }
        }
    }
}
