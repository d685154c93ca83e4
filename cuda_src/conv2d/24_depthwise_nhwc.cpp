/*[tuner]
name = "conv_depthwise_nhwc"
operator = "conv2d"
summary = "One filter a channel, NHWC: vectors of channels, each column of the image read once for all windows it is in."
dtypes = ["f32", "f16", "bf16"]
entry = "conv2d"
arguments = ["X", "W", "bias", "residual", "Y", "n", "c", "h", "w", "k", "r", "s"]
options = ["operator", "residual", "relu6", "silu", "hardswish"]
use = ["cores"]

[supports]
"it computes depthwise convolutions: groups = c = k" = "group_c == 1 and group_k == 1"
"it reads images whose channels lie together: NHWC" = "nhwc"

[parameters]
PIXELS = { values = [4, 1, 2, 3, 5, 6, 7, 8], doc = "pixels of the register tile, of one row of the image" }
INNER = { values = ["channels", "pixels"], doc = "what is gone through before the other one's next: all channels of some pixels, or all pixels of some channels" }
SPLIT_C = { values = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], doc = "threads along the channels; the rest of them along rows" }
FIXED = { values = [true, false], doc = "code of its own for kernels of 3x3 and 5x5" }

[constraints]
pixels_used = "PIXELS <= q"
# Two vectors of sums a pixel, two of a column of the image, and a row of taps.
registers = "2 * PIXELS + 2 + 2 * (min(s, 5) if FIXED else 1) <= vector_registers"
grid = "threads % SPLIT_C == 0 and (SPLIT_C == 1 or (SPLIT_C - 1) * vector_bytes < 2 * c)"
*/
// Rung 24. In NHWC a vector holds channels, and every tap of every pixel would be a load of its own (and of 16 bits a
// conversion). Here the windows of some neighbouring pixels are computed together: a column of the image is loaded once for
// all of them that it is in, while a row of taps stays in registers.
//
//   columns  a b c d e ...      pixel 0  wa + xb + yc      three taps w x y of one row, of two vectors of channels
//                               pixel 1       wb + xc + yd
//
// Of bf16 a vector of words of two channels becomes two vectors of f32 by a shift and a mask, of even channels and of odd
// ones; sums are put together as words again. Channels behind the last whole pair of vectors belong to one that begins
// earlier, and are computed twice. Filters are laid out in each call: each thread those of its channels.
#define HUGE_PAGES 0
#define OPT_SCALE_TENSOR 0
#define OPT_SCALE_CHANNEL 0
#include "../common/arena.h"
#include "../common/team.h"
#include "../common/text.h"
#include "image.h"
#if DTYPE_BF16
#include "words.h"
#endif

static constexpr bool CHANNELS_INSIDE = TEXT(INNER)[0] == 'c';
enum : int64_t { CHUNK = 2 * LANES };  // channels of a pair

// CHUNK neighbours in memory as two vectors of f32.
struct Pair {
    vec first, second;

#if DTYPE_BF16
    static Pair at(const element* from) {
        bits32 words;
        memcpy(&words, from, sizeof words);
        return {(vec)(words << 16), (vec)(words & (bits32{} + 0xffff0000u))};
    }
    void put(element* to) const {
        const bits32 words = rounded(finished(first), finished(second));
        memcpy(to, &words, sizeof words);
    }
    // Where channel i of a pair is among its floats.
    static int64_t lane(int64_t i) { return i % 2 * LANES + i / 2; }
#else
    static Pair at(const element* from) { return {load(from), load(from + LANES)}; }
    void put(element* to) const { store(to, activated(first)), store(to + LANES, activated(second)); }
    static int64_t lane(int64_t i) { return i; }
#endif
    // The first `count` of them, zeros behind.
    static Pair at(const element* from, int64_t count) {
        element part[CHUNK] = {};
        memcpy(part, from, size_t(count) * sizeof(element));
        return at(part);
    }
    static Pair of_floats(const float* from) {
        return {*reinterpret_cast<const vec_unaligned*>(from), *reinterpret_cast<const vec_unaligned*>(from + LANES)};
    }
    void add(Pair more) { first += more.first, second += more.second; }
    void add_product(Pair a, Pair b) { first += a.first * b.first, second += a.second * b.second; }
};

// M pixels of a row that are computed together, where they are and what their channels are multiplied by.
struct Place {
    const float* filters;
    int64_t n, p, q, channel;
};

struct DepthwiseNhwc {
    const Shape at;
    const element *X, *W, *bias, *residual;
    element* Y;

    // Of a chunk of channels, as floats: what sums begin with, then each tap.
    int64_t filter() const { return (1 + at.r * at.s) * CHUNK; }
    int64_t chunks() const { return ceil_div(at.c, CHUNK); }
    int64_t first_channel(int64_t chunk) const { return max_of(min_of(chunk * CHUNK, at.c - CHUNK), 0); }

    void pack(float* to, int64_t chunk) const {
        const int64_t taps = at.r * at.s, first = first_channel(chunk);
        memset(to, 0, size_t(filter()) * sizeof(float));
        for (int64_t i = 0; i < min_of(CHUNK, at.c); ++i) {
            float* place = to + Pair::lane(i);
            const element* from = W + (first + i) * taps;
            if (OPT_BIAS) *place = float(bias[first + i]);
            for (int64_t tap = 0; tap < taps; ++tap) place[(1 + tap) * CHUNK] = float(from[tap]);
        }
    }

