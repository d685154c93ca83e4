// The bf16 convolution of rungs 16 and 17: register tiles of pixels x vectors of output channels, two neighbours in the
// depth at a time. The configuration's macros are defined before this is included, and W_AHEAD as 1 where the weights were
// packed before the call, else 0.
/*[tuner.shared]
[bf16_tiles.constraints]
# Sums, a row of weights and one pixel; without the instruction the halves of both, and a mask.
registers = "(PIXELS + 1) * vectors + 1 + (0 if has_avx512bf16 else vectors + 2) <= vector_registers"
channels_used = "CHANNELS < 2 * group_k or CHANNELS * 4 == vector_bytes"

[bf16_tiles.features]
panel_bytes = "group_c * r * s * CHANNELS * 2"
*/
#pragma once
#include "../common/arena.h"
#include "../common/team.h"
#include "pixel_shape.h"
#include "runs.h"
#include "words.h"

// Elements of up to 14 pixels: an address takes one of two pointers and one of three distances, times 1, 2 or 4. The
// compiler, left alone, has a register for each pixel, and runs out of them.
struct Pixels {
    const element *near, *far;
    int64_t one, three, five;

    Pixels(const element* first, int64_t step)
        : near(first), far(first + 7 * step), one(step), three(3 * step), five(5 * step) {
#if defined(__x86_64__)
        asm("" : "+r"(one), "+r"(three), "+r"(five));
#endif
    }
    inline __attribute__((always_inline)) const element* operator[](int i) const {
        const element* from = i < 7 ? near : far;
        switch (i % 7) {
        case 1: return from + one;
        case 2: return from + 2 * one;
        case 3: return from + three;
        case 4: return from + 4 * one;
        case 5: return from + five;
        case 6: return from + 2 * three;
        default: return from;
        }
    }
    void next() { near += 2, far += 2; }  // words
};

struct Bf16Convolution {
    const Shape& at;
    const Runs runs;
    const element* W;
    const Epilogue epilogue;
    result* Y;
    const element* image;    // [n][y][x][channel], with its padding
    const int32_t* offsets;  // of each run, from a window's first element
    float* packed;           // words: [groups * blocks][of a filter][N]; with W_AHEAD it is read alone
    bool flat;               // rows of the image follow each other without a gap: they are one row

    int64_t rows() const { return flat ? 1 : at.rows; }
    int64_t columns() const { return flat ? at.rows * at.columns : at.columns; }
    int64_t blocks() const { return ceil_div(at.outer, N); }  // of output channels, in a group
    int64_t all_blocks() const { return OPT_GROUPS * blocks(); }
    int64_t block_size() const { return runs.of_filter() * N; }
    int64_t tiles_a_row() const { return columns() < PIXELS ? columns() : ceil_div(columns(), PIXELS); }
    int64_t tiles() const { return at.n * rows() * tiles_a_row(); }

    void pack(int64_t block) const {
        const int64_t begin = block % blocks() * N;
        runs.pack<N>(packed + block * block_size(), W, block / blocks() * at.outer + begin, min_of(N, at.outer - begin));
    }

