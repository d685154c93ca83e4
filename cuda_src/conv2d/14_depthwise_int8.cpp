/*[tuner]
name = "conv_depthwise_int8"
operator = "conv2d"
summary = "int8, one filter a channel: a permutation of bytes brings each pixel the four taps that VNNI adds up."
dtypes = ["int8"]
entry = "conv2d"
arguments = ["X", "W", "bias", "scale", "Z", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "zero_points"]
requires = ["avx512vnni", "avx512vbmi", "avx512bw", "avx512vl"]
use = ["cores"]

[supports]
"it computes depthwise convolutions: groups = c = k" = "group_c == 1 and group_k == 1"
"it reads images of planes: NCHW" = "not nhwc"
"sixteen pixels' windows have to lie within 64 bytes" = "15 * stride + 3 * dilation < 64"
"a filter has at most 64 groups of four taps" = "r * ceildiv(s, 4) <= 64"

[parameters]
PLANES = { values = [1, 2, 4, 8, 16], doc = "channels that are copied with their padding before the first of them is computed" }
FIXED = { values = [true, false], doc = "code of its own for kernels of 3x3 and 5x5" }

[constraints]
planes_used = "PLANES == 1 or PLANES * threads <= n * c"
planes_stay_in_l2 = "PLANES == 1 or 2 * PLANES * (h + top + bottom) * (w + left + right) <= l2_bytes"
*/
// Rung 14. The units of rungs 8 and 9 hold four bytes for every pixel of the image, gathered one by one, which takes longer
// than a depthwise convolution's nine products. Here a plane is copied as bytes, with its padding; 64 of them hold the
// windows of sixteen results, and one permutation (VBMI) makes sixteen units of them, each read from L1 once for every
// row of taps:
//
//   bytes   a b c d e f ...       units, stride 1   [a b c d] [b c d e] [c d e f] ...    weights   [x y z 0]
//                                 stride 2          [a b c d] [c d e f] ...
//
// Of narrow images a register holds the results of several rows, side by side as Y has them: 14 of 7 x 7. All results of a
// channel have one bias and one scale.
#define HUGE_PAGES 1
#include <immintrin.h>

#include "../common/arena.h"
#include "../common/requantize.h"
#include "../common/team.h"
#include "../common/dots8.h"
#include "image.h"

static_assert(QUADS && LANES == 16, "units of four bytes, sixteen in a register");

static inline uint64_t first_bits(int64_t count) { return count >= 64 ? ~uint64_t(0) : (uint64_t(1) << count) - 1; }

struct Int8Depthwise {
    const Shape at;
    const int8_t *X, *W;
    const int32_t *bias, *zero;
    const float* scale;
    result* Y;
    enum : int64_t { BYTES = 64, MOST_UNITS = 64 };

    // Bytes of a copied plane, with what the last load overhangs.
    int64_t plane() const { return ceil_div(at.high() * at.wide() + BYTES, BYTES) * BYTES; }
    // Unsigned, as VNNI wants one operand: 128 more.
    uint8_t padding() const { return uint8_t((OPT_ZERO_POINTS ? zero[0] : 0) + 128); }

    // Rows of the image that one load holds, and of results that one register does.
    int64_t rows_a_copy() const { return max_of(BYTES / at.wide(), 1); }
    int64_t rows_a_register() const {
        const int64_t fit = LANES / at.columns, within = BYTES - 1 - (at.columns - 1) * OPT_STRIDE - 3 * OPT_DILATION;
        return fit < 2 ? 1 : min_of(fit, 1 + within / (OPT_STRIDE * at.wide()));
    }

    // Which byte of a load each byte of some rows with padding is, and which of them are none.
    struct Rows {
        __m512i from;
        uint64_t inside;
    };
    Rows rows() const {
        alignas(64) uint8_t from[BYTES] = {};
        uint64_t inside = 0;
        for (int64_t i = 0; i < min_of(rows_a_copy() * at.wide(), BYTES); ++i) {
            const int64_t column = i % at.wide() - LEFT;
            if (column < 0 || column >= at.w) continue;
            from[i] = uint8_t(i / at.wide() * at.w + column);
            inside |= uint64_t(1) << i;
        }
        return {_mm512_load_si512(from), inside};
    }

    // Which byte of a load each byte of sixteen units is.
    __m512i windows() const {
        const int64_t rows = rows_a_register();
        alignas(64) uint8_t from[BYTES];
        for (int64_t i = 0; i < BYTES; ++i) {
            const int64_t lane = i / 4, row = rows > 1 ? lane / at.columns : 0, column = lane - row * at.columns;
            const int64_t place = (row * at.wide() + column) * OPT_STRIDE + i % 4 * OPT_DILATION;
            from[i] = uint8_t(row < rows ? place : 0);
        }
        return _mm512_load_si512(from);
    }

