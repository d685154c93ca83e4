// The direct convolution of rungs 1 and 5: register tiles of pixels x vectors of output channels.
// The configuration's macros are defined before this is included, and W_AHEAD as 1 where the weights were packed before
// the call, else 0.
/*[tuner.shared]
[direct.parameters]
PIXELS = { values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14], doc = "pixels of the register tile, of one row of the image" }
BLOCK = { values = [0, 4, 8, 16, 32, 64], doc = "tiles that all output channels are computed for before the next; 0: all tiles" }
UNROLL = { values = [1, 2, 4], doc = "taps in the body of the innermost loop" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }

[direct.let]
# A tile lies in one row of the output, which 1x1 kernels without padding see as a single one.
one_row = "r * s == 1 and top + left + bottom + right == 0 and stride == 1"

[direct.constraints]
# Sums, a row of weights and one pixel.
registers = "(PIXELS + 1) * vectors + 1 <= vector_registers"
# 8 independent sums keep two FMA pipes of latency 4 busy; narrow images have to do with fewer.
latency = "PIXELS * vectors >= 8 or PIXELS * 2 > q"
channels_used = "CHANNELS < 2 * group_k or CHANNELS * 4 == vector_bytes"
pixels_used = "PIXELS == 1 or PIXELS <= q * (h if one_row else 1)"
unrolled_body = "UNROLL * PIXELS * vectors <= 112"

[direct.features]
tile_area = "PIXELS * CHANNELS"
panel_bytes = "group_c * r * s * CHANNELS * 4"
*/
#pragma once
#include "../common/arena.h"
#include "../common/team.h"
#include "image.h"
#include "pack.h"
#include "tile.h"

enum : int64_t { NV = CHANNELS / LANES };

// A block of output channels of one group.
static void pack_block(float* packed, const element* W, const Shape& at, int64_t block) {
    const int64_t blocks = ceil_div(at.outer, CHANNELS), begin = block % blocks * CHANNELS;
    const element* from = W + (block / blocks * at.outer + begin) * at.taps();
    pack_weights<CHANNELS>(packed + block * at.taps() * CHANNELS, from, at.taps(), min_of(CHANNELS, at.outer - begin));
}

struct Convolution {
    const Shape at;
    const Strides strides;
    const element* W;
    result* Y;
    Epilogue epilogue;
    const float* image;
    const int32_t* offsets;  // [taps]: from a window's first element
    float* packed;           // [groups * blocks][taps][CHANNELS]; with W_AHEAD it is read alone
    bool flat;               // rows of the image follow each other without a gap: they are one row

    int64_t rows() const { return flat ? 1 : at.rows; }
    int64_t columns() const { return flat ? at.rows * at.columns : at.columns; }
    int64_t blocks() const { return ceil_div(at.outer, CHANNELS); }  // of output channels, in a group
    int64_t tiles_a_row() const { return columns() < PIXELS ? columns() : ceil_div(columns(), PIXELS); }
    int64_t tiles() const { return at.n * rows() * tiles_a_row(); }

    void pack(int64_t block) const {
        if (!W_AHEAD) pack_block(packed, W, at, block);
    }

    void compute(int64_t block, int64_t tile) const {
        const int64_t group = block / blocks(), begin = block % blocks() * CHANNELS;
        const int64_t row = tile / tiles_a_row(), p = row % rows(), n = row / rows();
        Place place = {at, n, group * at.outer + begin, min_of(CHANNELS, at.outer - begin), p, 0};
        const float* first = image + n * strides.image + group * at.inner * strides.channel + p * OPT_STRIDE * strides.y;
        const float* weights = packed + block * at.taps() * CHANNELS;
        // The last tile of a row begins early enough to be whole: what it shares with the one before it is
        // computed twice. Rows shorter than a tile are computed pixel by pixel.
        const int64_t unit = columns() < PIXELS ? 1 : PIXELS;
        place.q = min_of(tile % tiles_a_row() * unit, columns() - unit);
        const float* x = first + place.q * OPT_STRIDE * strides.x;
        // A constant where it can be: then the pixels' addresses need no registers.
        const int64_t step = OPT_NHWC ? OPT_STRIDE * at.c : OPT_STRIDE;
        if (unit == PIXELS) direct_tile<PIXELS, NV>(x, step, offsets, weights, at.taps(), place, Y, epilogue);
        else direct_tile<1, NV>(x, step, offsets, weights, at.taps(), place, Y, epilogue);
    }

