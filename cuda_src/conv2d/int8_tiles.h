// The int8 convolution of rungs 8 and 9: register tiles of pixels x vectors of output channels.
// The configuration's macros are defined before this is included, and W_AHEAD as 1 where the weights were packed before
// the call, else 0.
/*[tuner.shared]
[int8_tiles.parameters]
SHIFT = { values = ["each", "block"], doc = "bytes of an image that VNNI takes as it lies are shifted each time they are read, or, for 1x1 kernels, once in a copy of the BLOCK tiles that are computed next" }

[int8_tiles.let]
# Channels that one block may hold.
together = "k if group_c == 1 and group_k == 1 else group_k"
quads = "has_avx512vnni or has_avxvnni and vector_bytes == 32"

[int8_tiles.constraints]
shift_of_points = "SHIFT == 'each' or (quads and nhwc and one_row and BLOCK > 0 and 2 * BLOCK * PIXELS * c <= l1d_bytes)"
# Sums, a row of weights and one pixel.
registers = "(PIXELS + 1) * vectors + 1 <= vector_registers"
channels_used = "CHANNELS < 2 * together or CHANNELS * 4 == vector_bytes"

[int8_tiles.features]
panel_bytes = "group_c * r * s * CHANNELS"
*/
#pragma once
#include "../common/arena.h"
#include "../common/team.h"
#include "../common/text.h"
#include "int8_results.h"
#include "pixel_shape.h"
#include "unit_weights.h"

#if AMX
#include "amx.h"
#else
static constexpr bool SHIFT_BLOCKS = Units::AS_IT_IS && TEXT(SHIFT)[0] == 'b';
#endif

struct Int8Convolution {
    const Shape& at;
    const Units units;
    const int8_t* W;
    const Int8Results results;
    const char* image;       // [n][y][x][units], or X
    const int32_t* offsets;  // [taps]: from a window's first unit
    int32_t* packed;         // [blocks][taps + EXTRA][N]; with W_AHEAD it is read alone
    bool flat;               // rows of the image follow each other without a gap: they are one row
    const int64_t taps = units.taps();

    int64_t rows() const { return flat ? 1 : at.rows; }
    int64_t columns() const { return flat ? at.rows * at.columns : at.columns; }
    int64_t groups() const { return units.depthwise() ? 1 : OPT_GROUPS; }
    int64_t outer() const { return units.depthwise() ? at.k : at.outer; }
    int64_t blocks() const { return ceil_div(outer(), N); }  // of output channels, in a group
    int64_t block_size() const { return (taps + EXTRA) * N; }
#if AMX
    // Rows are cut into pieces of up to 16 pixels, and TILES pieces, of whatever rows, are computed together.
    int64_t pieces() const { return ceil_div(columns(), 16); }
    int64_t pixels() const { return ceil_div(columns(), pieces()); }
    int64_t tiles() const { return ceil_div(at.n * rows() * pieces(), TILES); }
#else
    int64_t tiles_a_row() const { return columns() < PIXELS ? columns() : ceil_div(columns(), PIXELS); }
    int64_t tiles() const { return at.n * rows() * tiles_a_row(); }
#endif

    void pack(int64_t block) const {
        const int64_t begin = block % blocks() * N;
        const UnitWeights weights = {units, W};
        weights.pack<N>(packed + block * block_size(), block / blocks() * outer() + begin, min_of(N, outer() - begin));
    }

#if AMX
    void compute(int64_t block, int64_t number) const {
        const int64_t group = block / blocks(), begin = block % blocks() * N, k = group * outer() + begin;
        const int64_t step = OPT_STRIDE * units.of_pixel(), channels = min_of(N, outer() - begin);
        const int32_t* x[TILES];
        result* to[TILES];
        for (int64_t i = 0; i < TILES; ++i) {
            const int64_t piece = min_of(number * TILES + i, at.n * rows() * pieces() - 1), row = piece / pieces();
            const int64_t p = row % rows(), n = row / rows();
            const int64_t q = min_of(piece % pieces() * pixels(), columns() - pixels()), pixel = (n * at.rows + p) * at.columns + q;
            const int32_t* first = reinterpret_cast<const int32_t*>(image) + n * units.of_image();
            x[i] = first + p * OPT_STRIDE * at.wide() * units.of_pixel() + q * step + group * units.of_group();
            to[i] = results.Y + (OPT_NHWC ? pixel * at.k + k : (n * at.k + k) * at.rows * at.columns + p * at.columns + q);
        }
        int32_t sums[TILES][16 * N] __attribute__((aligned(64)));
        amx_tiles(x, step, offsets, packed + block * block_size(), taps, sums);
        for (int64_t i = 0; i < TILES; ++i) {
            results.put(sums[i], pixels(), k, channels, to[i]);
        }
    }
#else
    // A unit of the image in all lanes, as VNNI takes it.
    template <bool SHIFTED>
    static vec everywhere(const char* from) {
        int32_t unit;
        memcpy(&unit, from, 4);
        return in_register(SHIFTED ? splat(unit) : splat(unit) ^ int32_t(0x80808080u));
    }

