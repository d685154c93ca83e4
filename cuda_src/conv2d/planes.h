// int8 images of planes as rungs 15 and 21 read and write them, with pixels along a vector: nothing is transposed. Units of
// four neighbours in the depth are four planes, interleaved byte by byte:
//
//   planes    a b c ...    units  [a e i m] [b f j n] [c g k o] ...
//             e f g ...
//             i j k ...    An image is one line of pixels, its padding included: a tap is a distance, and the pixels that
//             m n o ...    no result belongs to are taken out of a register of results before it is written.
//
// With a stride of 2 lines and columns are sorted by their remainders into four such images. The macro SHIFTED is 1 where
// an instruction wants units unsigned: 128 more. TOGETHER, defined before this, is how many tiles of sixteen pixels a
// product takes at a time.
//
// A rung is a Product of weights and such an image, of members of these names, and `convolve` a call of it.
#pragma once
#define HUGE_PAGES 1
#include <immintrin.h>

#include "../common/arena.h"
#include "../common/requantize.h"
#include "../common/team.h"
#include "../common/text.h"
#include "image.h"
#include "results.h"

static_assert(LANES == 16, "an index of sixteen pixels");
// Of 1x1 kernels only pixels that are computed next are copied, by each thread for itself.
static constexpr bool BY_TILES = TEXT(COPY)[0] == 't';

struct Planes {
    const Shape at;
    const int8_t* X;
    const Epilogue epilogue;
    result* Y;
    int32_t* image;  // [n][groups][units][remainders][line], or of some tiles [groups][units][TOGETHER][16]

    // Without padding or stride rows follow each other: they are one.
    static constexpr bool ONE_ROW = !PADDED && OPT_STRIDE == 1;
    bool point() const { return at.r == 1 && at.s == 1; }
    int64_t pitch() const { return ceil_div(at.wide(), OPT_STRIDE); }
    int64_t line() const { return ceil_div(at.high(), OPT_STRIDE) * pitch(); }
    // Of one unit; an odd number of cache lines, so that the same pixels of all units are not in one set of the cache.
    int64_t unit() const {
        if (BY_TILES) return TOGETHER * LANES;
        return (ceil_div((point() ? 1 : OPT_STRIDE * OPT_STRIDE) * line(), 16) | 1) * 16;
    }
    int64_t units() const { return ceil_div(at.inner, 4); }
    int64_t length() const { return (at.rows - 1) * pitch() + at.columns; }
    int64_t pixel_tiles() const { return ceil_div(length(), LANES); }  // of an image
    int64_t all_units() const { return (BY_TILES ? 1 : at.n) * OPT_GROUPS * units(); }

    // From a pixel to what a tap meets.
    int64_t distance(int64_t tap) const {
        const int64_t y = tap / at.s * OPT_DILATION, x = tap % at.s * OPT_DILATION;
        return (y % OPT_STRIDE * OPT_STRIDE + x % OPT_STRIDE) * line() + y / OPT_STRIDE * pitch() + x / OPT_STRIDE;
    }

