/*[tuner]
name = "conv_depthwise_int8_nhwc"
operator = "conv2d"
summary = "int8, one filter a channel, NHWC: bytes of four rows are interleaved to the taps that VNNI adds up, 64 channels at a time."
dtypes = ["int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "scale", "Z", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points"]
requires = ["avx512vnni", "avx512bw", "avx512vl"]
use = ["cores"]

[supports]
"it computes depthwise convolutions: groups = c = k" = "group_c == 1 and group_k == 1"
"it reads images whose channels lie together: NHWC" = "nhwc"
"a filter has at most 64 columns of four taps" = "s * ceildiv(r, 4) <= 64"

[parameters]
PIXELS = { values = [4, 1, 2, 3, 5], doc = "pixels of the register tile, of one row of the image" }
FIXED = { values = [true, false], doc = "code of its own for kernels of 3x3 and 5x5" }

[constraints]
pixels_used = "PIXELS <= q"
*/
// Rung 20. In NHWC the neighbours of a byte are other channels, and the four taps that VNNI adds up lie rows apart. Two
// rounds of interleaving make them of four rows of 64 channels: four registers, each with the units of sixteen channels.
// Every column of an image is interleaved once and multiplied by all columns of the filter that meet it:
//
//   rows of a column   a0 a1 a2 ...      units  [a0 b0 c0 0] [a1 b1 c1 0] ...     weights, a register for each column
//                      b0 b1 b2 ...                                               of taps   [x y z 0] ...
//                      c0 c1 c2 ...
//
// A register's units are not of neighbouring channels, but of four in each of its quarters; packing sums into bytes puts
// them back in order. Nothing is copied: lanes beyond the image are the value of its padding.
#define HUGE_PAGES 1
#include <immintrin.h>

#include "../common/arena.h"
#include "../common/dots8.h"
#include "../common/requantize.h"
#include "../common/team.h"
#include "image.h"

static_assert(QUADS && LANES == 16, "units of four bytes, sixteen in a register");

struct Int8DepthwiseNhwc {
    const Shape at;
    const int8_t *X, *W;
    const int32_t *bias, *zero;
    const float* scale;
    result* Y;
    enum : int64_t { CHUNK = 64, MOST_COLUMNS = 64 };

    // Of 64 channels: each column of taps as four registers of units, what sums begin with, and scales in their order.
    struct Filters {
        alignas(64) int8_t taps[MOST_COLUMNS][4][CHUNK];
        alignas(64) int32_t first[4][LANES];
        alignas(64) float by[4][LANES];
    };

    // Registers, quarters and units of channel i of a chunk.
    static int64_t register_of(int64_t i) { return i % 16 / 4; }
    static int64_t lane_of(int64_t i) { return i / 16 * 4 + i % 4; }

    template <int R, int S>
    void pack(Filters& to, int64_t channel, int64_t count) const {
        const int64_t r = R ? R : at.r, s = S ? S : at.s, columns = ceil_div(r, GROUP) * s;
        memset(to.taps, 0, size_t(columns * 4 * CHUNK));
        memset(to.first, 0, sizeof to.first);
        memset(to.by, 0, sizeof to.by);
        for (int64_t i = 0; i < count; ++i) {
            const int64_t j = register_of(i), lane = lane_of(i);
            const int8_t* from = W + (channel + i) * r * s;
            for (int64_t y = 0; y < r; ++y) {
                for (int64_t x = 0; x < s; ++x) to.taps[y / GROUP * s + x][j][lane * GROUP + y % GROUP] = from[y * s + x];
            }
            if (OPT_BIAS) to.first[j][lane] = bias[channel + i];
#if REQUANTIZED
            to.by[j][lane] = scale[OPT_SCALE_CHANNEL ? channel + i : 0];
#endif
        }
        const units highest = units{} + int32_t(0x80808080u);
        for (int64_t j = 0; j < 4; ++j) {
            units sums = {};
            for (int64_t column = 0; column < columns; ++column) {
                sums = multiply_add(highest, (units)_mm512_load_si512(to.taps[column][j]), sums);
            }
            store(to.first[j], load(to.first[j]) - sums);
        }
    }