    // M pixels whose windows begin at x, `step` bytes apart, to Y from element `to` on; channels k ..., `channels` of them.
    // SHIFTED: their bytes are as VNNI takes them.
    template <int M, bool DEPTHWISE, bool SHIFTED>
    __attribute__((noinline)) void tile(const char* x, int64_t step, const int32_t* weights, int64_t k,
                                        int64_t channels, result* to) const {
        vec sums[M][NV];
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) sums[i][j] = EXTRA ? load(weights + taps * N + j * LANES) : vec{};
        }
#pragma GCC unroll STEPS
        for (int64_t p = 0; p < taps; ++p) {
            const char* pixel = x + offsets[p];
            vec row[NV];
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) row[j] = load(weights + p * N + j * LANES);
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                const vec one = DEPTHWISE ? vec{} : everywhere<SHIFTED>(pixel + i * step);
#pragma GCC unroll 16
                for (int j = 0; j < NV; ++j) {
                    const int32_t* each = reinterpret_cast<const int32_t*>(pixel + i * step) + j * LANES;
                    sums[i][j] = multiply_add(DEPTHWISE ? load(each) : one, row[j], sums[i][j]);
                }
            }
        }
        if (OPT_NHWC && channels == N) return results.put_registers<M>(sums, k, to);
        // From here on in memory, where loops need not be unrolled: quick to compile, and little beside the sums.
        int32_t done[M * N] __attribute__((aligned(VECTOR_BYTES)));
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) store(done + i * N + j * LANES, sums[i][j]);
        }
        results.put(done, M, k, channels, to);
    }
#endif

#if AMX
    void compute(int64_t block, Range tiles) const {
        for (int64_t i = tiles.begin; i < tiles.end; ++i) compute(block, i);
    }
#else
    // Tiles of a row follow each other, rows, and images: nothing is divided between them. The image lies at `from`, but for
    // its first bytes, `left_out`.
    template <bool SHIFTED>
    void compute(int64_t block, Range tiles, const char* from, int64_t left_out) const {
        const int64_t group = block / blocks(), begin = block % blocks() * N, k = group * outer() + begin;
        const int64_t channels = min_of(N, outer() - begin), a_row = tiles_a_row(), row = tiles.begin / a_row;
        // The last tile of a row begins early enough to be whole; rows shorter than a tile go pixel by pixel.
        const int64_t last = columns() - tile_pixels();
        const int64_t first = (units.depthwise() ? 4 * begin : group * units.group_bytes()) - left_out;
        const int64_t step = OPT_STRIDE * units.pixel_bytes(), line = OPT_STRIDE * units.line_bytes();
        const int32_t* weights = packed + block * block_size();
        const bool whole = tile_pixels() == PIXELS;
        int64_t n = row / rows(), p = row % rows(), number = tiles.begin % a_row;
        for (int64_t i = tiles.begin; i < tiles.end; ++i) {
            const int64_t q = min_of(number * tile_pixels(), last), pixel = (n * at.rows + p) * at.columns + q;
            const char* x = from + (n * units.image_bytes() + p * line + q * step + first);
            result* to = results.Y + (OPT_NHWC ? pixel * at.k + k : (n * at.k + k) * at.rows * at.columns + p * at.columns + q);
#if OPT_GROUPS > 1
            if (units.depthwise()) {
                if (whole) tile<PIXELS, true, true>(x, step, weights, k, channels, to);
                else tile<1, true, true>(x, step, weights, k, channels, to);
            } else
#endif
            if (whole) tile<PIXELS, false, SHIFTED>(x, step, weights, k, channels, to);
            else tile<1, false, SHIFTED>(x, step, weights, k, channels, to);
            if (++number < a_row) continue;
            number = 0;
            if (++p < rows()) continue;
            p = 0, ++n;
        }
    }

    // Whether pixels are read from a shifted copy of a block of them, in which they follow each other as in the image.
    bool shifts_blocks() const { return SHIFT_BLOCKS && flat && !units.depthwise(); }
    int64_t tile_pixels() const { return columns() < PIXELS ? 1 : PIXELS; }

    // The bytes of a block of tiles as VNNI takes them, and where in the image they begin.
    int64_t shift(char* to, Range tiles) const {
        auto pixel = [&](int64_t tile) {
            const int64_t a_row = tiles_a_row();
            return tile / a_row * columns() + min_of(tile % a_row * tile_pixels(), columns() - tile_pixels());
        };
        const int64_t first = pixel(tiles.begin) * units.pixel_bytes();
        const int64_t bytes = (pixel(tiles.end - 1) + tile_pixels()) * units.pixel_bytes() - first;
        const char* from = image + first;
        for (int64_t i = 0; i < bytes; ++i) to[i] = char(from[i] ^ -128);
        return first;
    }

    void compute(int64_t block, Range tiles) const { compute<!Units::AS_IT_IS>(block, tiles, image, 0); }