    // The first pixel of a tile of an image, in a group's first unit.
    const int32_t* pixels(int64_t group, int64_t tile) const {
        if (BY_TILES) return image + group * units() * unit() + tile % TOGETHER * LANES;
        const int64_t n = tile / pixel_tiles();
        return image + (n * OPT_GROUPS + group) * units() * unit() + tile % pixel_tiles() * LANES;
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
            if (SHIFTED) four = _mm512_xor_si512(four, _mm512_set1_epi8(-128));
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
            const int32_t value = (OPT_ZERO_POINTS ? epilogue.zero[0] : 0) + (SHIFTED ? 128 : 0);
            const uint32_t around = 0x01010101u * uint8_t(value);
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

    // Tiles `begin` ..., a multiple of TOGETHER, of all groups, as many as there are.
    void copy_tiles(int64_t begin) const {
        const int64_t plane = at.h * at.w;
        for (int64_t tile = begin; tile < min_of(begin + TOGETHER, at.n * pixel_tiles()); ++tile) {
            const int64_t n = tile / pixel_tiles(), pixel = tile % pixel_tiles() * LANES;
            int32_t* to = image + (tile - begin) * LANES;
            for (int64_t group = 0; group < OPT_GROUPS; ++group) {
                const int8_t* from = X + (n * at.c + group * at.inner) * plane + pixel;
                for (int64_t channel = 0; channel < at.inner; channel += 4, to += unit(), from += 4 * plane) {
                    interleave(to, from, plane, min_of(4, at.inner - channel), min_of(LANES, plane - pixel), 0);
                }
            }
        }
    }

    Results results(int64_t tile) const {
        return results_from(tile % pixel_tiles() * LANES, pitch(), at.columns, length());
    }

    // Where the results of a tile's pixels in a channel are.
    int64_t place(int64_t channel, int64_t n, const Results& of) const {
        return (n * at.k + channel) * at.rows * at.columns + of.pixel;
    }

#if OPT_QUANTIZED_RESIDUAL
    typedef Ratios Added;
    Added added() const { return Ratios(epilogue.ratios, epilogue.least()); }
    // Brings near what is added there, while sums are made.
    void fetch(int64_t channel, int64_t n, const Results& of) const {
        __builtin_prefetch(epilogue.residual + place(channel, n, of));
    }
#else
    struct Added {};
    Added added() const { return {}; }
    void fetch(int64_t, int64_t, const Results&) const {}
#endif

    // The sums of a tile's pixels in one channel, to its plane of Y.
    void put(vec value, int64_t channel, int64_t n, const Results& of, const Added& ratios) const {
        result* to = Y + place(channel, n, of);
        const bool together = of.there == of.written;
        (void)ratios;
        if (OPT_BIAS) value += epilogue.bias[channel];
        if (RELU_OF_SUMS) value = value < vec{} ? vec{} : value;
#if REQUANTIZED
        const floats by = floats{} + epilogue.scale[OPT_SCALE_CHANNEL ? channel : 0];
        const int32_t zero_point = OPT_ZERO_POINTS ? epilogue.zero[1] : 0;
#if OPT_QUANTIZED_RESIDUAL
        const int8_t* from = epilogue.residual + (to - Y);
        const __m128i more = together ? _mm_maskz_loadu_epi8(of.written, from) : _mm_maskz_expandloadu_epi8(of.there, from);
        value = rescale_and_add(value, by, zero_point, (vec)_mm512_cvtepi8_epi32(more), ratios);
#else
        value = rescale(value, by, zero_point);
#endif
        const __m128i narrow = (__m128i)narrowed(value);
        _mm_mask_storeu_epi8(to, of.written, together ? narrow : _mm_maskz_compress_epi8(of.there, narrow));
#else
        const __m512i wide = (__m512i)value;
        _mm512_mask_storeu_epi32(to, of.written, together ? wide : _mm512_maskz_compress_epi32(of.there, wide));
#endif
    }
};

// What thread `index` of `team` does: it copies some units, then computes some of the `blocks()` of each group's channels with
// some pixels, TOGETHER tiles at a time. `Registers` lives meanwhile.
template <class Product>
static void run(const Product& work, int64_t team, int64_t index) {
    const Planes& planes = work.planes;
    if (!BY_TILES) {
        const Range copied = share(planes.all_units(), 1, team, index);
        for (int64_t i = copied.begin; i < copied.end; ++i) planes.copy(i);
        wait_for_team();
    }
    const typename Product::Registers registers{};
    const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, blocks = work.blocks();
    const Range channels = share(OPT_GROUPS * blocks, 1, down, index % down);
    const Range pixels = share(planes.at.n * planes.pixel_tiles(), TOGETHER, team / down, index / down);
    auto both = [&](int64_t block, int64_t tile) { work.compute(block / blocks, block % blocks, tile); };
    if (BY_TILES || TEXT(INNER)[0] == 'c') {
        for (int64_t tile = pixels.begin; tile < pixels.end; tile += TOGETHER) {
            if (BY_TILES) planes.copy_tiles(tile);
            for (int64_t block = channels.begin; block < channels.end; ++block) both(block, tile);
        }
    } else {
        for (int64_t block = channels.begin; block < channels.end; ++block) {
            for (int64_t tile = pixels.begin; tile < pixels.end; tile += TOGETHER) both(block, tile);
        }
    }
}

// `work` refers to `planes`. Its offsets, one for each of its `steps()`, are below its `reach()`.
template <class Product>
static int convolve(const Planes& planes, Product& work) {
    static thread_local Arena arena;
    if (work.reach() >= int64_t(1) << 31) return 2;  // an offset is 32 bits
    if (BY_TILES && !(planes.point() && Planes::ONE_ROW)) return 4;
    const int64_t copied = ceil_div(work.memory(), 16) * 16;
    int32_t* memory = arena.reserve(copied * (BY_TILES ? threads : 1) + work.steps());
    if (!memory) return 1;
    int32_t* offsets = memory + copied * (BY_TILES ? threads : 1);
    work.find_offsets(offsets);
    BY_TEAM
    {
        Planes mine = planes;
        mine.image = memory + (BY_TILES ? copied * TEAM_INDEX : 0);
        run(Product{mine, work.W, work.packed, offsets}, TEAM_SIZE, TEAM_INDEX);
    }
    return 0;
}
