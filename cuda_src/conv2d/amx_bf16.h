// The bf16 convolution of the AMX rungs: pixels x output channels, of a copy of the image in which what is multiplied
// together lies together. The configuration's macros are defined before this is included, and W_AHEAD as 1 where the
// weights were packed before the call, else 0.
//
// A unit is two neighbours in the depth, 4 bytes; a chunk is 16 units, a row of a tile. A pixel of the copy holds its
// channels, filled up to whole chunks with zeros: what lies behind a run of them may be no number, and 0 does not
// cancel that. Of few channels a pixel holds the whole row of a window in place of its own channels (WINDOWS).
/*[tuner.shared]
[amx_bf16_tiles.parameters]
CHANNELS = { values = [16, 32], doc = "output channels of a block: one or two registers" }
TILES = { values = [1, 2], doc = "pieces of up to 16 pixels that are computed together" }
BLOCK = { values = [0, 4, 8, 16, 32, 64], doc = "tiles that all output channels are computed for before the next; 0: all tiles" }
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }
WINDOWS = { values = [false, true], doc = "copy a window's rows, so that few channels fill a tile's row" }

[amx_bf16_tiles.constraints]
grid = "threads % SPLIT_K == 0 and (SPLIT_K == 1 or SPLIT_K * CHANNELS < 2 * k)"
channels_used = "CHANNELS < 2 * group_k or CHANNELS == 16"
tiles_used = "TILES == 1 or n * p * q > 16"
windows_used = "not WINDOWS or s > 1 and group_c % 32 != 0"
*/
#pragma once
#include "../common/arena.h"
#include "../common/pack.h"
#include "../common/team.h"
#include "image.h"

enum : int64_t { N = CHANNELS, CHUNK = 16, DEEP = 2 * CHUNK };
#include "amx.h"

static_assert(LANES == 16, "a vector is a row of sums");

// 16 x 16 units; of the result row i is where `to` + i * to_row points.
static inline void transpose_tile(int32_t* to, int64_t to_row, const int32_t* from, int64_t from_row) {
    const float* bits = reinterpret_cast<const float*>(from);
    for (int64_t i = 0; i < 16; i += 4) {
        for (int64_t j = 0; j < 16; j += 4) {
            transpose4(reinterpret_cast<float*>(to) + j * to_row + i, to_row, bits + i * from_row + j, from_row);
        }
    }
}

// How the copy of the image and the weights are laid out, in units unless it says otherwise.
struct Pairs {
    const Shape& at;

    int64_t elements() const { return WINDOWS ? at.s * at.inner : at.inner; }  // of a run
    int64_t run() const { return ceil_div(elements(), DEEP) * CHUNK; }
    int64_t runs() const { return WINDOWS ? at.r : at.r * at.s; }
    int64_t taps() const { return runs() * run(); }
    int64_t of_pixel() const { return OPT_GROUPS * run(); }
    int64_t wide() const { return WINDOWS ? at.columns : at.wide(); }
    int64_t of_image() const { return at.high() * wide() * of_pixel(); }
    int64_t step() const { return (WINDOWS ? 1 : OPT_STRIDE) * of_pixel(); }  // from a window to the next
    bool in_place() const { return OPT_NHWC && !PADDED && !WINDOWS && at.inner % DEEP == 0; }

    // Where each chunk of a window lies, seen from its first.
    void offsets(int32_t* to) const {
        for (int64_t i = 0; i < runs(); ++i) {
            const int64_t y = WINDOWS ? i : i / at.s, x = WINDOWS ? 0 : i % at.s;
            const int64_t first = (y * wide() + x) * OPT_DILATION * of_pixel();
            for (int64_t u = 0; u < run(); u += CHUNK) *to++ = int32_t(first + u);
        }
    }

