/*[tuner]
name = "conv_implicit_gemm"
operator = "conv2d"
summary = "A matrix product of the weights with the image's windows, a panel of which is packed at a time."
dtypes = ["f32", "f16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
use = ["cores", "panel_shape", "windows"]

[parameters]
DOTS = { values = [false, true], doc = "up to four pixels behind the last whole vector are dot products along the taps" }
PACK_W = { values = [false, true], doc = "copy the weights into the order in which they are read" }

[constraints]
# 49 pixels are three vectors of 16 and one dot product, not four vectors. Weights have to lie in rows.
dots_are_few = "not DOTS or (not PACK_W and 1 <= p * q % (vector_bytes // 4) <= 4)"
*/
// Rung 2. Y[k][pixels] = W[k][taps] times the matrix whose columns are the image's windows. That matrix never
// exists as a whole: a panel of NR columns is gathered into a buffer just before the weights are multiplied
// with it (Chetlur et al., cuDNN: efficient primitives for deep learning, arXiv:1410.0759, 2014). Vectors lie along
// pixels, as Y does in NCHW, so nothing is transposed and weights are read where they are, one element at a
// time. For 1x1 kernels of stride 1 the matrix is the image itself, and whole panels are read in place. Threads
// that share their panels gather them together. DOTS is for images of a few vectors and a bit: see dots.h.
// f16 is converted as it is copied (the image) and packed (weights), and computed in f32.
//
// A panel (panel.h) of NR = 4 pixels of a row of the output, for a kernel of r x s = 1 x 2 and no padding; a line of it
// is one tap, and meets one weight of MR output channels:
//
//   image   a b c d e      tap 0   a b c d      pixel 0 is  w0 a + w1 b,  pixel 3  w0 d + w1 e
//                          tap 1   b c d e
#define HUGE_PAGES 1
#define OPT_NHWC 0
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#define W_AHEAD 0
#include "windows.h"

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, result* Y, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    (void)scale;
    return convolve(X, W, nullptr, bias, residual, Y, Shape(n, c, h, w, k, r, s));
}
