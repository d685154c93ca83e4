/*[tuner]
name = "conv_amx_planes"
operator = "conv2d"
summary = "int8 by AMX, planes in and planes out: pixels are a tile's columns, so nothing is transposed; frozen weights."
dtypes = ["int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "scale", "Z", "ratios", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points", "quantized_residual"]
requires = ["amx-int8", "avx512bw", "avx512vl", "avx512vbmi", "avx512vbmi2"]
use = ["cores"]

[supports]
"it reads images of planes: NCHW" = "not nhwc"
"a stride is 1 or 2" = "stride <= 2"
"a depthwise convolution adds up no channels" = "group_c > 1 or group_k > 1"

[parameters]
DOWN = { values = [1, 2, 3], doc = "tiles of 16 output channels that are computed together" }
ACROSS = { values = [1, 2, 3], doc = "tiles of 16 pixels that are computed together" }
INNER = { values = ["channels", "pixels"], doc = "what is gone through before the other one's next tiles: all output channels or all pixels" }
COPY = { values = ["tiles", "image"], doc = "what is interleaved before it is multiplied: of 1x1 kernels the pixels that a thread computes next, or the image as a whole" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }

[constraints]
tiles_in_registers = "DOWN * ACROSS + DOWN + ACROSS <= 8"
down_used = "DOWN == 1 or 16 * (DOWN - 1) < group_k"
across_used = "ACROSS == 1 or 16 * (ACROSS - 1) < n * p * q"
tiles_of_points = "COPY == 'image' or (INNER == 'channels' and r * s == 1 and stride == 1 and top + left + bottom + right == 0)"
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * 16 < 2 * k)"

[workspace]
ahead = "1024 * groups * ceildiv(group_k, 16) * r * s * ceildiv(ceildiv(group_c, 4), 16)"

[prepare]
entry = "pack_ahead"
arguments = ["W", "ahead", "n", "c", "h", "w", "k", "r", "s"]
constant = ["W"]
*/
// Rung 15. In rung 10 pixels are the rows of a product and channels its columns: right for NHWC, but planes are transposed
// on their way in and again on their way out, which takes longer than the product. Here weights are the rows and pixels
// the columns. The second operand of a tile product wants units of four neighbours in the depth, so four planes are
// interleaved byte by byte, and its rows, sixteen such units of the same pixels, are planes apart; a row of the result is
// sixteen pixels of one channel, as Y has them.
#define SHIFTED 0
#include <utility>

#include "../common/amx.h"
enum : int64_t { TOGETHER = ACROSS };
#include "planes.h"

static_assert(LANES == TILE, "a register holds a row of a tile");

struct Product {
    const Planes& planes;
    const int8_t* W;
    int8_t* packed;          // [groups][tiles of channels][steps][16 channels][16 units]
    const int32_t* offsets;  // [steps]: from a pixel of the image
    enum : int64_t { TILE_BYTES = TILE * TILE_ROW_BYTES };
    typedef Tiles Registers;

    int64_t chunks_a_tap() const { return ceil_div(planes.units(), TILE); }
    int64_t steps() const { return planes.at.r * planes.at.s * chunks_a_tap(); }
    int64_t channel_tiles() const { return ceil_div(planes.at.outer, TILE); }  // of a group
    int64_t blocks() const { return ceil_div(channel_tiles(), DOWN); }
    int64_t reach() const { return 16 * planes.unit() * (chunks_a_tap() + 1); }
    // Rows of the last tile may be units that are not there; they are multiplied by 0.
    int64_t memory() const { return (planes.all_units() + TILE) * planes.unit() + 4 * TILE; }

    void pack() const {
        const Shape& at = planes.at;
        int8_t* to = packed;
        for (int64_t i = 0; i < OPT_GROUPS * channel_tiles(); ++i) {
            const int64_t group = i / channel_tiles(), first = i % channel_tiles() * TILE;
            for (int64_t chunk = 0; chunk < steps(); ++chunk, to += TILE_BYTES) {
                const int64_t tap = chunk / chunks_a_tap(), c = chunk % chunks_a_tap() * TILE_ROW_BYTES;
                memset(to, 0, TILE_BYTES);
                for (int64_t k = 0; k < min_of(TILE, at.outer - first); ++k) {
                    const int8_t* from = W + ((group * at.outer + first + k) * at.inner + c) * at.r * at.s + tap;
                    for (int64_t j = 0; j < min_of(TILE_ROW_BYTES, at.inner - c); ++j) {
                        to[k * TILE_ROW_BYTES + j] = from[j * at.r * at.s];
                    }
                }
            }
        }
    }

