// The softmax of rows that are seen a tile of keys at a time (Milakov and Gimelshein, Online normalizer calculation
// for softmax, 2018): the largest score so far is subtracted, and when a larger one turns up, all that was summed
// before is multiplied by a factor below 1.
//
// Scores are multiplied by log2(e) together with their scale, so that the exponential is a power of 2, which is one
// instruction. They are multiplied before the largest is subtracted, and not in one fused operation with it: of two
// logits of 1e37 that are equal, a fused operation leaves what rounding took off one of them, up to 1e30, for which
// the power is infinite.
/*[tuner.shared]
[scores.let]
# By which scores are multiplied: the scale, and log2(e).
factor = "(scale if scale > 0 else d ** -0.5) * 1.4426950408889634"

[small_key_tiles.parameters]
BK = { values = [16, 32, 64, 128], doc = "keys of a tile" }

[small_key_tiles.constraints]
keys_used = "BK < 2 * kv or BK == 16"

# Keys and values in tiles of BK in shared memory, a parameter.

[key_tiles.let]
key_tiles = "ceildiv(kv, BK)"
# Of half of the tiles that a mask cuts, nothing is computed.
keys_computed = "key_tiles * BK * (0.5 + 0.5 * max(0, kv - q) / kv if causal else 1)"

[key_tiles.constraints]
shared_of_sm_fits = "MIN_BLOCKS * (shared + shared_bytes_reserved) <= shared_bytes_sm"
grid_fits = "blocks <= max_grid_x"

[key_tiles.features]
steps = "key_tiles"
shared = "shared"

[key_tiles.macros]
HEAD = "d"
*/
#pragma once
#include "attention.cuh"

// Of all lanes of a group of LANES neighbours, which must divide a warp; the same in each.
template <int LANES>
__device__ __forceinline__ float largest_of(float x) {
#pragma unroll
  for (int far = LANES / 2; far > 0; far /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, far));
  return x;
}
template <int LANES>
__device__ __forceinline__ float sum_of(float x) {
#pragma unroll
  for (int far = LANES / 2; far > 0; far /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, far);
  return x;
}

// One row, as far as it has been seen. fmaxf drops a NaN, but the power of one is a NaN and stays in the total.
struct Row {
  float largest, total;

  // A larger score, perhaps: returns the factor for what was summed before.
  __device__ __forceinline__ float raise(float score) {
    const float before = largest;
    largest = fmaxf(largest, score);
    const float factor = exp2f(before - largest);
    total *= factor;
    return factor;
  }
  __device__ __forceinline__ float power(float score) const { return exp2f(score - largest); }
};
