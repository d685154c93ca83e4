// bf16 images and weights as rungs 16 and 17 read them: an image lies [n][y][x][channel], and a window is runs of elements
// that lie together: a row of taps where pixels have nothing else between them, else the channels of one tap. Two neighbours
// of a run are a word (dots16.h); of an odd run the last word has one. So a row of three taps of three channels is
//
//   a0 b0 c0 a1 b1 c1 a2 b2 c2      words   (a0 b0) (c0 a1) (b1 c1) (a2 b2) (c2 0)
//
// NHWC without padding is read where it lies; else the image is copied, with zeros around it.
#pragma once
#include "../common/pack.h"
#include "image.h"

// Vectors of C elements and of C words.
template <int C>
struct Lanes;
#define LANES_OF(C)                                                 \
    template <>                                                     \
    struct Lanes<C> {                                               \
        typedef uint16_t Halves __attribute__((vector_size(2 * C))); \
        typedef uint32_t Words __attribute__((vector_size(4 * C)));  \
    };
LANES_OF(4)
LANES_OF(8)
LANES_OF(16)
#undef LANES_OF

struct Runs {
    const Shape& at;

    static constexpr bool ROW_IS_RUN = OPT_DILATION == 1 && OPT_GROUPS == 1;
    int64_t count() const { return ROW_IS_RUN ? at.r : at.r * at.s; }
    int64_t run() const { return (ROW_IS_RUN ? at.s : 1) * at.inner; }  // elements
    int64_t of_filter() const { return count() * ceil_div(run(), 2); }  // words
    int64_t of_image() const { return at.high() * at.wide() * at.c; }
    bool in_place() const { return OPT_NHWC && !PADDED; }

    // Where each run of a window begins, seen from its first element.
    void offsets(int32_t* to) const {
        for (int64_t i = 0; i < count(); ++i) {
            const int64_t y = ROW_IS_RUN ? i : i / at.s, x = ROW_IS_RUN ? 0 : i % at.s;
            to[i] = int32_t((y * at.wide() + x) * OPT_DILATION * at.c);
        }
    }

    // Filters first ..., `count` of them, as words [of a filter][N]; what is not there is zeros.
    template <int N>
    void pack(float* packed, const element* W, int64_t first, int64_t filters) const {
        const int64_t size = at.taps(), window = at.r * at.s;
        const element* from = W + first * size;
        if (run() % 2 == 0 && (OPT_NHWC || window == 1)) {  // a filter is a row of words
            return pack_columns<N>(packed, reinterpret_cast<const float*>(from), size / 2, filters, size / 2);
        }
        if (!OPT_NHWC && at.inner % 2 == 0 && window >= 8 && filters == N) return pack_planes<N>(packed, from);
        memset(packed, 0, size_t(of_filter() * N) * sizeof(float));
        element* to = reinterpret_cast<element*>(packed);
        for (int64_t j = 0; j < filters; ++j, from += size) {
            int64_t word = 0;
            for (int64_t i = 0; i < count(); ++i, word += ceil_div(run(), 2)) {
                for (int64_t e = 0; e < run(); ++e) {
                    const int64_t tap = (ROW_IS_RUN ? i * at.s : i) + e / at.inner, c = e % at.inner;
                    to[((word + e / 2) * N + j) * 2 + e % 2] = from[OPT_NHWC ? tap * at.inner + c : c * window + tap];
                }
            }
        }
    }

