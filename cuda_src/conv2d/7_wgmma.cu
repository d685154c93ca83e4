/*[tuner]
name = "cuda_conv_wgmma"
operator = "conv2d"
summary = "The implicit product by wgmma (sm_90a): a patch of pixels in shared memory serves all taps, as rows that shift."
dtypes = ["f16", "bf16", "int8"]
shape_generic = false
claims = ["tensor_cores", "tensor_cores:int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "turned", "state"]
requires = ["wgmma"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "nhwc", "bias", "relu", "residual", "relu6", "silu", "hardswish", "scale_tensor", "scale_channel"]
use = ["occupancy", "large_shared"]

[supports]
"its pixels are counted in 32 bits" = "n * padded_high * padded_wide < 2**30"
"it divides rows and columns by 32-bit multiplication" = "max(padded_high, padded_wide) < 2**15"

[parameters]
SHIFT = { values = [0, 1], doc = "one patch of pixels for all taps (stride 1), or a patch a tap" }
WP = { values = [64, 80, 96, 112, 128, 160, 192, 208, 224, 256], doc = "pixels a warpgroup, and of a product" }
GP = { values = [1, 2], doc = "warpgroups side by side along the pixels" }
WF = { values = [64, 128], doc = "filters a warpgroup: products of 64" }
GF = { values = [1, 2], doc = "warpgroups side by side along the filters" }
STAGES = { values = [3, 4, 5, 6, 8], doc = "tiles of filters in shared memory: two in use, the others on their way" }
GROUP_M = { values = [1, 4], doc = "tiles of pixels visited together" }
MIN_BLOCKS = { values = [1, 2, 3, 4], doc = "blocks an SM shall hold: caps the registers a thread" }

[let]
threads = "128 * GP * GF"
tile_pixels = "WP * GP"
tile_filters = "WF * GF"
padded_high = "h + top + bottom"
padded_wide = "w + left + right"
half = "element_bytes == 2"
# The padded grid whose pixels are counted; without SHIFT that of the output.
high = "max(h + max(top, bottom), p) if SHIFT else p"
wide = "max(w + max(left, right), q) if SHIFT else q"
pixels = "n * high * wide"
tiles = "ceildiv(pixels, tile_pixels) * ceildiv(group_k, tile_filters)"
blocks = "tiles * groups"
rows = "tile_pixels + (((r - 1) * wide + s - 1) * dilation if SHIFT else 0)"
# NCHW as it is, where there is one tap and no border.
planes = "not nhwc and r * s == 1 and stride == 1 and top + left + bottom + right == 0 and h * w % 8 == 0 and half"
patch_bytes = "GP * ceildiv(WP, 64) * 8192 if planes else (rows + 1 - rows % 2) * 128"
taps_a_patch = "r * s if SHIFT else 1"
patches = "(STAGES - 2 + taps_a_patch) // taps_a_patch + 1"
tiles_bytes = "STAGES * tile_filters * 128 + patches * patch_bytes"
staged_bytes = "2 if half and not residual else 4"
lines_bytes = "staged_bytes * (tile_pixels * (tile_filters + 8) if nhwc else tile_filters * (tile_pixels + 8))"
# Tiles, and afterwards the sums.
shared = "max(tiles_bytes, lines_bytes)"
sums = "WP * WF // 128"
# Pixels that are turned on their way are held besides: capped at 128, 56 to 64 sums spilled 4 to 80 bytes (3 x 3).
registers_needed = "sums + (80 if SHIFT and not nhwc and not planes else 64)"
pieces = "ceildiv(group_c * element_bytes, 16)"
steps = "ceildiv(pieces, 8) * r * s"

[constraints]
shifted_rows_are_neighbours = "SHIFT == 0 or stride == 1"
shared_holds_the_tap_too = "SHIFT == 1 or stride > 1 or r * s > 1"
filters_used = "tile_filters < 2 * group_k or tile_filters == 64"
pixels_used = "tile_pixels < 2 * pixels or tile_pixels == 64"
# Else MIN_BLOCKS would cap registers for blocks that shared memory keeps out.
blocks_fit_an_sm = "MIN_BLOCKS * (shared + 1024) <= shared_bytes_sm"
grid_fits = "groups <= max_grid_y and tiles <= max_grid_x"

[features]
macs = "blocks * tile_pixels * tile_filters * pieces * 16 // element_bytes * r * s"
traffic_bytes = "blocks * (tile_filters * steps * 128 + steps // taps_a_patch * patch_bytes)"
steps = "steps"
stages = "STAGES - 1"
shared = "tiles_bytes"
registers = "sums"
intensity = "tile_pixels * tile_filters / (tile_pixels + tile_filters)"
warp_intensity = "WP * WF / (WP + WF)"

[workspace]
turned = "16 if nhwc or r * s == 1 else k * r * s * pieces * 16"
state = "8"

[macros]
SIZE_N = "n"
SIZE_C = "c"
SIZE_H = "h"
SIZE_W = "w"
SIZE_K = "k"
SIZE_R = "r"
SIZE_S = "s"
SIZE_P = "p"
SIZE_Q = "q"
GRID_HIGH = "high"
GRID_WIDE = "wide"
PLANES = "planes"
# Blocks that turn filters: all run at once.
WORKERS = "min(72, sm_count)"

[launch]
grid = ["tiles", "groups", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 7: rung 3 brings each pixel once a tap, nine times for 3 x 3, by mma.sync, which reaches less than two thirds of the
// tensor cores' rate on Hopper. Here a patch of pixels is brought once for all taps, and products of 64 filters by up to
// 256 pixels read it from shared memory, each tap from another row on (patches.cuh, flat.cuh); only filters stream.
//
//   step     filters, STAGES tiles             pixels, PATCHES patches of BC channels
//   t        tap t of channels 0 ... 63        patch 0, from row (t / 3) * wide + t % 3 on
//   t + 9    tap t of channels 64 ... 127      patch 1, likewise
#include "../common/visits.cuh"
#include "../common/wgmma_widths.cuh"
#include "filter_tiles.cuh"
#include "sums_out.cuh"

constexpr int AHEAD = STAGES - 2, DEPTHS = (SIZE_C / OPT_GROUPS + BC - 1) / BC, STEPS = DEPTHS * TAPS;
constexpr int PATCHES = (AHEAD + TAPS_A_PATCH) / TAPS_A_PATCH + 1;

// Of a step: its tap, and the first of its channels.
__device__ __forceinline__ int tap_of(int step) { return step % TAPS; }
__device__ __forceinline__ int channel_of(int step) { return step / TAPS * BC; }

// What a block brings to shared memory: for each step a tile of filters, to slot step % STAGES; with the first step of a
// patch its pixels.
template <bool ALIGNED>
struct Loads {
  const Tile& tile;
  unsigned char* const memory;
  const In *const X, *const W, *const turned;

  __device__ __forceinline__ unsigned char* patches() const { return memory + STAGES * FILTER_BYTES; }

  __device__ __forceinline__ void clear() const {
    uint4* const all = reinterpret_cast<uint4*>(patches());
    for (int i = threadIdx.x; i < PATCHES * PATCH_BYTES / 16; i += THREADS) all[i] = make_uint4(0, 0, 0, 0);
    __syncthreads();
  }
  __device__ __forceinline__ void start_patch(int step) const {
    if (step >= STEPS || step % TAPS_A_PATCH != 0) return;
    unsigned char* const to = patches() + step / TAPS_A_PATCH % PATCHES * PATCH_BYTES;
    if constexpr (PLANES)
      tile.template copy_planes<ALIGNED>(to, X, channel_of(step));
    else if constexpr (IN_RUNS && ALIGNED)
      tile.turn(to, X, channel_of(step));
    else
      tile.template fetch<ALIGNED>(to, X, channel_of(step), tap_of(step));
  }
  __device__ __forceinline__ void start_filters(int step, int slot) const {
    if (step < STEPS)
      fetch_filters<ALIGNED>(memory + slot * FILTER_BYTES, tile, W, turned, channel_of(step), tap_of(step));
    __pipeline_commit();
  }
};

// Issues the products of one step: `filters` and `pixels` are where the warpgroup's operands begin.
__device__ __forceinline__ void multiply(Sums& sum, unsigned filters, unsigned pixels) {
  const unsigned long long a = describe(filters, 0), b = PLANES ? describe(pixels, PANEL) : describe_rows(pixels);
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step)
#pragma unroll
    for (int i = 0; i < HIGH; ++i)
      Wgmma<In, WP>::template add<false, PLANES>(sum[i], a + (64 * 128 * i + 32 * step >> 4),
                                                 b + (PLANES ? step * 16 * 128 >> 4 : step * 2 * PITCH));
  wgmma_commit();
}

template <bool ALIGNED>
__device__ __forceinline__ void convolve(unsigned char* memory, const Tile& tile, const In* X, const In* W,
                                         const Finish& finish, Out* Y, In* turned, int* state) {
  if (TURNED) turn_filters(tile.of, W, turned, state);
  const Loads<ALIGNED> loads{tile, memory, X, W, turned};
  if (IN_RUNS && ALIGNED) loads.clear();
  loads.start_patch(0);
  if (TURNED) wait_for_turned(tile.of, W, turned, state);
#pragma unroll 1
  for (int i = 0; i < AHEAD; ++i) {
    if (i > 0) loads.start_patch(i);
    loads.start_filters(i, i);
  }
  // The same for all lanes, and known to be: descriptors are then worked out once a warp.
  const int group = __shfl_sync(~0u, threadIdx.x / 128, 0), row0 = group / GP * WF, column = group % GP;
  const unsigned filters = unsigned(__cvta_generic_to_shared(memory)) + row0 * 128;
  const unsigned pixels = unsigned(__cvta_generic_to_shared(loads.patches())) + column * (PLANES ? PANELS * PANEL : WP * 16);
  Sums sum = {};
  int slot = 0, free_slot = AHEAD;
#pragma unroll 1
  for (int step = 0; step < STEPS; ++step) {
    __pipeline_wait_prior(AHEAD - 1);
    fence_async_proxy();
    // This step's operands are there for all; all are done with the step before the last.
    __syncthreads();
    const int tap = tap_of(step), shift = SHIFT ? (tap / SIZE_S * GRID_WIDE + tap % SIZE_S) * OPT_DILATION : 0;
    multiply(sum, filters + slot * FILTER_BYTES, pixels + step / TAPS_A_PATCH % PATCHES * PATCH_BYTES + shift * 16);
    loads.start_patch(step + AHEAD);
    loads.start_filters(step + AHEAD, free_slot);
    wgmma_wait<1>();
    slot = slot + 1 == STAGES ? 0 : slot + 1;
    free_slot = free_slot + 1 == STAGES ? 0 : free_slot + 1;
  }
  wgmma_wait<0>();
#pragma unroll
  for (int i = 0; i < HIGH; ++i) arrived(sum[i]);
  // The sums go through the tiles' memory, which others may still read.
  __syncthreads();
  write_sums(sum, memory, tile, finish, Y, row0, column * WP);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    conv2d(const In* __restrict__ X, const In* __restrict__ W, const Wide* __restrict__ bias,
           const Out* __restrict__ residual, const float* __restrict__ scale, Out* __restrict__ Y, In* turned,
           int* state) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const Sizes of{SIZE_N, SIZE_C, SIZE_H, SIZE_W, SIZE_K, SIZE_R, SIZE_S, SIZE_P, SIZE_Q};
  const Finish finish{bias, scale, residual};
  int tile_p, tile_f;
  grouped_tile<GROUP_M>(blockIdx.x, (of.n * GRID_HIGH * GRID_WIDE + BP - 1) / BP, (of.group_k() + BF - 1) / BF, tile_p,
                        tile_f);
  const Tile tile(of, tile_p, tile_f, blockIdx.y);
  const size_t starts = reinterpret_cast<size_t>(X) | (TURNED ? 0 : reinterpret_cast<size_t>(W));
  if (starts % 16 == 0 && (TURNED || of.group_c() % PIECE == 0))
    convolve<true>(memory, tile, X, W, finish, Y, turned, state);
  else
    convolve<false>(memory, tile, X, W, finish, Y, turned, state);
}
