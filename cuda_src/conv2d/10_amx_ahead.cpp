/*[tuner]
name = "conv_amx_ahead"
operator = "conv2d"
summary = "int8 by AMX, constant weights packed before any call: for workloads that are frozen."
dtypes = ["int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Z", "ratios", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points", "quantized_residual"]
requires = ["amx-int8", "avx512vnni", "avx512bw"]
use = ["cores"]

[supports]
"a depthwise convolution adds up no channels" = "group_c > 1 or group_k > 1"

[parameters]
CHANNELS = { values = [16, 32], doc = "output channels of a block: one or two registers" }
TILES = { values = [1, 2], doc = "pieces of up to 16 pixels that are computed together" }
BLOCK = { values = [0, 4, 8, 16, 32, 64], doc = "tiles that all output channels are computed for before the next; 0: all tiles" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }

[let]
joined = "dilation == 1 and groups == 1"
# Units of four channels, in runs filled up to sixteen; a row more is what sums begin with.
run = "ceildiv((s if joined else 1) * ceildiv(group_c, 4), 16) * 16"

[constraints]
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * CHANNELS < 2 * k)"
channels_used = "CHANNELS < 2 * group_k or CHANNELS == 16"
tiles_used = "TILES == 1 or n * p * q > 16"

[workspace]
ahead = "4 * groups * ceildiv(group_k, CHANNELS) * CHANNELS * ((r if joined else r * s) * run + 1)"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 10. AMX multiplies 16 pixels by 16 output channels over 64 bytes of depth in one instruction, 16,384 products
// in 16 cycles. What it reads is what rung 9 lays out: pixels are rows of its first operand at any distance, so nothing
// is gathered for a window, only the rows of a kernel are filled up to whole chunks of 64 bytes (units.h).
#define HUGE_PAGES 1
#define AMX 1
#include "int8_ahead.h"
