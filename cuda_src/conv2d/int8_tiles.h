// The int8 convolution of rungs 8 and 9: register tiles of pixels x vectors of output channels.
// The configuration's macros are defined before this is included, and W_AHEAD as 1 where the weights were packed before
// the call, else 0.
/*[tuner.shared]
[int8_tiles.let]
# Channels that one block may hold.
together = "k if group_c == 1 and group_k == 1 else group_k"

[int8_tiles.constraints]
# Sums, a row of weights and one pixel.
registers = "(PIXELS + 1) * vectors + 1 <= vector_registers"
channels_used = "CHANNELS < 2 * together or CHANNELS * 4 == vector_bytes"

[int8_tiles.features]
panel_bytes = "group_c * r * s * CHANNELS"
*/
#pragma once
#include "../common/arena.h"
#include "../common/requantize.h"
#include "../common/team.h"
#include "pixel_shape.h"
#include "unit_weights.h"

#if AMX
#include "amx.h"
#endif

#if AMX
enum : int64_t { MOST_PIXELS = 16 };  // that are finished together
#else
enum : int64_t { MOST_PIXELS = PIXELS };
#endif

struct Int8Convolution {
    const Shape& at;
    const Units units;
    const int8_t* W;
    const Epilogue epilogue;
    result* Y;
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
            to[i] = Y + (OPT_NHWC ? pixel * at.k + k : (n * at.k + k) * at.rows * at.columns + p * at.columns + q);
        }
        int32_t sums[TILES][16 * N] __attribute__((aligned(64)));
        amx_tiles(x, step, offsets, packed + block * block_size(), taps, sums);
        for (int64_t i = 0; i < TILES; ++i) {
            finish(sums[i], pixels(), k, channels, to[i]);
            if (OPT_NHWC) put_rows(sums[i], pixels(), channels, to[i]);
            else put_planes(sums[i], pixels(), channels, to[i]);
        }
    }
#else
    // A unit of the image in all lanes, as VNNI takes it.
    static vec everywhere(const char* from) {
        int32_t unit;
        memcpy(&unit, from, 4);
        return in_register(Units::AS_IT_IS ? splat(unit) ^ int32_t(0x80808080u) : splat(unit));
    }

    // M pixels whose windows begin at x, `step` bytes apart, to Y from element `to` on; channels k ..., `channels` of them.
    template <int M, bool DEPTHWISE>
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
                const vec one = DEPTHWISE ? vec{} : everywhere(pixel + i * step);
#pragma GCC unroll 16
                for (int j = 0; j < NV; ++j) {
                    const int32_t* each = reinterpret_cast<const int32_t*>(pixel + i * step) + j * LANES;
                    sums[i][j] = multiply_add(DEPTHWISE ? load(each) : one, row[j], sums[i][j]);
                }
            }
        }
        if (OPT_NHWC && channels == N) return finish_rows<M>(sums, k, to);
        // From here on in memory, where loops need not be unrolled: quick to compile, and little beside the sums.
        int32_t done[M * N] __attribute__((aligned(VECTOR_BYTES)));
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) store(done + i * N + j * LANES, sums[i][j]);
        }
        finish(done, M, k, channels, to);
        if (OPT_NHWC) put_rows(done, M, channels, to);
        else put_planes(done, M, channels, to);
    }

    // Whole vectors of neighbours in Y go there from their registers.
    template <int M>
    __attribute__((always_inline)) void finish_rows(vec (&sums)[M][NV], int64_t k, result* to) const {
        const int32_t zero_point = OPT_ZERO_POINTS ? epilogue.zero[1] : 0;
        (void)zero_point;
#if OPT_QUANTIZED_RESIDUAL
        const Ratios ratios(epilogue.ratios, epilogue.least());
#endif
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            const vec addend = OPT_BIAS ? load(epilogue.bias + k + j * LANES) : vec{};
#if REQUANTIZED
            const floats factor = factors(epilogue.scale + k + j * LANES);
#endif
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                vec value = sums[i][j];
                if (OPT_BIAS) value += addend;
                if (RELU_OF_SUMS) value = value < vec{} ? vec{} : value;
#if OPT_QUANTIZED_RESIDUAL
                const vec more = load_bytes(epilogue.residual + (to - Y) + i * at.k + j * LANES);
                value = rescale_and_add(value, factor, zero_point, more, ratios);
#elif REQUANTIZED
                value = rescale(value, factor, zero_point);
#endif
                store(to + i * at.k + j * LANES, value);
            }
        }
    }
