// What register tiles of pixels x vectors of output channels (int8_tiles.h, bf16_tiles.h) declare alike, and make of it.
/*[tuner.shared]
[pixel_shape.parameters]
PIXELS = { values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14], doc = "pixels of the register tile, of one row of the image" }
CHANNELS = { values = [4, 8, 16, 24, 32, 48, 64], doc = "output channels of the register tile, whole vectors" }
BLOCK = { values = [0, 4, 8, 16, 32, 64], doc = "tiles that all output channels are computed for before the next; 0: all tiles" }
UNROLL = { values = [1, 2, 4], doc = "steps of the depth in the body of the innermost loop" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }

[pixel_shape.let]
vectors = "CHANNELS * 4 // vector_bytes"
one_row = "r * s == 1 and top + left + bottom + right == 0 and stride == 1"

[pixel_shape.constraints]
whole_vectors = "CHANNELS * 4 % vector_bytes == 0"
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * CHANNELS < 2 * k)"
# 8 independent sums keep two pipes of latency 4 busy; narrow images have to do with fewer.
latency = "PIXELS * vectors >= 8 or PIXELS * 2 > q"
pixels_used = "PIXELS == 1 or PIXELS <= q * (h if one_row else 1)"
unrolled_body = "UNROLL * PIXELS * vectors <= 112"

[pixel_shape.features]
tile_area = "PIXELS * CHANNELS"
*/
#pragma once
#include "../common/simd.h"

enum : int64_t { N = CHANNELS, NV = N / LANES };
#if !AMX
enum { STEPS = UNROLL };  // a pragma expands no macro
#endif
