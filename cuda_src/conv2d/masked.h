// A depthwise channel read where it lies: no copy with padding around it. On images of a few vectors copying in and
// out takes longer than the sums, because loads wait for the stores of rows that are no whole vectors. Here an image
// is loaded into registers once, what a tap reads is permuted out of two of them, and a mask, the same for all
// channels, clears what would be padding.
// With a stride of 1 and as many columns out as in, the channel is one line and a tap is a shift of it, by at most a
// vector. With a stride of 2 a vector is one row of results, or two, each of every second element of a load.
#pragma once
#include "image.h"
#include "partial.h"

struct MaskedDepthwise {
    const Shape at;
    const float *X, *W, *bias, *residual;
    float* Y;

    // How far the first and the last tap are from their pixel, in elements of the line.
    int64_t first_shift() const { return -(TOP * at.w + LEFT); }
    int64_t last_shift() const { return first_shift() + ((at.r - 1) * at.w + at.s - 1) * OPT_DILATION; }

    bool serves() const {
        const bool shifts = first_shift() >= -LANES && last_shift() <= LANES && at.s * OPT_DILATION <= at.w;
        const bool line = OPT_STRIDE == 1 && at.columns == at.w && shifts;
        const bool halves = OPT_STRIDE == 2 && at.columns <= LANES && at.w <= 2 * LANES;
        return (line || halves) && vectors() >= VECTORS;
    }

    int64_t taps() const { return at.r * at.s; }
    int64_t results() const { return at.rows * at.columns; }
    int64_t rows_a_vector() const { return 2 * at.columns <= LANES && at.w <= LANES ? 2 : 1; }
    // Results a vector holds, how far the loads of the next one are, and the second load of a stride of 2.
    int64_t step() const { return OPT_STRIDE == 1 ? LANES : rows_a_vector() * at.columns; }
    int64_t pace() const { return OPT_STRIDE == 1 ? LANES : rows_a_vector() * OPT_STRIDE * at.w; }
    int64_t second() const { return rows_a_vector() == 1 ? LANES : OPT_STRIDE * at.w; }
    int64_t vectors() const { return ceil_div(results(), step()); }

    // What loads touch outside of a channel: elements in front of it and behind it.
    int64_t before() const { return OPT_STRIDE == 1 ? LANES : TOP * at.w; }
    int64_t after() const {
        const int64_t last = (vectors() - 1) * pace() + LANES;
        const int64_t more = OPT_STRIDE == 1 ? LANES : second() + ((at.r - 1) * OPT_DILATION - TOP) * at.w;
        return max_of(0, last + more - at.h * at.w);
    }

    int64_t masks() const { return vectors() * taps() * LANES; }
    int64_t memory() const { return masks() + before() + at.h * at.w + after(); }

    // int32[vectors][taps][LANES]: all ones where a tap lies inside the image.
    void make_masks(pick_lanes* to) const {
        int64_t p = 0, q = 0;
        for (int64_t v = 0; v < vectors(); ++v) {
            pick_lanes line = {}, column = {};
            for (int l = 0; l < LANES; ++l) {
                line[l] = l < step() ? int32_t(p * OPT_STRIDE - TOP) : INT32_MIN / 2;
                column[l] = int32_t(q * OPT_STRIDE - LEFT);
                if (l < step() && ++q == at.columns) q = 0, ++p;
            }
            for (int64_t y = 0; y < at.r; ++y, line += OPT_DILATION) {
                const pick_lanes inside = (line >= 0) & (line < int32_t(at.h));
                pick_lanes place = column;
                for (int64_t x = 0; x < at.s; ++x, place += OPT_DILATION) {
                    *to++ = inside & (place >= 0) & (place < int32_t(at.w));
                }
            }
        }
    }

    // Elements of two vectors side by side.
    static vec picked(vec a, vec b, pick_lanes pick) {
#if defined(__clang__)
        vec chosen;
        pick &= 2 * LANES - 1;
        for (int l = 0; l < LANES; ++l) chosen[l] = pick[l] < LANES ? a[pick[l]] : b[pick[l] - LANES];
        return chosen;
#else
        return __builtin_shuffle(a, b, pick);
#endif
    }