    // Output channels outside: their weights are packed when they are needed, and read while they are near.
    void by_channels(Range channels, Range pixels) const {
        for (int64_t block = channels.begin; block < channels.end; ++block) {
            pack(block);
            for (int64_t tile = pixels.begin; tile < pixels.end; ++tile) compute(block, tile);
        }
    }

    void by_pixels(Range channels, Range pixels) const {
        const int64_t most = BLOCK ? BLOCK : pixels.size();
        for (int64_t begin = pixels.begin; begin < pixels.end; begin += most) {
            for (int64_t block = channels.begin; block < channels.end; ++block) {
                for (int64_t tile = begin; tile < min_of(begin + most, pixels.end); ++tile) compute(block, tile);
            }
        }
    }

    // What thread `index` of `team` does. `wait` is a barrier of the team.
    template <class Wait>
    void run(const element* X, float* copy, int64_t team, int64_t index, Wait wait) const {
        const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, across = team / down, all = OPT_GROUPS * blocks();
        const Range channels = share(all, 1, down, index % down), pixels = share(tiles(), 1, across, index / down);
        if (!IN_PLACE) pad_image(copy, X, at, team, index);
        const bool first = BLOCK || across > 1;  // all weights are packed before any is used
        if (first && !W_AHEAD) {
            const Range mine = share(all, 1, team, index);
            for (int64_t block = mine.begin; block < mine.end; ++block) pack(block);
        }
        if ((first && !W_AHEAD) || !IN_PLACE) wait();
        if (first) by_pixels(channels, pixels);
        else by_channels(channels, pixels);
    }
};

// `ahead` is what `pack_block` makes of all blocks; null where they are packed in the call.
static int convolve(const element* X, const element* W, float* ahead, const Epilogue& epilogue, result* Y,
                    const Shape& at) {
    static thread_local Arena arena;
    const Strides strides(at);
    // An offset stays within one image.
    if (strides.image >= int64_t(1) << 31) return 2;
    const int64_t blocks = OPT_GROUPS * ceil_div(at.outer, CHANNELS);
    auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
    const int64_t copy = lines(at.padded()), table = lines(at.taps());
    float* memory = arena.reserve(copy + table + (W_AHEAD ? 0 : blocks * CHANNELS * at.taps()));
    if (!memory) return 1;
    int32_t* offsets = reinterpret_cast<int32_t*>(memory + copy);
    int32_t* next = offsets;
    // The order of W's own elements: c, r, s, or r, s, c.
    for (int64_t i = 0; i < (OPT_NHWC ? at.r : at.inner); ++i) {
        for (int64_t j = 0; j < (OPT_NHWC ? at.s : at.r); ++j) {
            for (int64_t l = 0; l < (OPT_NHWC ? at.inner : at.s); ++l) {
                const int64_t channel = OPT_NHWC ? l : i, y = OPT_NHWC ? i : j, x = OPT_NHWC ? j : l;
                *next++ = int32_t(channel * strides.channel + (y * strides.y + x * strides.x) * OPT_DILATION);
            }
        }
    }
    const bool flat = at.r == 1 && at.s == 1 && !PADDED && OPT_STRIDE == 1;
    float* packed = W_AHEAD ? ahead : memory + copy + table;
    const Convolution work = {at, strides, W, Y, epilogue, image_of(X, memory), offsets, packed, flat};
    BY_TEAM
    work.run(X, memory, TEAM_SIZE, TEAM_INDEX, [] { wait_for_team(); });
    return 0;
}
