/*[tuner]
name = "conv_int8"
operator = "conv2d"
summary = "int8 by the dot products of VNNI, or of pairs: a tile of pixels x vectors of channels, any layout."
dtypes = ["int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Z", "ratios", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points", "quantized_residual"]
use = ["cores", "pixel_shape", "int8_tiles"]
*/
// Rung 8. Rung 1 computes int8 as f32 and so at its rate. Here a vector register multiplies four times as many bytes
// as floats and adds up quadruples of them (VNNI), or pairs of 16 bits, twice as many. What is added up has to lie
// together: planes are copied with their padding as units of four (two) channels of a pixel (units.h), the weights
// likewise (unit_weights.h), and otherwise the tile is that of rung 1. In NHWC any four bytes in a row are a quadruple:
// an image without padding is read where it lies, and otherwise its rows are copied as they are.
//
// The sum is scaled, rounded and stored as int8 where it is. Of NHWC the registers of sums are rows of Y; of NCHW four
// pixels of a channel are put together to a word, or int32 transposed in blocks of four by four.
//
// One pixel of six channels, and the unit of a depthwise convolution with three taps in a row, QUADS:
//
//   channels   a b c d e f       units   [a b c d] [e f 0 0]
//   pixels     p q r s t u       units   [p q r s] [q r s t] [r s t u] ...   weights   [x y z 0]
#define HUGE_PAGES 1
#define AMX 0
#define W_AHEAD 0
#include "int8_tiles.h"

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, const int32_t* Z, const float* ratios, result* Y, int64_t n, int64_t c,
                      int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, nullptr, {bias, scale, Z, residual, ratios}, Y, Shape(n, c, h, w, k, r, s));
}