    // The rows above and below the image were filled before the first channel.
    void copy(uint8_t* to, const int8_t* from, const Rows& rows) const {
        const __m512i highest = _mm512_set1_epi8(-128), around = _mm512_set1_epi8(int8_t(padding()));
        to += TOP * at.wide();
        if (at.wide() <= BYTES) {
            const int64_t step = rows_a_copy();
            for (int64_t y = 0; y < at.h; y += step) {
                const int64_t count = min_of(step, at.h - y);
                const __m512i read = _mm512_maskz_loadu_epi8(first_bits(count * at.w), from + y * at.w);
                const __m512i higher = _mm512_xor_si512(read, highest);
                const __m512i row = _mm512_mask_permutexvar_epi8(around, rows.inside, rows.from, higher);
                _mm512_mask_storeu_epi8(to + y * at.wide(), first_bits(count * at.wide()), row);
            }
            return;
        }
        for (int64_t y = 0; y < at.h; ++y) {
            for (int64_t x = 0; x < at.w; x += BYTES) {
                const uint64_t mask = first_bits(at.w - x);
                const __m512i read = _mm512_maskz_loadu_epi8(mask, from + y * at.w + x);
                _mm512_mask_storeu_epi8(to + y * at.wide() + LEFT + x, mask, _mm512_xor_si512(read, highest));
            }
        }
    }

    // The first `count` of sixteen sums as results.
    static void finish(result* to, vec sums, floats by, int32_t zero_point, int64_t count) {
        if (OPT_RELU) sums = sums < vec{} ? vec{} : sums;
#if REQUANTIZED
        const bytes narrow = narrowed(rescale(sums, by, zero_point));
        _mm_mask_storeu_epi8(to, __mmask16(first_bits(min_of(count, LANES))), (__m128i)narrow);
#else
        (void)by, (void)zero_point;
        _mm512_mask_storeu_epi32(to, __mmask16(first_bits(min_of(count, LANES))), (__m512i)sums);
#endif
    }

    // One channel. R and S are the kernel's size, 0 where it is not known.
    template <int R, int S>
    void compute(const uint8_t* image, int64_t channel, __m512i window, result* to) const {
        const int64_t r = R ? R : at.r, s = S ? S : at.s, across = ceil_div(s, GROUP);
        const int64_t rows = rows_a_register(), pitch = at.wide();
        units taps[R ? R * ((S + 3) / 4) : MOST_UNITS];
        int32_t first = OPT_BIAS ? bias[channel] : 0;
#pragma GCC unroll 5
        for (int64_t y = 0; y < r; ++y) {
#pragma GCC unroll 2
            for (int64_t u = 0; u < across; ++u) {
                const int8_t* from = W + (channel * r + y) * s + u * GROUP;
                taps[y * across + u] = units{} + unit_w(from, 1, s - u * GROUP);
                first += first_of(from, 1, s - u * GROUP);
            }
        }
        const vec begin = vec{} + first;
#if REQUANTIZED
        const floats by = floats{} + scale[OPT_SCALE_CHANNEL ? channel : 0];
#else
        const floats by = {};
#endif
        const int32_t zero_point = OPT_ZERO_POINTS ? zero[1] : 0;
        for (int64_t p = 0; p < at.rows; p += rows) {
            for (int64_t q = 0; q < at.columns; q += LANES) {
                const uint8_t* from = image + p * OPT_STRIDE * pitch + q * OPT_STRIDE;
                vec sums = begin;
#pragma GCC unroll 5
                for (int64_t y = 0; y < r; ++y) {
#pragma GCC unroll 2
                    for (int64_t u = 0; u < across; ++u) {
                        const __m512i bytes_read = _mm512_loadu_si512(from + (y * pitch + u * GROUP) * OPT_DILATION);
                        const units pixels = (units)_mm512_permutexvar_epi8(window, bytes_read);
                        sums = multiply_add(pixels, taps[y * across + u], sums);
                    }
                }
                const int64_t left = rows > 1 ? min_of(rows, at.rows - p) * at.columns : at.columns - q;
                finish(to + p * at.columns + q, sums, by, zero_point, left);
            }
        }
    }

    void run(uint8_t* memory, int64_t team, int64_t index) const {
        const Range mine = share(at.n * at.c, 1, team, index);
        const Rows copied = rows();
        const __m512i window = windows();
        memset(memory, padding(), size_t(PLANES * plane()));
        for (int64_t begin = mine.begin; begin < mine.end; begin += PLANES) {
            const int64_t end = min_of(begin + PLANES, mine.end);
            for (int64_t i = begin; i < end; ++i) copy(memory + (i - begin) * plane(), X + i * at.h * at.w, copied);
            for (int64_t i = begin; i < end; ++i) {
                const uint8_t* image = memory + (i - begin) * plane();
                result* to = Y + i * at.rows * at.columns;
                if (FIXED && at.r == 3 && at.s == 3) compute<3, 3>(image, i % at.c, window, to);
                else if (FIXED && at.r == 5 && at.s == 5) compute<5, 5>(image, i % at.c, window, to);
                else compute<0, 0>(image, i % at.c, window, to);
            }
        }
    }
};

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const float* scale, const int32_t* Z,
                      result* Y, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    static thread_local Arena arena;
    const Int8Depthwise work = {Shape(n, c, h, w, k, r, s), X, W, bias, Z, scale, Y};
    const int64_t size = PLANES * work.plane();
    uint8_t* memory = reinterpret_cast<uint8_t*>(arena.reserve(size / 4 * threads));
    if (!memory) return 1;
    BY_TEAM
    work.run(memory + TEAM_INDEX * size, TEAM_SIZE, TEAM_INDEX);
    return 0;
}