    // R and S are the kernel's size, 0 where it is not known. WHOLE: there are CHUNK channels. INSIDE: no column of a window
    // lies beside the image.
    template <int M, int R, int S, bool WHOLE, bool INSIDE>
    __attribute__((noinline)) void tile(const Place& place) const {
        const int64_t r = R ? R : at.r, s = S ? S : at.s, left = place.q * OPT_STRIDE - LEFT;
        const element* image = X + place.n * at.h * at.w * at.c + place.channel;
        Pair sums[M];
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) sums[i] = Pair::of_floats(place.filters);
        for (int64_t y = 0; y < r; ++y) {
            const int64_t line = place.p * OPT_STRIDE - TOP + y * OPT_DILATION;
            if (line < 0 || line >= at.h) continue;
            const element* row = image + (line * at.w + left) * at.c;
            const float* weights = place.filters + (1 + y * s) * CHUNK;
            auto column = [&](int64_t x) {
                if (!INSIDE && (left + x < 0 || left + x >= at.w)) return Pair{};
                return WHOLE ? Pair::at(row + x * at.c) : Pair::at(row + x * at.c, at.c);
            };
            if (S && OPT_DILATION == 1) {
                Pair taps[S ? S : 1];
#pragma GCC unroll 8
                for (int x = 0; x < S; ++x) taps[x] = Pair::of_floats(weights + x * CHUNK);
#pragma GCC unroll 32
                for (int x = 0; x < (M - 1) * OPT_STRIDE + S; ++x) {
                    const Pair pixel = column(x);
#pragma GCC unroll 8
                    for (int i = 0; i < M; ++i) {
                        const int tap = x - i * OPT_STRIDE;
                        if (tap >= 0 && tap < S) sums[i].add_product(pixel, taps[tap]);
                    }
                }
                continue;
            }
            for (int64_t x = 0; x < s; ++x, weights += CHUNK) {
                const Pair tap = Pair::of_floats(weights);
#pragma GCC unroll 8
                for (int i = 0; i < M; ++i) sums[i].add_product(column(i * OPT_STRIDE + x * OPT_DILATION), tap);
            }
        }
        const int64_t first = ((place.n * at.rows + place.p) * at.columns + place.q) * at.c + place.channel;
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) finish<WHOLE>(first + i * at.c, sums[i]);
    }

    template <bool WHOLE>
    void finish(int64_t place, Pair sums) const {
        if (OPT_RESIDUAL) sums.add(WHOLE ? Pair::at(residual + place) : Pair::at(residual + place, at.c));
        if (WHOLE) return sums.put(Y + place);
        element part[CHUNK];
        sums.put(part);
        memcpy(Y + place, part, size_t(at.c) * sizeof(element));
    }

    template <int M, int R, int S>
    void pixels(const Place& place) const {
        const int64_t left = place.q * OPT_STRIDE - LEFT, s = S ? S : at.s;
        const bool inside = left >= 0 && left + (M - 1) * OPT_STRIDE + OPT_DILATION * (s - 1) < at.w;
        if (at.c < CHUNK) tile<M, R, S, false, false>(place);
        else if (inside) tile<M, R, S, true, true>(place);
        else tile<M, R, S, true, false>(place);
    }

    // Row `row` of all images' results, of some chunks of channels; the last tile begins early enough to be whole.
    template <int R, int S>
    void compute(const float* filters, int64_t row, Range mine) const {
        const int64_t wide = at.columns < PIXELS ? 1 : PIXELS;
        for (int64_t q = 0; q < at.columns; q += wide) {
            Place place = {filters, row / at.rows, row % at.rows, min_of(q, at.columns - wide), 0};
            for (int64_t chunk = mine.begin; chunk < mine.end; ++chunk, place.filters += filter()) {
                place.channel = first_channel(chunk);
                if (wide == PIXELS) pixels<PIXELS, R, S>(place);
                else pixels<1, R, S>(place);
            }
        }
    }

    // What thread `index` of `team` does; `filters` has room for its chunks, all of them or one.
    template <int R, int S>
    void run(float* filters, int64_t team, int64_t index) const {
        const int64_t across = team % SPLIT_C == 0 ? SPLIT_C : 1;
        const Range mine = share(chunks(), 1, across, index % across);
        const Range rows = share(at.n * at.rows, 1, team / across, index / across);
        const int64_t together = CHANNELS_INSIDE ? max_of(mine.size(), 1) : 1;
        for (int64_t begin = mine.begin; begin < mine.end; begin += together) {
            const Range some = {begin, min_of(begin + together, mine.end)};
            for (int64_t chunk = some.begin; chunk < some.end; ++chunk) pack(filters + (chunk - begin) * filter(), chunk);
            for (int64_t row = rows.begin; row < rows.end; ++row) compute<R, S>(filters, row, some);
        }
    }
};

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual, result* Y,
                      int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    static thread_local Arena arena;
    const DepthwiseNhwc work = {Shape(n, c, h, w, k, r, s), X, W, bias, residual, Y};
    const int64_t size = work.filter() * (CHANNELS_INSIDE ? work.chunks() : 1);
    float* memory = arena.reserve(size * threads);
    if (!memory) return 1;
    BY_TEAM
    {
        float* filters = memory + TEAM_INDEX * size;
        if (FIXED && r == 3 && s == 3) work.run<3, 3>(filters, TEAM_SIZE, TEAM_INDEX);
        else if (FIXED && r == 5 && s == 5) work.run<5, 5>(filters, TEAM_SIZE, TEAM_INDEX);
        else work.run<0, 0>(filters, TEAM_SIZE, TEAM_INDEX);
    }
    return 0;
}