    // Weights of `count` filters from `first` on: [taps][N], and behind them a row of what sums begin with, zeros.
    void pack(int32_t* packed, const element* W, int64_t first, int64_t count) const {
        memset(packed, 0, size_t((taps() + 1) * N) * sizeof(int32_t));
        element* to = reinterpret_cast<element*>(packed);
        for (int64_t j = 0; j < count; ++j) {
            for (int64_t i = 0; i < runs(); ++i) {
                for (int64_t e = 0; e < elements(); ++e) {
                    const int64_t y = WINDOWS ? i : i / at.s, x = WINDOWS ? e / at.inner : i % at.s, c = e % at.inner;
                    const int64_t filter = first + j;
                    const int64_t from = OPT_NHWC ? ((filter * at.r + y) * at.s + x) * at.inner + c
                                                  : ((filter * at.inner + c) * at.r + y) * at.s + x;
                    to[((i * run() + e / 2) * N + j) * 2 + e % 2] = W[from];
                }
            }
        }
    }

    // The part of the copy that falls to thread `index` of `team`, in lines of the padded image.
    void copy(int32_t* to, const element* X, int64_t team, int64_t index) const {
        const int64_t line = wide() * of_pixel();
        const Range mine = share(at.n * at.high(), 1, team, index);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const int64_t n = i / at.high(), y = i % at.high() - TOP;
            int32_t* row = to + i * line;
            const element* from = X + (OPT_NHWC ? (n * at.h + y) * at.w * at.c : n * at.c * at.h * at.w + y * at.w);
            if (y < 0 || y >= at.h) memset(row, 0, size_t(line) * sizeof(int32_t));
            else if (WINDOWS) line_of_windows(row, from);
            else line_of_pixels(row, from);
        }
    }

private:
    void line_of_pixels(int32_t* to, const element* from) const {
        memset(to, 0, size_t(LEFT * of_pixel()) * sizeof(int32_t));
        to += LEFT * of_pixel();
        memset(to + at.w * of_pixel(), 0, size_t(RIGHT * of_pixel()) * sizeof(int32_t));
        if (OPT_NHWC) {
            for (int64_t i = 0; i < at.w * OPT_GROUPS; ++i, to += run(), from += at.inner) {
                memcpy(to, from, size_t(at.inner) * sizeof(element));
                memset(reinterpret_cast<element*>(to) + at.inner, 0, size_t(run() * 2 - at.inner) * sizeof(element));
            }
            return;
        }
        for (int64_t group = 0; group < OPT_GROUPS; ++group) {
            for (int64_t begin = 0; begin < at.w; begin += 16) {
                for (int64_t u = 0; u < run(); u += CHUNK) {
                    int32_t units[16 * 16], pixels[16 * 16];
                    const int64_t count = min_of(16, at.w - begin);
                    for (int64_t i = 0; i < 16; ++i) {
                        const int64_t left = at.inner - (u + i) * 2;
                        pair_up(units + i * 16, from + (group * at.inner + (u + i) * 2) * at.h * at.w + begin, left, count);
                    }
                    int32_t* place = to + begin * of_pixel() + group * run() + u;
                    if (count == 16) {
                        transpose_tile(place, of_pixel(), units, 16);
                        continue;
                    }
                    transpose_tile(pixels, 16, units, 16);
                    for (int64_t x = 0; x < count; ++x) memcpy(place + x * of_pixel(), pixels + x * 16, 64);
                }
            }
        }
    }

    // `count` pixels of two channels, of which `left` are there.
    void pair_up(int32_t* to, const element* from, int64_t left, int64_t count) const {
        const element* second = from + at.h * at.w;
        if (count == 16 && left > 1) {
            bits16 low, high;
            memcpy(&low, from, sizeof low);
            memcpy(&high, second, sizeof high);
            const bits32 both = __builtin_convertvector(low, bits32) | __builtin_convertvector(high, bits32) << 16;
            memcpy(to, &both, sizeof both);
            return;
        }
        memset(to, 0, 64);
        element* halves = reinterpret_cast<element*>(to);
        for (int64_t x = 0; x < count && left > 0; ++x) halves[2 * x] = from[x];
        for (int64_t x = 0; x < count && left > 1; ++x) halves[2 * x + 1] = second[x];
    }

    void line_of_windows(int32_t* to, const element* from) const {
        memset(to, 0, size_t(wide() * of_pixel()) * sizeof(int32_t));
        const int64_t columns = OPT_NHWC ? at.c : 1, channels = OPT_NHWC ? 1 : at.h * at.w;
        for (int64_t group = 0; group < OPT_GROUPS; ++group) {
            for (int64_t x = 0; x < at.s; ++x) {
                // Windows whose column x lies inside the image.
                const int64_t shift = x * OPT_DILATION - LEFT, begin = shift < 0 ? ceil_div(-shift, OPT_STRIDE) : 0;
                const int64_t end = at.w > shift ? min_of(at.columns, (at.w - shift - 1) / OPT_STRIDE + 1) : 0;
                for (int64_t c = 0; c < at.inner; ++c) {
                    const element* source = from + (group * at.inner + c) * channels + shift * columns;
                    element* place = reinterpret_cast<element*>(to + group * run()) + x * at.inner + c;
                    for (int64_t q = begin; q < end; ++q) place[q * of_pixel() * 2] = source[q * OPT_STRIDE * columns];
                }
            }
        }
    }
};