    // Adds the products of a word of each pixel and a row of weights; of half a word at the end of an odd run, behind which
    // anything may lie: 0 does not cancel a NaN.
    template <int M, bool WHOLE>
    static inline __attribute__((always_inline)) void add(vec (&sums)[M][NV], const Pixels& x, const float* weights) {
        vec row[NV];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) row[j] = load(weights + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
            const element* from = x[i];
            const vec pixel = in_register(splat_word(WHOLE ? word_at(from) : word_of(*from)));
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) sums[i][j] = dot_pairs(pixel, row[j], sums[i][j]);
        }
    }

    // M pixels whose windows begin at x, `step` elements apart, to Y from element `place` on; channels k ..., of which
    // `channels` are there.
    template <int M>
    __attribute__((noinline)) void tile(const element* x, int64_t step, const float* weights, int64_t k, int64_t channels,
                                        int64_t place) const {
        const int64_t words = runs.run() / 2, odd = runs.run() % 2;
        if (OPT_RESIDUAL && OPT_NHWC) fetch<M>(epilogue.residual + place);
        vec sums[M][NV];
        begin<M>(sums, k, channels);
        for (int64_t i = 0; i < runs.count(); ++i) {
            Pixels from(x + offsets[i], step);
#pragma GCC unroll STEPS
            for (int64_t u = 0; u < words; ++u, from.next(), weights += N) add<M, true>(sums, from, weights);
            if (!odd) continue;
            add<M, false>(sums, from, weights);
            weights += N;
        }
        if (OPT_NHWC && channels == N) return put_pixels<M>(sums, place);
        float done[M * N] __attribute__((aligned(VECTOR_BYTES)));
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) store(done + i * N + j * LANES, sums[i][j]);
        }
        put_done<M>(done, channels, place);
    }

    // Brings what is added to M pixels near, while their sums are made.
    template <int M>
    void fetch(const result* from) const {
        for (int i = 0; i < M; ++i, from += at.k) {
            for (int64_t j = 0; j < N; j += 32) __builtin_prefetch(from + j);
        }
    }

    // Sums begin with the bias.
    template <int M>
    inline __attribute__((always_inline)) void begin(vec (&sums)[M][NV], int64_t k, int64_t channels) const {
        addend some[N] = {};
        const addend* from = OPT_BIAS ? epilogue.bias + k : nullptr;
        if (OPT_BIAS && channels < N) {
            memcpy(some, from, size_t(channels) * sizeof(addend));
            from = some;
        }
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            const vec addend = OPT_BIAS ? load(from + j * LANES) : vec{};
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) sums[i][j] = addend;
        }
    }

    // All N channels of M pixels.
    template <int M>
    inline __attribute__((always_inline)) void put_pixels(vec (&sums)[M][NV], int64_t place) const {
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i, place += at.k) {
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) {
                vec value = sums[i][j];
                if (OPT_RESIDUAL) value += load(epilogue.residual + place + j * LANES);
                store(Y + place + j * LANES, finished(value));
            }
        }
    }

    // Some channels of M pixels, or pixels of planes: by way of memory, where loops need not be unrolled.
    template <int M>
    __attribute__((noinline)) void put_done(float* done, int64_t channels, int64_t place) const {
        const int64_t pixel = OPT_NHWC ? at.k : 1, channel = OPT_NHWC ? 1 : at.rows * at.columns;
        for (int64_t j = 0; OPT_RESIDUAL && j < channels; ++j) {
            const result* from = epilogue.residual + place + j * channel;
            for (int i = 0; i < M; ++i) done[i * N + j] += float(from[i * pixel]);
        }
        if (OPT_NHWC) put_rows<M>(done, channels, Y + place);
        else put_planes<M>(done, channels, channel, Y + place);
    }

    template <int M>
    void put_rows(const float* done, int64_t channels, result* to) const {
        for (int i = 0; i < M; ++i, to += at.k) {
            result row[N];
            for (int64_t j = 0; j < N; j += LANES) store(row + j, finished(load(done + i * N + j)));
            memcpy(to, row, size_t(channels) * sizeof(result));
        }
    }

    // Two pixels of a channel are a word, channels side by side. The last two overlap those before.
    template <int M>
    static void put_planes(const float* done, int64_t channels, int64_t plane, result* to) {
        constexpr int WORDS = (M + 1) / 2;
        uint32_t words[WORDS][N];
        for (int w = 0; w < WORDS; ++w) {
            const float* first = done + first_of(w, M) * N;
            const float* second = M > 1 ? first + N : first;
            for (int64_t j = 0; j < N; j += LANES) {
                const bits32 both = rounded(finished(load(first + j)), finished(load(second + j)));
                memcpy(words[w] + j, &both, sizeof both);
            }
        }
        for (int64_t j = 0; j < channels; ++j, to += plane) {
#pragma GCC unroll 8
            for (int w = 0; w < WORDS; ++w) memcpy(to + first_of(w, M), &words[w][j], M > 1 ? 4 : 2);
        }
    }

    static constexpr int first_of(int word, int pixels) {
        return pixels > 1 && 2 * word + 2 > pixels ? pixels - 2 : 2 * word;
    }

    void compute(int64_t block, int64_t number) const {
        const int64_t group = block / blocks(), begin = block % blocks() * N, k = group * at.outer + begin;
        const int64_t row = number / tiles_a_row(), p = row % rows(), n = row / rows();
        // The last tile of a row begins early enough to be whole; rows shorter than a tile go pixel by pixel.
        const int64_t unit = columns() < PIXELS ? 1 : PIXELS;
        const int64_t q = min_of(number % tiles_a_row() * unit, columns() - unit), step = OPT_STRIDE * at.c;
        const element* x = image + n * runs.of_image() + p * OPT_STRIDE * at.wide() * at.c + q * step + group * at.inner;
        const int64_t plane = at.rows * at.columns, pixel = p * at.columns + q;
        const int64_t place = OPT_NHWC ? (n * plane + pixel) * at.k + k : (n * at.k + k) * plane + pixel;
        const float* weights = packed + block * block_size();
        const int64_t channels = min_of(N, at.outer - begin);
        if (unit == PIXELS) tile<PIXELS>(x, step, weights, k, channels, place);
        else tile<1>(x, step, weights, k, channels, place);
    }

    // What thread `index` of `team` does; `copy` is where the image is copied to, null where it is read in place.
    void run(const element* X, element* copy, int64_t team, int64_t index) const {
        const int64_t down = team % SPLIT_K == 0 ? SPLIT_K : 1, across = team / down;
        const Range channels = share(all_blocks(), 1, down, index % down), pixels = share(tiles(), 1, across, index / down);
        if (copy) runs.copy(copy, X, team, index);
        if (!W_AHEAD) {
            const Range mine = share(all_blocks(), 1, team, index);
            for (int64_t block = mine.begin; block < mine.end; ++block) pack(block);
        }
        if (copy || !W_AHEAD) wait_for_team();
        const int64_t most = BLOCK ? BLOCK : max_of(pixels.size(), 1);
        for (int64_t begin = pixels.begin; begin < pixels.end; begin += most) {
            for (int64_t block = channels.begin; block < channels.end; ++block) {
                for (int64_t i = begin; i < min_of(begin + most, pixels.end); ++i) compute(block, i);
            }
        }
    }
};

