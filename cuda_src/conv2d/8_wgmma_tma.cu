/*[tuner]
name = "cuda_conv_wgmma_tma"
operator = "conv2d"
summary = "NHWC by wgmma (sm_90a): the copy engine (TMA) fetches pixels under taps, blocks stay on their SM."
dtypes = ["f16", "bf16", "int8"]
claims = ["tensor_cores", "tensor_cores:int8"]
entry = "conv2d"
arguments = ["map_pixels", "map_rows", "map_filters", "bias", "residual", "scale", "Y", "rows", "p", "q", "s", "k", "group_c", "group_k", "groups", "steps", "partial", "arrived"]
requires = ["wgmma"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "nhwc", "bias", "relu", "residual", "relu6", "silu", "hardswish", "scale_tensor", "scale_channel"]
use = ["persistent_products", "large_shared"]

[supports]
"the copy engine finds pixels whose channels lie together (nhwc)" = "nhwc"
"the copy engine wants channels of a group that are a multiple of 16 bytes" = "group_c * element_bytes % 16 == 0"
"several groups are whole 128 bytes of channels each" = "groups == 1 or group_c % panel == 0"
"the copy engine takes strides up to 8" = "stride <= 8"
"the copy engine counts borders up to 127 pixels and windows up to 128" = "max(top, left, bottom, right, down - 1, across - 1) <= 127"
"its pixels are counted in 32 bits" = "max(rows, n * h * w) < 2**30"

[maps.map_pixels]
tensor = "X"
dims = ["c", "w", "h", "n"]
box = ["panel", "a_share"]
lower = ["-left", "-top"]
upper = ["right - across", "bottom - down"]
steps = ["stride", "stride"]
swizzle = "128"

[maps.map_rows]
tensor = "X"
dims = ["c", "n * h * w", "1"]
box = ["panel", "a_share", "1"]
swizzle = "128"

[maps.map_filters]
tensor = "W"
dims = ["group_c", "r * s", "k"]
box = ["panel", "1", "b_share"]
swizzle = "128"

[parameters]
WINDOWS = { values = [0, 1], doc = "1: copies go from window to window; 0: from row to row of a matrix (one tap, no border)" }

[let]
rows = "n * p * q"
columns = "group_k"
matrices = "groups"
# From a window's first tap to its last.
down = "(r - 1) * dilation"
across = "(s - 1) * dilation"
steps = "r * s * ceildiv(group_c, panel)"
depth = "steps * panel"
depth_bytes = "128"

[constraints]
one_tap_has_rows = "WINDOWS == 1 or r * s * stride == 1 and top + left + bottom + right == 0"
rows_used = "BM < 2 * rows or BM == 64"
columns_used = "BN < 2 * columns or BN == 64"
# Else results that wait for what is read would spill.
sums_leave_registers = "sums <= 128 or not (bias or residual or scale_channel)"

[macros]
BK = "panel"

[launch]
grid = ["blocks", "1", "1"]
block = ["threads", "1", "1"]
shared_bytes = "shared"
*/

// Rung 8: rung 7's warps ask for pixels and filters themselves, 16 bytes at a time, all meet at a barrier for every
// step, and no block fetches while it writes. Here blocks stay on their SM and one thread fetches (persistent.cuh).
// NHWC's channels are the depth of a product whose rows are pixels and whose columns are filters:
//
//   Y [pixels][filters] += X [pixels under tap t][64 channels] W [filters][tap t][64 channels]     in f16
//
// The copy engine finds the pixels under a tap itself (bulk.cuh), whatever borders and strides, so tiles are any 64 to
// 256 neighbours of the output, across rows and images: none is lost to small images. A pixel is brought once a tap,
// from L2: more than rung 7 brings, whose patch serves all taps.
#include "conv2d.cuh"

#include "../common/persistent.cuh"

typedef Panels<In, true, BM, BK, 128> TileA;  // pixels
typedef Panels<In, true, BN, BK, 128> TileB;  // filters
constexpr int SHARE_A = BM / CLUSTER_N, SHARE_B = BN / CLUSTER_M;  // rows that one block of a cluster fetches for all
static_assert(SHARE_A % 8 == 0 && SHARE_B % 8 == 0, "shares keep the swizzle");

struct Problem {
  const TensorMap *pixels, *rows, *filters;
  int p, q, s, group_c, group_k;
};

// Where the pixels and filters of the next step lie: it goes through the channels of one tap after the other.
struct Fetch {
  const Problem& of;
  const Visits& visits;
  int channel, across, down, tap;  // of the step; across and down in pixels
  int image, y, x;                 // the first window of the share that this block fetches, or its row in x
  int filter, first_channel;

  __device__ __forceinline__ Fetch(const Problem& of, const Visits& visits) : of(of), visits(visits) {}

  __device__ __forceinline__ void prefetch() const {
    prefetch_map(WINDOWS ? of.pixels : of.rows);
    prefetch_map(of.filters);
  }

