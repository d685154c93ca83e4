/*[tuner]
name = "conv_depthwise"
operator = "conv2d"
summary = "One filter a channel, NCHW: rows of pixels in registers, no reduction over channels."
dtypes = ["f32", "f16", "bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["stride", "pad", "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "groups", "bias", "relu", "residual", "relu6", "silu", "hardswish"]
use = ["cores"]

[supports]
"it computes depthwise convolutions: groups = c = k" = "groups == c and c == k"

[parameters]
ROWS = { values = [1, 2, 3, 4], doc = "output rows that are computed together, from the same rows of the image" }
VECTORS = { values = [1, 2, 4, 8], doc = "vectors of one output row that are computed together" }
FLAT = { values = [false, true], doc = "a channel is one line: vectors run on over the ends of rows" }
MASKED = { values = [false, true], doc = "a channel is read where it lies and padding is masked" }
FIXED = { values = [true, false], doc = "code of its own for kernels of 3x3 and 5x5" }

[let]
sums = "ROWS * VECTORS"
# Bytes of a row that are computed together, but for the last vector.
but_last = "(VECTORS - 1) * vector_bytes"
reach_y = "dilation * (r - 1)"
reach_x = "dilation * (s - 1)"

[constraints]
sums_in_registers = "sums <= vector_registers // 2"
vectors_used = "FLAT or MASKED or VECTORS == 1 or but_last < 4 * q"
flat_has_no_rows = "not FLAT or ROWS == 1"
# As many columns out as in and taps no more than a vector away, or rows of no more than a vector; see masked.h.
masked_fits = """
  not MASKED or (ROWS == 1 and not FLAT and (
    (stride == 1 and left + right == reach_x and s * dilation <= w and 4 * (top * w + left) <= vector_bytes
      and 4 * ((reach_y - top) * w + reach_x - left) <= vector_bytes)
    or (stride == 2 and 2 * w <= vector_bytes and q <= vector_bytes // 4)))"""
# Halves are converted when they are copied.
converted = "element_bytes == 4 or not MASKED"
masked_vectors_used = "not MASKED or VECTORS == 1 or but_last < 4 * p * q"
# The masks stay in the L1 cache.
masked_stays_in_cache = "not MASKED or h * w * r * s <= 8192 * stride * stride"

[features]
tile_area = "sums"
*/
// Rung 4. With one channel in and one out nothing is reused but the image under overlapping windows, so time is
// that of moving the image once, and of the instructions per tap. NCHW: a channel's plane is copied with its
// padding into a buffer that stays in the L1 or L2 cache; what one tap reads for a vector of pixels is one load,
// with a stride of 2 two loads of which every second element is picked; for larger strides columns are sorted by
// their remainder. FLAT is for images narrower than a few vectors (flat.h), MASKED for those of a few vectors
// (masked.h). NHWC is rung 24's.
//
// A row "a b c d" with one zero on each side under three taps, vectors of four, and the same channel as one FLAT line:
//
//   copy    0 a b c d 0       tap 0   0 a b c        line   0 a b c d 0  0 e f g h 0 ...  (pitch 6)
//                             tap 1   a b c d        tap 1    a b c d 0  0 e ...          columns 4 and 5 of a row
//                             tap 2   b c d 0                                             are dropped
#define HUGE_PAGES 1
#define OPT_NHWC 0
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#include "../common/arena.h"
#include "../common/team.h"
#include "flat.h"
#include "image.h"
#include "masked.h"

struct Depthwise {
    const Shape at;
    const element *X, *W;
    const addend* bias;
    const result* residual;
    result* Y;

    // NCHW: the plane with padding; behind each row, and behind the last one, room for what vectors overhang.
    // With a stride above 2 a row is stride pieces: columns 0, stride, 2*stride ..., then 1, stride + 1, ...
    enum : int64_t { SORTED = OPT_STRIDE > 2, PIECES = SORTED ? OPT_STRIDE : 1, STEP = SORTED ? 1 : OPT_STRIDE };
    int64_t piece() const { return ceil_div(at.wide(), PIECES) + (VECTORS + 1) * LANES * STEP; }
    int64_t row() const { return piece() * PIECES; }
    int64_t plane() const { return (at.high() + ROWS * OPT_STRIDE) * row(); }

    // What one tap reads for a vector of pixels: side by side, or, with a stride of 2, every second element.
    static vec pixels(const float* from) {
        if (STEP == 1) return load(from);
        return every_second(load(from), load(from + LANES));
    }