// `ahead` is all blocks as `pack` makes them; null where they are packed in the call.
static int convolve(const element* X, const element* W, float* ahead, const Epilogue& epilogue, result* Y,
                    const Shape& at) {
    static thread_local Arena arena;
    const Runs runs = {at};
    if (runs.of_image() >= int64_t(1) << 31) return 2;  // an offset stays within one image
    Bf16Convolution work = {at, runs, W, epilogue, Y, X, nullptr, ahead, false};
    auto lines = [](int64_t count) { return ceil_div(count, 16) * 16; };
    const int64_t copy = runs.in_place() ? 0 : lines(ceil_div(at.n * runs.of_image(), 2)), table = lines(runs.count());
    Sum* memory = arena.reserve(copy + table + (W_AHEAD ? 0 : work.all_blocks() * work.block_size()));
    if (!memory) return 1;
    int32_t* offsets = reinterpret_cast<int32_t*>(memory + copy);
    runs.offsets(offsets);
    work.offsets = offsets;
    element* fresh = runs.in_place() ? nullptr : reinterpret_cast<element*>(memory);
    if (fresh) work.image = fresh;
    if (!W_AHEAD) work.packed = memory + copy + table;
    work.flat = at.r == 1 && at.s == 1 && !PADDED && OPT_STRIDE == 1;
    BY_TEAM
    work.run(X, fresh, TEAM_SIZE, TEAM_INDEX);
    return 0;
}