    // 64 channels of a column of the image in four rows from `y` on, interleaved; `mask` are the channels there are.
    __attribute__((always_inline)) void interleave(__m512i (&out)[4], const int8_t* channels, int64_t y, int64_t x,
                                                   __mmask64 mask, int64_t rows, __m512i around) const {
        __m512i row[4];
#pragma GCC unroll 4
        for (int64_t i = 0; i < 4; ++i) {
            const int64_t line = y + i * OPT_DILATION;
            const bool inside = line >= 0 && line < at.h && x >= 0 && x < at.w;
            if (i >= rows) row[i] = _mm512_setzero_si512();  // multiplied by 0
            else row[i] = _mm512_mask_loadu_epi8(around, inside ? mask : 0, channels + (inside ? (line * at.w + x) * at.c : 0));
            row[i] = _mm512_xor_si512(row[i], _mm512_set1_epi8(-128));
        }
        const __m512i low = _mm512_unpacklo_epi8(row[0], row[1]), high = _mm512_unpackhi_epi8(row[0], row[1]);
        const __m512i low_after = _mm512_unpacklo_epi8(row[2], row[3]), high_after = _mm512_unpackhi_epi8(row[2], row[3]);
        out[0] = _mm512_unpacklo_epi16(low, low_after);
        out[1] = _mm512_unpackhi_epi16(low, low_after);
        out[2] = _mm512_unpacklo_epi16(high, high_after);
        out[3] = _mm512_unpackhi_epi16(high, high_after);
    }