  __device__ __forceinline__ void begin(const Visit& visit, int step) {
    const int chunks = (of.group_c + BK - 1) / BK, pixels = of.p * of.q;
    tap = step / chunks, channel = (step - tap * chunks) * BK;
    down = tap / of.s, across = (tap - down * of.s) * OPT_DILATION, down *= OPT_DILATION;
    x = visit.row + visits.rank_n * SHARE_A;
    if (WINDOWS) {
      image = x / pixels;
      const int within = x - image * pixels, line = within / of.q;
      y = line * OPT_STRIDE - TOP, x = (within - line * of.q) * OPT_STRIDE - LEFT;
    }
    filter = visit.matrix * of.group_k + visit.col + visits.rank_m * SHARE_B;
    first_channel = OPT_GROUPS > 1 ? visit.matrix * of.group_c : 0;
  }

  __device__ __forceinline__ void operator()(unsigned to, unsigned full) {
    const unsigned to_a = to + visits.rank_n * (SHARE_A * 128), to_b = to + A_BYTES + visits.rank_m * (SHARE_B * 128);
    const int c = first_channel + channel;
    if (WINDOWS && CLUSTER_N > 1)
      fetch_pixels_for(to_a, of.pixels, c, x, y, image, across, down, full, visits.sharing_a());
    else if (WINDOWS)
      fetch_pixels(to_a, of.pixels, c, x, y, image, across, down, full);
    else if (CLUSTER_N > 1)
      fetch_box_for(to_a, of.rows, c, x, 0, full, visits.sharing_a());
    else
      fetch_box(to_a, of.rows, c, x, 0, full);
    if (CLUSTER_M > 1)
      fetch_box_for(to_b, of.filters, channel, tap, filter, full, visits.sharing_b());
    else
      fetch_box(to_b, of.filters, channel, tap, filter, full);
    next();
  }

 private:
  __device__ __forceinline__ void next() {
    channel += BK;
    if (channel < of.group_c) return;
    channel = 0, ++tap, across += OPT_DILATION;
    if (across == of.s * OPT_DILATION) across = 0, down += OPT_DILATION;
  }
};

// Where element (row, col) of a group's product lies in Y.
struct PlaceInY {
  int k, first_filter;
  __device__ __forceinline__ size_t operator()(int row, int col) const { return size_t(row) * k + first_filter + col; }
};

// `Finish` (conv2d.cuh) for the writers of common/, of a group's filters.
struct FinishGroup {
  const Finish& all;
  int first_filter;

  __device__ __forceinline__ Out operator()(Acc sum, size_t index, int, int col) const {
    return all(sum, first_filter + col, index);
  }
  // Neighbours of a pixel at once: those of bias and residual lie on a boundary of as many.
  template <int COUNT>
  __device__ __forceinline__ void run(Out (&result)[COUNT], const Acc (&sum)[COUNT], size_t index, int, int col) const {
    const int filter = first_filter + col;
    Wide bias[COUNT] = {};
    Out residual[COUNT] = {};
    if (OPT_BIAS) load(bias, all.bias + filter);
    if (OPT_RESIDUAL) load(residual, all.residual + index);
    const Finish local{bias, OPT_SCALE_CHANNEL ? all.scale + filter : all.scale, residual};
#pragma unroll
    for (int i = 0; i < COUNT; ++i) result[i] = local(sum[i], i, i);
  }
};

struct Output {
  static constexpr bool READS = OPT_BIAS || OPT_RESIDUAL || OPT_SCALE_CHANNEL;
  const Finish& all;
  Out* to;
  int k, group_k;
  bool aligned;

  __device__ __forceinline__ PlaceInY place(int group) const { return {k, group * group_k}; }
  __device__ __forceinline__ FinishGroup finish(int group) const { return {all, group * group_k}; }
};

#if CLUSTER_M * CLUSTER_N > 1
extern "C" __global__ void __cluster_dims__(CLUSTER_M * CLUSTER_N, 1, 1) __launch_bounds__(THREADS, 1)
#else
extern "C" __global__ void __launch_bounds__(THREADS, 1)
#endif
    conv2d(const __grid_constant__ TensorMap map_pixels, const __grid_constant__ TensorMap map_rows,
           const __grid_constant__ TensorMap map_filters, const Wide* __restrict__ bias,
           const Out* __restrict__ residual, const float* __restrict__ scale, Out* __restrict__ Y, int rows, int p,
           int q, int s, int k, int group_c, int group_k, int groups, int steps, Acc* partial,
           PartsOfTile* arrived) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const size_t addresses =
      reinterpret_cast<size_t>(Y) | reinterpret_cast<size_t>(bias) | reinterpret_cast<size_t>(residual);
  const Problem problem{&map_pixels, &map_rows, &map_filters, p, q, s, group_c, group_k};
  const Finish finish{bias, scale, residual};
  const Output output{finish, Y, k, group_k, addresses % 16 == 0 && group_k % VECTOR_OF<Out> == 0};
  multiply_persistently<TileA, TileB>(
      memory, rows, group_k, groups, steps, [&](const Visits& visits) { return Fetch(problem, visits); }, output,
      {partial, arrived});
}