    void find_offsets(int32_t* to) const {
        const Shape& at = planes.at;
        for (int64_t tap = 0; tap < at.r * at.s; ++tap) {
            const int64_t first = planes.distance(tap), step = TILE * planes.unit();
            for (int64_t chunk = 0; chunk < chunks_a_tap(); ++chunk) *to++ = int32_t(first + chunk * step);
        }
    }

    template <int... I>
    static void clear(std::integer_sequence<int, I...>) {
        (tile_zero<I>(), ...);
    }
    template <int FIRST, int... I>
    static void fetch(const int8_t* const* from, int64_t step, std::integer_sequence<int, I...>) {
        (tile_load<FIRST + I>(from[I], step), ...);
    }
    template <int... I>
    static void multiply(std::integer_sequence<int, I...>) {
        (tile_multiply<I, DOWN * ACROSS + I / ACROSS, DOWN * ACROSS + DOWN + I % ACROSS>(), ...);
    }
    template <int... I>
    static void keep(int32_t* to, std::integer_sequence<int, I...>) {
        (tile_store<I>(to + I * TILE_UNITS, TILE_ROW_BYTES), ...);
    }

    // Block `block` of a group's channels, DOWN tiles, and tiles `begin` ... of the pixels, as many as there are.
    void compute(int64_t group, int64_t block, int64_t begin) const {
        const Shape& at = planes.at;
        const int64_t tiles = at.n * planes.pixel_tiles(), first = block * DOWN;
        const int8_t *weights[DOWN], *pixels[ACROSS], *rows[ACROSS];
        for (int64_t i = 0; i < DOWN; ++i) {
            const int64_t tile = group * channel_tiles() + min_of(first + i, channel_tiles() - 1);
            weights[i] = packed + tile * steps() * TILE_BYTES;
        }
        for (int64_t j = 0; j < ACROSS; ++j) {
            pixels[j] = reinterpret_cast<const int8_t*>(planes.pixels(group, min_of(begin + j, tiles - 1)));
        }
        clear(std::make_integer_sequence<int, DOWN * ACROSS>());
        for (int64_t chunk = 0; chunk < steps(); ++chunk) {
            for (int64_t j = 0; j < ACROSS; ++j) rows[j] = pixels[j] + 4 * int64_t(offsets[chunk]);
            fetch<DOWN * ACROSS>(weights, TILE_ROW_BYTES, std::make_integer_sequence<int, DOWN>());
            fetch<DOWN * ACROSS + DOWN>(rows, 4 * planes.unit(), std::make_integer_sequence<int, ACROSS>());
            multiply(std::make_integer_sequence<int, DOWN * ACROSS>());
            for (int64_t i = 0; i < DOWN; ++i) weights[i] += TILE_BYTES;
        }
        int32_t sums[DOWN * ACROSS * TILE_UNITS] __attribute__((aligned(64)));
        keep(sums, std::make_integer_sequence<int, DOWN * ACROSS>());
        for (int64_t i = 0; i < DOWN && first + i < channel_tiles(); ++i) {
            for (int64_t j = 0; j < ACROSS && begin + j < tiles; ++j) {
                finish(sums + (i * ACROSS + j) * TILE_UNITS, group * at.outer, (first + i) * TILE, begin + j);
            }
        }
    }

    // A tile of sums: channels `first` ... of the group that begins at channel `group`.
    void finish(const int32_t* sums, int64_t group, int64_t first, int64_t tile) const {
        const Results of = planes.results(tile);
        const auto added = planes.added();
        for (int64_t i = 0; i < min_of(TILE, planes.at.outer - first); ++i) {
            planes.put(load(sums + i * TILE), group + first + i, tile / planes.pixel_tiles(), of, added);
        }
    }
};

extern "C" int pack_ahead(const element* W, int8_t* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r,
                          int64_t s) {
    const Planes planes = {Shape(n, c, h, w, k, r, s), nullptr, {nullptr, nullptr}, nullptr, nullptr};
    Product{planes, W, ahead, nullptr}.pack();
    return 0;
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, const int32_t* Z, const float* ratios, result* Y, int8_t* ahead, int64_t n,
                      int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    if (!may_use_tiles()) return 3;
    const Planes planes = {Shape(n, c, h, w, k, r, s), X, {bias, scale, Z, residual, ratios}, Y, nullptr};
    Product work = {planes, W, ahead, nullptr};
    return convolve(planes, work);
}