    void copy_plane(float* to, const element* from) const {
        for (int64_t y = 0; y < at.high(); ++y, to += row()) {
            const element* line = from + (y - TOP) * at.w;
            if (y < TOP || y >= TOP + at.h) {
                memset(to, 0, size_t(row()) * sizeof(float));
                continue;
            }
            if (!SORTED) {
                for (int64_t x = 0; x < LEFT; ++x) to[x] = 0;
                for (int64_t x = LEFT + at.w; x < at.wide(); ++x) to[x] = 0;
                convert(to + LEFT, line, at.w);
                continue;
            }
            for (int64_t x = 0; x < at.wide(); ++x) {
                const bool inside = x >= LEFT && x < LEFT + at.w;
                to[x % OPT_STRIDE * piece() + x / OPT_STRIDE] = inside ? float(line[x - LEFT]) : 0;
            }
        }
    }

    template <int V>
    void finish(result* to, const vec* sums, int64_t count) const {
        const result* more = OPT_RESIDUAL ? residual + (to - Y) : nullptr;
        result whole[V * LANES];
        const bool inside = count >= V * LANES;
        result* place = inside ? to : whole;
#pragma GCC unroll 4
        for (int j = 0; j < V; ++j) {
            vec value = sums[j];
            if (OPT_RESIDUAL) value += load_part(more + j * LANES, count - j * LANES);
            value = activated(value);
            store(place + j * LANES, value);
        }
        if (!inside) memcpy(to, whole, size_t(count) * sizeof(result));
    }

    // Output rows p ... p + ROWS - 1 of one channel. R and S are the kernel's size, 0 where it is not known.
    template <int R, int S>
    void rows_together(const float* from, const element* weights, float addend, result* to, int64_t p) const {
        const int64_t r = R ? R : at.r, s = S ? S : at.s;
        for (int64_t q = 0; q < at.columns; q += VECTORS * LANES) {
            vec sums[ROWS][VECTORS];
            for (int i = 0; i < ROWS; ++i) {
                for (int j = 0; j < VECTORS; ++j) sums[i][j] = splat(addend);
            }
            const float* window = from + p * OPT_STRIDE * row() + q * STEP;
#pragma GCC unroll 5
            for (int64_t y = 0; y < r; ++y) {
#pragma GCC unroll 5
                for (int64_t x = 0; x < s; ++x) {
                    const vec weight = splat(float(weights[y * s + x]));
                    const int64_t column = x * OPT_DILATION % PIECES * piece() + x * OPT_DILATION / PIECES;
                    const float* tap = window + y * OPT_DILATION * row() + column;
#pragma GCC unroll 4
                    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
                        for (int j = 0; j < VECTORS; ++j) {
                            sums[i][j] += weight * pixels(tap + i * OPT_STRIDE * row() + j * LANES * STEP);
                        }
                    }
                }
            }
            for (int i = 0; i < ROWS && p + i < at.rows; ++i) {
                finish<VECTORS>(to + (p + i) * at.columns + q, sums[i], at.columns - q);
            }
        }
    }

    void channel(float* buffer, int64_t i) const {
        const element* weights = W + i % at.c * at.r * at.s;
        result* to = Y + i * at.rows * at.columns;
        const float addend = OPT_BIAS ? float(bias[i % at.c]) : 0;
        copy_plane(buffer, X + i * at.h * at.w);
        for (int64_t p = 0; p < at.rows; p += ROWS) {
            if (FIXED && at.r == 3 && at.s == 3) rows_together<3, 3>(buffer, weights, addend, to, p);
            else if (FIXED && at.r == 5 && at.s == 5) rows_together<5, 5>(buffer, weights, addend, to, p);
            else rows_together<0, 0>(buffer, weights, addend, to, p);
        }
    }

    void run(float* memory, int64_t team, int64_t index) const {
        const Range mine = share(at.n * at.c, 1, team, index);
        for (int64_t i = mine.begin; i < mine.end; ++i) channel(memory, i);
    }
};

// `size` floats of memory for each thread.
template <typename Work>
static int run(const Work& work, int64_t size) {
    static thread_local Arena arena;
    size = ceil_div(size, 16) * 16;
    float* memory = arena.reserve(size * threads);
    if (!memory) return 1;
    BY_TEAM
    work.run(memory + TEAM_INDEX * size, TEAM_SIZE, TEAM_INDEX);
    return 0;
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, result* Y, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    (void)scale;
    const Shape at(n, c, h, w, k, r, s);
#if MASKED
    const MaskedDepthwise masked = {at, X, W, bias, residual, Y};
    if (masked.serves()) return run(masked, masked.memory());
#endif
#if FLAT || MASKED
    const FlatDepthwise work = {at, X, W, bias, residual, Y};
    return run(work, work.memory());
#else
    const Depthwise work = {at, X, W, bias, residual, Y};
    return run(work, work.plane());
#endif
}
