/*[tuner]
name = "conv_int8_ahead"
operator = "conv2d"
summary = "conv_int8 with constant weights, packed before any call: for workloads that are frozen."
dtypes = ["int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Z", "ratios", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points", "quantized_residual"]
use = ["cores", "pixel_shape", "int8_tiles"]

[workspace]
# Units hold two or four; a row more is what sums begin with.
ahead = """
  4 * (k // together) * ceildiv(together, CHANNELS) * CHANNELS * (r * (ceildiv(s, 2) if together > group_k else \
  s * ceildiv(group_c, 2)) + 1)"""

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 9. What rung 8 packs in each call is packed once, the sums of the weights that VNNI's shifted operand asks for
// with it. bias, scale and zero points may still be others in each call.
#define HUGE_PAGES 1
#define AMX 0
#include "int8_ahead.h"