    // The part of the copy that falls to thread `index` of `team`, in pieces of up to 16 pixels.
    void copy(element* to, const element* X, int64_t team, int64_t index) const {
        // Without padding all rows of an image are one line.
        const int64_t high = PADDED ? at.high() : 1, length = PADDED ? at.w : at.h * at.w, pieces = ceil_div(length, 16);
        const Range mine = share(at.n * high * pieces, 1, team, index);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const int64_t n = i / pieces / high, y = i / pieces % high - TOP, begin = i % pieces * 16;
            const int64_t size = PADDED ? at.wide() : length;
            element* line = to + i / pieces * size * at.c;
            if (y < 0 || y >= (PADDED ? at.h : 1)) {
                if (begin == 0) memset(line, 0, size_t(size * at.c) * sizeof(element));
                continue;
            }
            if (begin == 0) {
                memset(line, 0, size_t(LEFT * at.c) * sizeof(element));
                memset(line + (LEFT + length) * at.c, 0, size_t(RIGHT * at.c) * sizeof(element));
            }
            const int64_t many = min_of(16, length - begin), pixel = y * at.w + begin;
            const int64_t from = OPT_NHWC ? (n * at.h * at.w + pixel) * at.c : n * at.c * at.h * at.w + pixel;
            element* place = line + (LEFT + begin) * at.c;
            if (OPT_NHWC) memcpy(place, X + from, size_t(many * at.c) * sizeof(element));
            else turn(place, X + from, many);
        }
    }

private:
    // Lane i of a word vector: element i of `low` and of `high`.
    template <int C>
    static inline __attribute__((always_inline)) void words_of(float* to, const element* low, const element* high) {
        typedef typename Lanes<C>::Words Words;
        typename Lanes<C>::Halves a, b;
        memcpy(&a, low, sizeof a);
        memcpy(&b, high, sizeof b);
        const Words words = __builtin_convertvector(a, Words) | __builtin_convertvector(b, Words) << 16;
        memcpy(to, &words, sizeof words);
    }

    // C pixels of a line of planes as [pixel][channel], an even number of channels.
    template <int C>
    void turn_whole(element* to, const element* from) const {
        const int64_t plane = at.h * at.w, pairs = at.c / 2;
        float* words = reinterpret_cast<float*>(to);
        int64_t u = 0;
        for (; u + 4 <= pairs; u += 4, from += 8 * plane) {
            float block[4 * C];
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) words_of<C>(block + i * C, from + 2 * i * plane, from + (2 * i + 1) * plane);
#pragma GCC unroll 4
            for (int x = 0; x < C; x += 4) transpose4(words + x * pairs + u, pairs, block + x, C);
        }
        for (; u < pairs; ++u, from += 2 * plane) {
            float row[C];
            words_of<C>(row, from, from + plane);
            for (int x = 0; x < C; ++x) memcpy(words + x * pairs + u, row + x, sizeof(float));
        }
    }

    // `count` pixels, at most 16; the last of them overlap those before.
    void turn(element* to, const element* from, int64_t count) const {
        const int64_t plane = at.h * at.w;
        if (at.c % 2 || count < 4) {
            for (int64_t c = 0; c < at.c; ++c) {
                for (int64_t x = 0; x < count; ++x) to[x * at.c + c] = from[c * plane + x];
            }
        } else if (count == 16) {
            turn_whole<16>(to, from);
        } else if (count >= 8) {
            turn_whole<8>(to, from);
            turn_whole<8>(to + (count - 8) * at.c, from + count - 8);
        } else {
            turn_whole<4>(to, from);
            turn_whole<4>(to + (count - 4) * at.c, from + count - 4);
        }
    }

    // N filters [channel][tap] with an even number of channels, eight taps or more at a time: two channels of a filter are
    // words, four filters of them turned.
    template <int N>
    void pack_planes(float* packed, const element* from) const {
        const int64_t size = at.taps(), window = at.r * at.s, pairs = at.inner / 2;
        for (int64_t j = 0; j < N; j += 4) {
            for (int64_t u = 0; u < pairs; ++u) {
                for (int64_t begin = 0; begin < window; begin += 8) {
                    const int64_t tap = min_of(begin, window - 8);
                    float block[4 * 8];
#pragma GCC unroll 4
                    for (int i = 0; i < 4; ++i) {
                        const element* low = from + (j + i) * size + 2 * u * window + tap;
                        words_of<8>(block + i * 8, low, low + window);
                    }
                    float* to = packed + (tap * pairs + u) * N + j;
                    if (tap + 4 > begin) transpose4(to, pairs * N, block, 8);
                    transpose4(to + 4 * pairs * N, pairs * N, block + 4, 8);
                }
            }
        }
    }
};