struct TileConvolution {
    const Shape& at;
    const Pairs pairs;
    const element* W;
    const Epilogue epilogue;
    result* Y;
    const int32_t* image;    // [n][y][x][units]
    const int32_t* offsets;  // of each chunk, from a window's first unit
    int32_t* packed;         // [blocks][taps + 1][N]; with W_AHEAD it is read alone
    bool flat;               // rows of the image follow each other without a gap: they are one row

    int64_t rows() const { return flat ? 1 : at.rows; }
    int64_t columns() const { return flat ? at.rows * at.columns : at.columns; }
    int64_t blocks() const { return ceil_div(at.outer, N); }  // of output channels, in a group
    int64_t all_blocks() const { return OPT_GROUPS * blocks(); }
    int64_t block_size() const { return (pairs.taps() + 1) * N; }
    // Rows are cut into pieces of up to 16 pixels, and TILES pieces, of whatever rows, are computed together.
    int64_t pieces() const { return ceil_div(columns(), 16); }
    int64_t pixels() const { return ceil_div(columns(), pieces()); }
    int64_t tiles() const { return ceil_div(at.n * rows() * pieces(), TILES); }

    void pack(int64_t block) const {
        const int64_t begin = block % blocks() * N;
        pairs.pack(packed + block * block_size(), W, block / blocks() * at.outer + begin, min_of(N, at.outer - begin));
    }

    void compute(int64_t block, int64_t number) const {
        const int64_t group = block / blocks(), begin = block % blocks() * N, k = group * at.outer + begin;
        const int64_t channels = min_of(N, at.outer - begin), line = pairs.wide() * pairs.of_pixel();
        const int32_t* x[TILES];
        result* to[TILES];
        for (int64_t i = 0; i < TILES; ++i) {
            const int64_t piece = min_of(number * TILES + i, at.n * rows() * pieces() - 1), row = piece / pieces();
            const int64_t p = row % rows(), n = row / rows(), plane = at.rows * at.columns;
            const int64_t q = min_of(piece % pieces() * pixels(), columns() - pixels());
            const int64_t pixel = p * at.columns + q;
            x[i] = image + n * pairs.of_image() + p * OPT_STRIDE * line + q * pairs.step() + group * pairs.run();
            to[i] = Y + (OPT_NHWC ? (n * plane + pixel) * at.k + k : (n * at.k + k) * plane + pixel);
        }
        int32_t sums[TILES][16 * N] __attribute__((aligned(64)));
        amx_tiles(x, pairs.step(), offsets, packed + block * block_size(), pairs.taps(), sums);
        for (int64_t i = 0; i < TILES; ++i) {
            for (int64_t j = 0; j < channels; j += 16) {
                if (OPT_NHWC) put_pixels(sums[i] + j, k + j, min_of(16, channels - j), to[i] + j);
                else put_planes(sums[i] + j, k + j, min_of(16, channels - j), to[i] + j * at.rows * at.columns);
            }
        }
    }

