/*[tuner]
name = "cuda_mma_f32"
operator = "gemm"
summary = "f32 on tensor cores: rung 10 with every product as three of tf32 (3xTF32), summed in f32."
dtypes = ["f32"]
claims = ["wide_loads", "tensor_cores"]
entry = "gemm"
arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
requires = ["cp_async"]
options = ["operator", "silu", "gelu", "tanh"]
# An infinity has no small part: it makes a NaN of sums that it should make infinite.
special_values = false
use = ["warp_tiles", "swizzled_stages", "pieces", "block_tiles", "occupancy", "large_shared"]

[parameters]
BK = { values = [16, 32, 64], doc = "depth of the tiles in shared memory" }

[let]
# Sums and those of a step; two steps' blocks and the parts of one; about 40 for addresses and loops.
registers_needed = "2 * sums + (WM + WN) * 3 // 4 + 40"

[launch]
grid = ["tiles", "1", "batch"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 10: the same for f32. Tensor cores have no f32, but tf32, with 11 bits of significand. A number is split into a large and
// a small part of tf32, and a product is three: small * large + large * small + large * large (blocks.cuh). That is as
// accurate as f32, at a third of the rate of tf32, on an A100 2.7 times that of the f32 pipe.
//
//   x = 1.000 0000 0001 0000 0000 1011    24 bits of significand
//       1.000 0000 000                    large: the nearest number of 11
//                     1 0000 0000 101     small: 11 of what is left
#include "block_product.cuh"