#endif

#if REQUANTIZED
    // Of the channels whose scales lie at `from`, or one for all.
    floats factors(const float* from) const { return OPT_SCALE_CHANNEL ? load_floats(from) : floats{} + *epilogue.scale; }
#endif

    template <class T>
    static const T* whole(T* buffer, const T* from, int64_t count) {
        if (count == N) return from;
        memcpy(buffer, from, size_t(count) * sizeof(T));
        return buffer;
    }

#if OPT_QUANTIZED_RESIDUAL
    // What is added to `pixels` x N results that belong to Y from `to` on.
    void residuals(int32_t* found, int64_t pixels, int64_t channels, const result* to) const {
        const int64_t pixel = OPT_NHWC ? at.k : 1, channel = OPT_NHWC ? 1 : at.rows * at.columns;
        const int8_t* from = epilogue.residual + (to - Y);
        for (int64_t i = 0; i < pixels; ++i) {
            for (int64_t j = 0; j < channels; ++j) found[i * N + j] = from[i * pixel + j * channel];
            for (int64_t j = channels; j < N; ++j) found[i * N + j] = 0;
        }
    }
#endif

    // Bias, activation, scale and residual of `pixels` x N sums, whose results belong to Y from `to` on.
    void finish(int32_t* sums, int64_t pixels, int64_t k, int64_t channels, const result* to) const {
        if (!OPT_BIAS && !OPT_RELU && !REQUANTIZED) return;
        int32_t more[N] = {};
        float multipliers[N] = {};
        const int32_t* addends = OPT_BIAS ? whole(more, epilogue.bias + k, channels) : more;
        const float* by = OPT_SCALE_CHANNEL ? whole(multipliers, epilogue.scale + k, channels) : epilogue.scale;
#if OPT_QUANTIZED_RESIDUAL
        int32_t residual[MOST_PIXELS * N];
        residuals(residual, pixels, channels, to);
        const Ratios ratios(epilogue.ratios, epilogue.least());
#endif
        for (int64_t j = 0; j < N; j += LANES) {
            const vec addend = load(addends + j);
#if REQUANTIZED
            const floats factor = factors(by + j);
#endif
            for (int64_t i = 0; i < pixels; ++i) {
                vec value = load(sums + i * N + j);
                if (OPT_BIAS) value += addend;
                if (RELU_OF_SUMS) value = value < vec{} ? vec{} : value;
#if REQUANTIZED
                const int32_t zero_point = OPT_ZERO_POINTS ? epilogue.zero[1] : 0;
#if OPT_QUANTIZED_RESIDUAL
                value = rescale_and_add(value, factor, zero_point, load(residual + i * N + j), ratios);
#else
                value = rescale(value, factor, zero_point);
#endif
                if (!OPT_NHWC) value = clamped(value);  // planes are put together of the lowest bytes
#endif
                store(sums + i * N + j, value);
            }
        }
        (void)by, (void)to;
    }

    void put_rows(const int32_t* sums, int64_t pixels, int64_t channels, result* to) const {
        for (int64_t i = 0; i < pixels; ++i, sums += N, to += at.k) {
            result part[N];
            result* row = channels == N ? to : part;
            for (int j = 0; j < N; j += LANES) store(row + j, load(sums + j));
            if (channels != N) memcpy(to, part, size_t(channels) * sizeof(result));
        }
    }

    void put_planes(const int32_t* sums, int64_t pixels, int64_t channels, result* to) const {
        const int64_t plane = at.rows * at.columns;
#if REQUANTIZED
        // Four pixels of a channel in one word, the channels side by side; the last four overlap those before.
        for (int64_t begin = 0; pixels >= 4 && begin < pixels; begin += 4) {
            const int64_t i = min_of(begin, pixels - 4);
            int32_t words[N];
            for (int j = 0; j < N; j += LANES) {
                const int32_t* from = sums + i * N + j;
                const vec low = (load(from) & 255) | (load(from + N) & 255) << 8;
                store(words + j, low | (load(from + 2 * N) & 255) << 16 | load(from + 3 * N) << 24);
            }
            for (int64_t j = 0; j < channels; ++j) memcpy(to + j * plane + i, words + j, 4);
        }
        if (pixels >= 4) return;
#endif
#if !REQUANTIZED
        // Blocks of four by four; the last ones overlap those before.
        if (pixels >= 4 && channels >= 4) {
            for (int64_t j = 0; j < channels; j += 4) {
                for (int64_t i = 0; i < pixels; i += 4) {
                    const int64_t channel = min_of(j, channels - 4), pixel = min_of(i, pixels - 4);
                    const float* from = reinterpret_cast<const float*>(sums + pixel * N + channel);
                    transpose4(reinterpret_cast<float*>(to + channel * plane + pixel), plane, from, N);
                }
            }
            return;
        }
#endif
        for (int64_t j = 0; j < channels; ++j) {
            for (int64_t i = 0; i < pixels; ++i) to[j * plane + i] = result(sums[i * N + j]);
        }
    }

