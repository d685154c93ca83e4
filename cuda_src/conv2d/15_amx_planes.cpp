/*[tuner]
name = "conv_amx_planes"
operator = "conv2d"
summary = "int8 by AMX, planes in and planes out: pixels are a tile's columns, so nothing is transposed; frozen weights."
dtypes = ["int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "scale", "Z", "Y", "ahead", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points"]
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
SPLIT_K = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the output channels; the rest of them along pixels" }

[constraints]
tiles_in_registers = "DOWN * ACROSS + DOWN + ACROSS <= 8"
down_used = "DOWN == 1 or 16 * (DOWN - 1) < group_k"
across_used = "ACROSS == 1 or 16 * (ACROSS - 1) < n * p * q"
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
//
//   planes    a b c ...    units  [a e i m] [b f j n] [c g k o] ...        result  channel 0: pixels 0 ... 15
//             e f g ...                                                            channel 1: pixels 0 ... 15
//             i j k ...    An image is one line of pixels, its padding included: a tap is a distance, and the pixels that
//             m n o ...    no result belongs to are taken out of a register of results before it is written.
//
// With a stride of 2 lines and columns are sorted by their remainders into four such images.
#define HUGE_PAGES 1
#include <immintrin.h>

#include <utility>

#include "../common/amx_rows.h"
#include "../common/arena.h"
#include "../common/requantize.h"
#include "../common/team.h"
#include "../common/text.h"
#include "image.h"

static_assert(LANES == TILE, "a register holds a row of a tile");

struct Planes {
    const Shape at;
    const int8_t *X, *W;
    const int32_t *bias, *zero;
    const float* scale;
    result* Y;
    int8_t* packed;          // [groups][tiles of channels][chunks][16 channels][16 units]
    int32_t* image;          // [n][groups][units][remainders][line]
    const int32_t* offsets;  // [chunks]: from a pixel of the image
    enum : int64_t { TILE_BYTES = TILE * TILE_ROW_BYTES };

    // Without padding or stride rows follow each other: they are one.
    static constexpr bool ONE_ROW = !PADDED && OPT_STRIDE == 1;
    bool point() const { return at.r == 1 && at.s == 1; }
    int64_t pitch() const { return ceil_div(at.wide(), OPT_STRIDE); }
    int64_t line() const { return ceil_div(at.high(), OPT_STRIDE) * pitch(); }
    // Of one unit; an odd number of cache lines, so that rows of a tile are not all in one set of the cache.
    int64_t unit() const { return (ceil_div((point() ? 1 : OPT_STRIDE * OPT_STRIDE) * line(), 16) | 1) * 16; }
    int64_t units() const { return ceil_div(at.inner, 4); }
    int64_t chunks_a_tap() const { return ceil_div(units(), TILE); }
    int64_t chunks() const { return at.r * at.s * chunks_a_tap(); }
    int64_t channel_tiles() const { return ceil_div(at.outer, TILE); }  // of a group
    int64_t length() const { return (at.rows - 1) * pitch() + at.columns; }
    int64_t pixel_tiles() const { return ceil_div(length(), TILE); }  // of an image
    // Rows of the last tile may be units that are not there; they are multiplied by 0.
    int64_t memory() const { return (at.n * OPT_GROUPS * units() + TILE) * unit() + 4 * TILE; }

    void pack() const {
        int8_t* to = packed;
        for (int64_t i = 0; i < OPT_GROUPS * channel_tiles(); ++i) {
            const int64_t group = i / channel_tiles(), first = i % channel_tiles() * TILE;
            for (int64_t chunk = 0; chunk < chunks(); ++chunk, to += TILE_BYTES) {
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
        for (int64_t tap = 0; tap < at.r * at.s; ++tap) {
            const int64_t y = tap / at.s * OPT_DILATION, x = tap % at.s * OPT_DILATION;
            const int64_t remainder = y % OPT_STRIDE * OPT_STRIDE + x % OPT_STRIDE;
            const int64_t first = remainder * line() + y / OPT_STRIDE * pitch() + x / OPT_STRIDE;
            for (int64_t chunk = 0; chunk < chunks_a_tap(); ++chunk) *to++ = int32_t(first + chunk * TILE * unit());
        }
    }

    // `count` pixels of up to four planes as units; with a stride of 2 every second one, from the first or the second on.
    static void interleave(int32_t* to, const int8_t* from, int64_t plane, int64_t planes, int64_t count,
                           int64_t begin) {
        alignas(64) static constexpr uint8_t SIDE_BY_SIDE[64] = {
            0,  16, 32, 48, 1,  17, 33, 49, 2,  18, 34, 50, 3,  19, 35, 51, 4,  20, 36, 52, 5,  21,
            37, 53, 6,  22, 38, 54, 7,  23, 39, 55, 8,  24, 40, 56, 9,  25, 41, 57, 10, 26, 42, 58,
            11, 27, 43, 59, 12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63};
        const __m512i order = _mm512_load_si512(SIDE_BY_SIDE);
        const int64_t next = planes > 1 ? plane : 0, third = planes > 2 ? 2 * plane : 0, last = planes > 3 ? 3 * plane : 0;
        from += begin;
        for (int64_t x = 0; x < count; x += LANES) {
            const __mmask16 mask = first_lanes(count - x);
            auto row = [&](int64_t place) {
                if (OPT_STRIDE == 1) return _mm_maskz_loadu_epi8(mask, from + place + x);
                // The last pixel is the last byte that is read.
                const int64_t bytes = 2 * min_of(count - x, LANES) - 1;
                const __m256i both = _mm256_maskz_loadu_epi8(__mmask32((uint64_t(1) << bytes) - 1), from + place + 2 * x);
                return _mm256_cvtepi16_epi8(both);
            };
            __m512i four = _mm512_castsi128_si512(row(0));
            four = _mm512_inserti32x4(four, row(next), 1);
            four = _mm512_inserti32x4(four, row(third), 2);
            four = _mm512_inserti32x4(four, row(last), 3);
            _mm512_mask_storeu_epi32(to + x, mask, _mm512_permutexvar_epi8(order, four));
        }
    }

    // Unit `number` of all groups of all images.
    void copy(int64_t number) const {
        const int64_t u = number % units(), plane = at.h * at.w, planes = min_of(4, at.inner - u * 4);
        const int8_t* from = X + (number / units() * at.inner + u * 4) * plane;
        int32_t* to = image + number * unit();
        if (ONE_ROW) return interleave(to, from, plane, planes, plane, 0);
        if (PADDED) {
            const uint32_t around = 0x01010101u * uint8_t(OPT_ZERO_POINTS ? zero[0] : 0);
            for (int64_t i = 0; i < unit(); ++i) to[i] = int32_t(around);
        }
        for (int64_t y = 0; y < at.h; ++y) {
            for (int64_t begin = 0; begin < OPT_STRIDE; ++begin) {
                const int64_t row = y + TOP, column = begin + LEFT;
                const int64_t remainder = row % OPT_STRIDE * OPT_STRIDE + column % OPT_STRIDE;
                if (point() && remainder) continue;
                int32_t* place = to + remainder * line() + row / OPT_STRIDE * pitch() + column / OPT_STRIDE;
                interleave(place, from + y * at.w, plane, planes, (at.w - begin + OPT_STRIDE - 1) / OPT_STRIDE, begin);
            }
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

    // Tiles `block` of a group's channels and `begin` of the pixels, and those behind them, as many as there are.
    void compute(int64_t group, int64_t block, int64_t begin) const {
        const int64_t tiles = at.n * pixel_tiles();
        const int8_t *weights[DOWN], *pixels[ACROSS], *rows[ACROSS];
        for (int64_t i = 0; i < DOWN; ++i) {
            const int64_t tile = group * channel_tiles() + min_of(block + i, channel_tiles() - 1);
            weights[i] = packed + tile * chunks() * TILE_BYTES;
        }
        for (int64_t j = 0; j < ACROSS; ++j) {
            const int64_t tile = min_of(begin + j, tiles - 1), n = tile / pixel_tiles();
            const int64_t place = (n * OPT_GROUPS + group) * units() * unit() + tile % pixel_tiles() * TILE;
            pixels[j] = reinterpret_cast<const int8_t*>(image + place);
        }
        clear(std::make_integer_sequence<int, DOWN * ACROSS>());
        for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
            for (int64_t j = 0; j < ACROSS; ++j) rows[j] = pixels[j] + 4 * int64_t(offsets[chunk]);
            fetch<DOWN * ACROSS>(weights, TILE_ROW_BYTES, std::make_integer_sequence<int, DOWN>());
            fetch<DOWN * ACROSS + DOWN>(rows, 4 * unit(), std::make_integer_sequence<int, ACROSS>());
            multiply(std::make_integer_sequence<int, DOWN * ACROSS>());
            for (int64_t i = 0; i < DOWN; ++i) weights[i] += TILE_BYTES;
        }
        int32_t sums[DOWN * ACROSS * TILE_UNITS] __attribute__((aligned(64)));
        keep(sums, std::make_integer_sequence<int, DOWN * ACROSS>());
        for (int64_t i = 0; i < DOWN && block + i < channel_tiles(); ++i) {
            for (int64_t j = 0; j < ACROSS && begin + j < tiles; ++j) {
                finish(sums + (i * ACROSS + j) * TILE_UNITS, group * at.outer, (block + i) * TILE, begin + j);
            }
        }
    }

    // A tile of sums: channels `first` ... of the group that begins at channel `group`.
    void finish(const int32_t* sums, int64_t group, int64_t first, int64_t tile) const {
        const int64_t n = tile / pixel_tiles(), from = tile % pixel_tiles() * TILE, plane = at.rows * at.columns;
        const int64_t column = from % pitch();
        __mmask16 mask = first_lanes(length() - from);
        if (pitch() > at.columns) {
            __m512i columns = _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                               _mm512_set1_epi32(int32_t(column)));
            const __m512i all = _mm512_set1_epi32(int32_t(pitch()));
            for (__mmask16 over; (over = _mm512_cmpge_epi32_mask(columns, all));) {
                columns = _mm512_mask_sub_epi32(columns, over, columns, all);
            }
            mask &= _mm512_cmplt_epi32_mask(columns, _mm512_set1_epi32(int32_t(at.columns)));
        }
        const __mmask16 written = first_lanes(__builtin_popcount(mask));
        const int64_t place = from / pitch() * at.columns + min_of(column, at.columns);
        result* to = Y + (n * at.k + group + first) * plane + place;
        const int32_t zero_point = OPT_ZERO_POINTS ? zero[1] : 0;
        (void)zero_point;
        for (int64_t i = 0; i < min_of(TILE, at.outer - first); ++i, to += plane) {
            const int64_t channel = group + first + i;
            vec value = load(sums + i * TILE);
            if (OPT_BIAS) value += bias[channel];
            if (OPT_RELU) value = value < vec{} ? vec{} : value;
#if REQUANTIZED
            const floats by = floats{} + scale[OPT_SCALE_CHANNEL ? channel : 0];
            const __m128i narrow = (__m128i)__builtin_convertvector(requantize(value, by, zero_point), bytes);
            _mm_mask_storeu_epi8(to, written, mask == written ? narrow : _mm_maskz_compress_epi8(mask, narrow));
#else
            const __m512i wide = (__m512i)value;
            _mm512_mask_storeu_epi32(to, written, mask == written ? wide : _mm512_maskz_compress_epi32(mask, wide));
#endif
        }
    }

    // What thread `index` of `team` does. `wait` is a barrier of the team.
    template <class Wait>
    void run(int64_t team, int64_t index, Wait wait) const {
        const Range units_copied = share(at.n * OPT_GROUPS * units(), 1, team, index);
        for (int64_t i = units_copied.begin; i < units_copied.end; ++i) copy(i);
        wait();
        const Tiles registers;
        const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, blocks = ceil_div(channel_tiles(), DOWN);
        const Range channels = share(OPT_GROUPS * blocks, 1, down, index % down);
        const Range pixels = share(at.n * pixel_tiles(), ACROSS, team / down, index / down);
        auto both = [&](int64_t block, int64_t tile) { compute(block / blocks, block % blocks * DOWN, tile); };
        if (TEXT(INNER)[0] == 'c') {
            for (int64_t tile = pixels.begin; tile < pixels.end; tile += ACROSS) {
                for (int64_t block = channels.begin; block < channels.end; ++block) both(block, tile);
            }
        } else {
            for (int64_t block = channels.begin; block < channels.end; ++block) {
                for (int64_t tile = pixels.begin; tile < pixels.end; tile += ACROSS) both(block, tile);
            }
        }
    }
};

extern "C" int pack_ahead(const element* W, int8_t* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r,
                          int64_t s) {
    const Planes work = {Shape(n, c, h, w, k, r, s), nullptr, W, nullptr, nullptr, nullptr, nullptr, ahead, nullptr, nullptr};
    work.pack();
    return 0;
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const float* scale, const int32_t* Z,
                      result* Y, int8_t* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    if (!may_use_tiles()) return 3;
    static thread_local Arena arena;
    Planes work = {Shape(n, c, h, w, k, r, s), X, W, bias, Z, scale, Y, ahead, nullptr, nullptr};
    if (16 * work.unit() * (work.chunks_a_tap() + 1) >= int64_t(1) << 31) return 2;  // an offset is 32 bits
    const int64_t copied = ceil_div(work.memory(), 16) * 16;
    int32_t* memory = arena.reserve(copied + work.chunks());
    if (!memory) return 1;
    work.find_offsets(memory + copied);
    work.image = memory, work.offsets = memory + copied;
    BY_TEAM
    work.run(TEAM_SIZE, TEAM_INDEX, [] { wait_for_team(); });
    return 0;
}