    // The place of each lane's first tap: in the two loads of a stride of 2, in the line of a stride of 1.
    pick_lanes places() const {
        pick_lanes place = {};
        for (int l = 0; l < LANES; ++l) {
            const bool lower = OPT_STRIDE == 2 && rows_a_vector() == 2 && l >= at.columns;
            place[l] = int32_t(lower ? LANES + OPT_STRIDE * (l - at.columns) : OPT_STRIDE * l);
        }
        return place;
    }

    // VECTORS vectors of results from number `first` on. R and S are the kernel's size, 0 where it is not known.
    template <int R, int S>
    void sum(vec* sums, const float* plane, const pick_lanes* masks, const float* weights, int64_t first) const {
        const int64_t r = R ? R : at.r, s = S ? S : at.s;
        const pick_lanes place = places();
        vec line[VECTORS + 2];
        if (OPT_STRIDE == 1) {
            for (int j = 0; j < VECTORS + 2; ++j) line[j] = load(plane + (first + j - 1) * LANES);
        }
#pragma GCC unroll 5
        for (int64_t y = 0; y < r; ++y) {
            vec left[VECTORS], right[VECTORS];
            for (int j = 0; OPT_STRIDE == 2 && j < VECTORS; ++j) {
                left[j] = load(plane + (first + j) * pace() + (y * OPT_DILATION - TOP) * at.w);
                right[j] = load(plane + (first + j) * pace() + (y * OPT_DILATION - TOP) * at.w + second());
            }
#pragma GCC unroll 5
            for (int64_t x = 0; x < s; ++x) {
                const vec weight = splat(weights[y * s + x]);
                // Both are known to the compiler, and so is, as a row is wider than the kernel, the sign of a shift.
                const int64_t down = y * OPT_DILATION - TOP, along = x * OPT_DILATION - LEFT;
                const int64_t shift = OPT_STRIDE == 1 ? down * at.w + along : along;
                const pick_lanes pick = place + int32_t(shift);
#pragma GCC unroll 8
                for (int j = 0; j < VECTORS; ++j) {
                    vec value;
                    if (OPT_STRIDE == 2) value = picked(left[j], right[j], pick);
                    // Indices count modulo two vectors: -1 is the last element of the first one, one up.
                    else if (down < 0 || (down == 0 && along < 0)) value = picked(line[j + 1], line[j], pick);
                    else value = picked(line[j + 1], line[j + 2], pick);
                    sums[j] += weight * vec(pick_lanes(value) & masks[(first + j) * r * s + y * s + x]);
                }
            }
        }
    }

    template <int R, int S>
    void compute(const float* plane, const pick_lanes* masks, const float* weights, float addend, float* to) const {
        for (int64_t group = 0; group < vectors(); group += VECTORS) {
            // The last group begins earlier and computes again what the one before it has.
            const int64_t first = min_of(group, vectors() - VECTORS);
            vec sums[VECTORS];
            for (int j = 0; j < VECTORS; ++j) sums[j] = splat(addend);
            sum<R, S>(sums, plane, masks, weights, first);
#pragma GCC unroll 8
            for (int j = 0; j < VECTORS; ++j) {
                const int64_t place = (first + j) * step(), count = min_of(step(), results() - place);
                if (OPT_RESIDUAL) sums[j] += load_part(residual + (to - Y) + place, count);
                store_part(to + place, activated(sums[j]), count);
            }
        }
    }

    void run(float* memory, int64_t team, int64_t index) const {
        const int64_t planes = at.n * at.c, size = at.h * at.w;
        const Range mine = share(planes, 1, team, index);
        pick_lanes* made = reinterpret_cast<pick_lanes*>(memory);
        make_masks(made);
        float* copy = memory + masks() + before();
        memset(copy - before(), 0, size_t(before() + size + after()) * sizeof(float));
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const float* plane = X + i * size;
            // The tensor's first and last channels have no neighbours to read instead of padding.
            if (i * size < before() || (planes - i - 1) * size < after()) {
                memcpy(copy, plane, size_t(size) * sizeof(float));
                plane = copy;
            }
            const float* weights = W + i % at.c * taps();
            const float addend = OPT_BIAS ? bias[i % at.c] : 0;
            float* to = Y + i * results();
            if (FIXED && at.r == 3 && at.s == 3) compute<3, 3>(plane, made, weights, addend, to);
            else if (FIXED && at.r == 5 && at.s == 5) compute<5, 5>(plane, made, weights, addend, to);
            else compute<0, 0>(plane, made, weights, addend, to);
        }
    }
};