#endif

    // What thread `index` of `team` does. `wait` is a barrier of the team; `shifted` has room for a block of pixels.
    template <class Wait>
    void run(const int8_t* X, char* copy, char* shifted, int64_t team, int64_t index, Wait wait) const {
        const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, across = team / down, all = groups() * blocks();
        const Range channels = share(all, 1, down, index % down), pixels = share(tiles(), 1, across, index / down);
        if (!units.in_place()) units.copy(copy, X, team, index);
        if (!W_AHEAD) {
            const Range mine = share(all, 1, team, index);
            for (int64_t block = mine.begin; block < mine.end; ++block) pack(block);
        }
        if (!W_AHEAD || !units.in_place()) wait();
#if AMX
        const Tiles registers(this->pixels(), 6);  // sums and pixels; weights are whole
#endif
        const int64_t most = BLOCK ? BLOCK : max_of(pixels.size(), 1);
        for (int64_t begin = pixels.begin; begin < pixels.end; begin += most) {
            const Range some = {begin, min_of(begin + most, pixels.end)};
#if !AMX
            if (shifts_blocks()) {
                const int64_t first = shift(shifted, some);
                for (int64_t i = channels.begin; i < channels.end; ++i) compute<true>(i, some, shifted, first);
                continue;
            }
#endif
            for (int64_t block = channels.begin; block < channels.end; ++block) compute(block, some);
        }
        (void)shifted;
    }
};

// `ahead` is all blocks as `pack` makes them; null where they are packed in the call.
static int convolve(const int8_t* X, const int8_t* W, int32_t* ahead, const Epilogue& epilogue, result* Y,
                    const Shape& at) {
#if AMX
    if (!may_use_tiles()) return 3;
#endif
    static thread_local Arena arena;
    const Units units = {at, OPT_ZERO_POINTS ? epilogue.zero[0] : 0};
    if (units.image_bytes() >= int64_t(1) << 31) return 2;  // an offset stays within one image
    Int8Convolution work = {at, units, W, {at, epilogue, Y}, nullptr, nullptr, ahead, false};
    auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
    // Behind the last pixel there is room for the rest of a vector of channels.
    const int64_t copied = units.in_place() ? 0 : lines(ceil_div(at.n * units.image_bytes(), 4) + N);
    const int64_t table = lines(units.taps());
    const int64_t all = work.groups() * work.blocks() * work.block_size();
#if AMX
    const int64_t shifted = 0;
#else
    // A unit may reach beyond the last pixel.
    const int64_t shifted = SHIFT_BLOCKS ? lines(ceil_div(max_of(BLOCK, 1) * PIXELS * units.pixel_bytes(), 4) + 1) : 0;
#endif
    int32_t* memory = arena.reserve(copied + table + shifted * threads + (W_AHEAD ? 0 : all));
    if (!memory) return 1;
    units.offsets(memory + copied);
    char* copy = reinterpret_cast<char*>(memory);
    work.image = units.in_place() ? reinterpret_cast<const char*>(X) : copy;
    work.offsets = memory + copied;
    int32_t* blocks = memory + copied + table;
    if (!W_AHEAD) work.packed = blocks + shifted * threads;
    work.flat = at.r == 1 && at.s == 1 && !PADDED && OPT_STRIDE == 1;
    BY_TEAM
    {
        char* own = reinterpret_cast<char*>(blocks + shifted * TEAM_INDEX);
        work.run(X, copy, own, TEAM_SIZE, TEAM_INDEX, [] { wait_for_team(); });
    }
    return 0;
}