    void put(result* to, vec value, int64_t count) const {
        if (OPT_RESIDUAL) {
            result more[16] = {};
            memcpy(more, epilogue.residual + (to - Y), size_t(count) * sizeof(result));
            value += load(more);
        }
        value = activated(value);
        if (count == 16) return store(to, value);
        result part[16];
        store(part, value);
        memcpy(to, part, size_t(count) * sizeof(result));
    }

    static vec sums_at(const int32_t* sums) { return load(reinterpret_cast<const Sum*>(sums)); }

    // 16 output channels, of which `channels` are there, of each pixel.
    void put_pixels(const int32_t* sums, int64_t k, int64_t channels, result* to) const {
        addend more[16] = {};
        if (OPT_BIAS) memcpy(more, epilogue.bias + k, size_t(channels) * sizeof(addend));
        const vec shift = load(more);
        for (int64_t i = 0; i < pixels(); ++i) {
            put(to + i * at.k, OPT_BIAS ? sums_at(sums + i * N) + shift : sums_at(sums + i * N), channels);
        }
    }

    void put_planes(int32_t* sums, int64_t k, int64_t channels, result* to) const {
        for (int64_t i = pixels(); i < 16; ++i) memset(sums + i * N, 0, 64);
        int32_t planes[16 * 16] __attribute__((aligned(64)));
        transpose_tile(planes, 16, sums, N);
        for (int64_t j = 0; j < channels; ++j, to += at.rows * at.columns) {
            const vec sum = sums_at(planes + j * 16);
            put(to, OPT_BIAS ? sum + splat(Sum(epilogue.bias[k + j])) : sum, pixels());
        }
    }

    // What thread `index` of `team` does.
    void run(const element* X, int32_t* copy, int64_t team, int64_t index) const {
        const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, across = team / down;
        const Range channels = share(all_blocks(), 1, down, index % down), part = share(tiles(), 1, across, index / down);
        if (copy) pairs.copy(copy, X, team, index);
        if (!W_AHEAD) {
            const Range mine = share(all_blocks(), 1, team, index);
            for (int64_t block = mine.begin; block < mine.end; ++block) pack(block);
        }
        if (copy || !W_AHEAD) wait_for_team();
        const Tiles registers(pixels(), 6);  // sums and pixels; weights are whole
        const int64_t most = BLOCK ? BLOCK : max_of(part.size(), 1);
        for (int64_t begin = part.begin; begin < part.end; begin += most) {
            for (int64_t block = channels.begin; block < channels.end; ++block) {
                for (int64_t i = begin; i < min_of(begin + most, part.end); ++i) compute(block, i);
            }
        }
    }
};

// `ahead` is all blocks as `pack` makes them; null where they are packed in the call.
static int convolve(const element* X, const element* W, int32_t* ahead, const Epilogue& epilogue, result* Y,
                    const Shape& at) {
    if (!may_use_tiles()) return 3;
    static thread_local Arena arena;
    const Pairs pairs = {at};
    if (pairs.of_image() >= int64_t(1) << 31) return 2;  // an offset stays within one image
    TileConvolution work = {at, pairs, W, epilogue, Y, nullptr, nullptr, ahead, false};
    auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
    const int64_t copy = pairs.in_place() ? 0 : lines(at.n * pairs.of_image()), table = lines(pairs.taps() / CHUNK);
    Sum* memory = arena.reserve(copy + table + (W_AHEAD ? 0 : work.all_blocks() * work.block_size()));
    if (!memory) return 1;
    int32_t* units = reinterpret_cast<int32_t*>(memory);
    pairs.offsets(units + copy);
    work.image = pairs.in_place() ? reinterpret_cast<const int32_t*>(X) : units;
    work.offsets = units + copy;
    if (!W_AHEAD) work.packed = units + copy + table;
    work.flat = at.r == 1 && at.s == 1 && !PADDED && OPT_STRIDE == 1;
    int32_t* fresh = pairs.in_place() ? nullptr : units;
    BY_TEAM
    work.run(X, fresh, TEAM_SIZE, TEAM_INDEX);
    return 0;
}