#if AMX
    void compute(int64_t block, Range tiles) const {
        for (int64_t i = tiles.begin; i < tiles.end; ++i) compute(block, i);
    }
#else
    // Tiles of a row follow each other, rows, and images: nothing is divided between them.
    void compute(int64_t block, Range tiles) const {
        const int64_t group = block / blocks(), begin = block % blocks() * N, k = group * outer() + begin;
        const int64_t channels = min_of(N, outer() - begin), a_row = tiles_a_row(), row = tiles.begin / a_row;
        // The last tile of a row begins early enough to be whole; rows shorter than a tile go pixel by pixel.
        const int64_t unit = columns() < PIXELS ? 1 : PIXELS, last = columns() - unit;
        const int64_t first = units.depthwise() ? 4 * begin : group * units.group_bytes();
        const int64_t step = OPT_STRIDE * units.pixel_bytes(), line = OPT_STRIDE * units.line_bytes();
        const int32_t* weights = packed + block * block_size();
        const bool whole = unit == PIXELS;
        int64_t n = row / rows(), p = row % rows(), number = tiles.begin % a_row;
        for (int64_t i = tiles.begin; i < tiles.end; ++i) {
            const int64_t q = min_of(number * unit, last), pixel = (n * at.rows + p) * at.columns + q;
            const char* x = image + n * units.image_bytes() + p * line + q * step + first;
            result* to = Y + (OPT_NHWC ? pixel * at.k + k : (n * at.k + k) * at.rows * at.columns + p * at.columns + q);
#if OPT_GROUPS > 1
            if (units.depthwise()) {
                if (whole) tile<PIXELS, true>(x, step, weights, k, channels, to);
                else tile<1, true>(x, step, weights, k, channels, to);
            } else
#endif
            if (whole) tile<PIXELS, false>(x, step, weights, k, channels, to);
            else tile<1, false>(x, step, weights, k, channels, to);
            if (++number < a_row) continue;
            number = 0;
            if (++p < rows()) continue;
            p = 0, ++n;
        }
    }
#endif

    // What thread `index` of `team` does. `wait` is a barrier of the team.
    template <class Wait>
    void run(const int8_t* X, char* copy, int64_t team, int64_t index, Wait wait) const {
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
            for (int64_t block = channels.begin; block < channels.end; ++block) {
                compute(block, Range{begin, min_of(begin + most, pixels.end)});
            }
        }
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
    Int8Convolution work = {at, units, W, epilogue, Y, nullptr, nullptr, ahead, false};
    auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
    // Behind the last pixel there is room for the rest of a vector of channels.
    const int64_t copied = units.in_place() ? 0 : lines(ceil_div(at.n * units.image_bytes(), 4) + N);
    const int64_t table = lines(units.taps());
    const int64_t all = work.groups() * work.blocks() * work.block_size();
    int32_t* memory = arena.reserve(copied + table + (W_AHEAD ? 0 : all));
    if (!memory) return 1;
    units.offsets(memory + copied);
    char* copy = reinterpret_cast<char*>(memory);
    work.image = units.in_place() ? reinterpret_cast<const char*>(X) : copy;
    work.offsets = memory + copied;
    if (!W_AHEAD) work.packed = memory + copied + table;
    work.flat = at.r == 1 && at.s == 1 && !PADDED && OPT_STRIDE == 1;
    BY_TEAM
    work.run(X, copy, TEAM_SIZE, TEAM_INDEX, [] { wait_for_team(); });
    return 0;
}
