// What products of weights and panels of windows (windows.h, bf16_panels.h) declare alike, and make of it.
/*[tuner.shared]
[panel_shape.parameters]
MR = { values = [1, 2, 4, 6, 8, 10, 12, 13, 14], doc = "output channels of the register tile" }
NR = { values = [4, 8, 16, 24, 32, 48, 64], doc = "pixels of the register tile, whole vectors" }
PANELS = { values = [1, 2, 4, 8, 16], doc = "panels of pixels that are packed before they are multiplied" }
INNER = { values = ["m", "n"], doc = "innermost loop over tiles: m keeps a panel of pixels in L1, n one of weights" }
UNROLL = { values = [1, 2, 4], doc = "steps of the depth in the body of the innermost loop" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }

[panel_shape.let]
vectors = "NR * 4 // vector_bytes"

[panel_shape.constraints]
whole_vectors = "NR * 4 % vector_bytes == 0"
# 8 independent sums keep two pipes of latency 4 busy; few channels have to do with fewer.
latency = "MR * vectors >= 8 or MR * 2 > group_k"
channels_used = "MR < 2 * group_k"
unrolled_body = "UNROLL * MR * vectors <= 112"
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * MR < 2 * k)"
panels_in_order = "PANELS > 1 or INNER == 'm'"

[panel_shape.features]
tile_area = "MR * NR"
*/
#pragma once
#include "../common/simd.h"
#include "../common/text.h"

enum : int64_t { NV = NR / LANES };
enum { STEPS = UNROLL };  // a pragma expands no macro
static constexpr bool M_INSIDE = TEXT(INNER)[0] == 'm';