    // The sums of a pixel's 64 channels, to Y from `to` on.
    __attribute__((always_inline)) void finish(result* to, const vec (&sums)[4], const Filters& filters, __mmask64 mask) const {
        __m512i value[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
            vec sum = sums[j];
            if (OPT_RELU) sum = sum < vec{} ? vec{} : sum;
#if REQUANTIZED
            sum = rescale(sum, load_floats(filters.by[j]), OPT_ZERO_POINTS ? zero[1] : 0);
#endif
            value[j] = (__m512i)sum;
        }
#if REQUANTIZED
        const __m512i low = _mm512_packs_epi32(value[0], value[1]), high = _mm512_packs_epi32(value[2], value[3]);
        _mm512_mask_storeu_epi8(to, mask, _mm512_packs_epi16(low, high));
#else
        (void)filters;
        // Quarters of registers, four by four.
        const __m512i a = _mm512_shuffle_i32x4(value[0], value[1], 0x44), b = _mm512_shuffle_i32x4(value[0], value[1], 0xee);
        const __m512i c = _mm512_shuffle_i32x4(value[2], value[3], 0x44), d = _mm512_shuffle_i32x4(value[2], value[3], 0xee);
        const __m512i out[4] = {_mm512_shuffle_i32x4(a, c, 0x88), _mm512_shuffle_i32x4(a, c, 0xdd),
                                _mm512_shuffle_i32x4(b, d, 0x88), _mm512_shuffle_i32x4(b, d, 0xdd)};
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) _mm512_mask_storeu_epi32(to + j * LANES, __mmask16(mask >> (j * LANES)), out[j]);
#endif
    }

    // M pixels from (p, q) of image n on, channels `channel` ... R and S are the kernel's size, 0 where it is not known.
    template <int M, int R, int S>
    __attribute__((noinline)) void tile(const Filters& filters, int64_t n, int64_t channel, int64_t p, int64_t q,
                                        __mmask64 mask, __m512i around) const {
        const int64_t r = R ? R : at.r, s = S ? S : at.s;
        const int8_t* from = X + n * at.h * at.w * at.c + channel;
        vec sums[M][4];
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) sums[i][j] = load(filters.first[j]);
        }
        for (int64_t y = 0; y < r; y += GROUP) {
            const int64_t line = p * OPT_STRIDE - TOP + y * OPT_DILATION, left = q * OPT_STRIDE - LEFT;
            const auto* taps = filters.taps + y / GROUP * s;
            if (S && OPT_DILATION == 1) {
                // Columns of the image, each for all pixels whose windows have it.
#pragma GCC unroll 16
                for (int x = 0; x < (M - 1) * OPT_STRIDE + S; ++x) {
                    __m512i column[4];
                    interleave(column, from, line, left + x, mask, r - y, around);
#pragma GCC unroll 8
                    for (int i = 0; i < M; ++i) {
                        const int tap = x - i * OPT_STRIDE;
                        if (tap < 0 || tap >= S) continue;
#pragma GCC unroll 4
                        for (int j = 0; j < 4; ++j) {
                            sums[i][j] = multiply_add((units)column[j], (units)_mm512_load_si512(taps[tap][j]), sums[i][j]);
                        }
                    }
                }
                continue;
            }
            for (int64_t x = 0; x < s; ++x) {
#pragma GCC unroll 8
                for (int i = 0; i < M; ++i) {
                    __m512i column[4];
                    interleave(column, from, line, left + i * OPT_STRIDE + x * OPT_DILATION, mask, r - y, around);
#pragma GCC unroll 4
                    for (int j = 0; j < 4; ++j) {
                        sums[i][j] = multiply_add((units)column[j], (units)_mm512_load_si512(taps[x][j]), sums[i][j]);
                    }
                }
            }
        }
        result* to = Y + ((n * at.rows + p) * at.columns + q) * at.k + channel;
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) finish(to + i * at.k, sums[i], filters, mask);
    }

    template <int R, int S>
    void compute(Filters& filters, Range rows) const {
        const __m512i around = _mm512_set1_epi8(char(OPT_ZERO_POINTS ? zero[0] : 0));
        for (int64_t channel = 0; channel < at.c; channel += CHUNK) {
            const int64_t count = min_of(CHUNK, at.c - channel);
            const __mmask64 mask = ~uint64_t(0) >> (CHUNK - count);
            pack<R, S>(filters, channel, count);
            for (int64_t row = rows.begin; row < rows.end; ++row) {
                const int64_t n = row / at.rows, p = row % at.rows;
                if (at.columns < PIXELS) {
                    for (int64_t q = 0; q < at.columns; ++q) tile<1, R, S>(filters, n, channel, p, q, mask, around);
                    continue;
                }
                // The last tile begins early enough to be whole.
                for (int64_t q = 0; q < at.columns; q += PIXELS) {
                    tile<PIXELS, R, S>(filters, n, channel, p, min_of(q, at.columns - PIXELS), mask, around);
                }
            }
        }
    }

    void run(Filters& filters, int64_t team, int64_t index) const {
        const Range mine = share(at.n * at.rows, 1, team, index);
        if (FIXED && at.r == 3 && at.s == 3) compute<3, 3>(filters, mine);
        else if (FIXED && at.r == 5 && at.s == 5) compute<5, 5>(filters, mine);
        else compute<0, 0>(filters, mine);
    }
};

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const float* scale, const int32_t* Z,
                      result* Y, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    static thread_local Arena arena;
    const Int8DepthwiseNhwc work = {Shape(n, c, h, w, k, r, s), X, W, bias, Z, scale, Y};
    typedef Int8DepthwiseNhwc::Filters Filters;
    Filters* filters = reinterpret_cast<Filters*>(arena.reserve(int64_t(sizeof(Filters)) / 4 * threads));
    if (!filters) return 1;
    BY_TEAM
    work.run(filters[TEAM_INDEX], TEAM_SIZE, TEAM_INDEX);
    return 0;
}
