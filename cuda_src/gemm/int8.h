// Panels of int8 operands, in units of neighbours in k (dots8.h). A is what is stored shifted; a panel of B ends with a
// row of what its sums begin with, where there is such a thing.
#pragma once
#include "../common/interleave8.h"
#include "../common/pack.h"

static inline uint32_t four_bytes_at(const int8_t* from) {
    uint32_t unit;
    __builtin_memcpy(&unit, from, sizeof unit);
    return unit;
}

// A unit of A where it lies, in all lanes: a whole one, or the first `rest` elements of one, `before` elements behind the
// beginning of its row. What lies behind these elements is multiplied by zeros.
static inline vec splat_unit(const int8_t* from) {
    return in_register(splat(int32_t(four_bytes_at(from)))) ^ (vec{} + int32_t(0x80808080u));
}
static inline vec splat_unit(const int8_t* from, int64_t rest, int64_t before) {
    if (before == 0) return splat(unit_x(from, 1, rest));
    return splat(shifted(int32_t(four_bytes_at(from + rest - GROUP) >> 8 * (GROUP - rest))));
}

#if INTERLEAVED
// One row of units of a panel, `width` of whose W columns are there, and likewise of the rows of bytes.
template <int W, bool OF_A, bool WHOLE>
static inline __attribute__((always_inline)) void pack_units(int32_t* to, const int8_t* source, int64_t stride,
                                                             int64_t width, int64_t rows, vec* sums) {
    const vec highest = vec{} + int32_t(0x80808080u);
#pragma GCC unroll 16
    for (int64_t j = 0; j < W; j += LANES) {
        vec row;
        if (WHOLE) row = interleaved(source + j, stride);
        else row = interleaved(source + j, stride, rows, first_lanes(max_of(0, min_of(LANES, width - j))));
        if (OF_A) row ^= highest;
        else sums[j / LANES] = multiply_add(highest, row, sums[j / LANES]);
        if (j + LANES <= W) store(to + j, row);
        else store_first(to + j, row, first_lanes(W - j));
    }
}

// As in pack.h, `depth` and `p` counting elements, GROUP to a unit: element (i, p) is source[p * stride + i].
template <int W, bool OF_A>
static void pack_rows(int32_t* packed, const int8_t* source, int64_t stride, int64_t width, int64_t depth) {
    for (int64_t i = 0; i < width; i += W) {
        vec sums[(W + LANES - 1) / LANES] = {};
        const int64_t inside = min_of(W, width - i);
        for (int64_t p = 0; p < depth; p += GROUP, packed += W) {
            const int8_t* from = source + p * stride + i;
            const bool whole = W % LANES == 0 && inside == W && depth - p >= GROUP;
            (whole ? pack_units<W, OF_A, true> : pack_units<W, OF_A, false>)(packed, from, stride, inside, depth - p, sums);
        }
        if (OF_A) continue;
        for (int64_t j = 0; j + LANES <= W; j += LANES) store(packed + j, -sums[j / LANES]);
        packed += W;
    }
}
#else
// As in pack.h, `depth` and `p` counting elements, GROUP to a unit: element (i, p) is source[p * stride + i].
template <int W, bool OF_A>
static void pack_rows(int32_t* packed, const int8_t* source, int64_t stride, int64_t width, int64_t depth) {
    for (int64_t i = 0; i < width; i += W) {
        const int64_t inside = min_of(W, width - i);
        int32_t first[W] = {};
        for (int64_t p = 0; p < depth; p += GROUP, packed += W) {
            const int8_t* from = source + p * stride + i;
            const int64_t deep = depth - p;
            if (inside == W && deep >= GROUP) {
                for (int r = 0; r < W; ++r) packed[r] = OF_A ? unit_x(from + r, stride, GROUP) : unit_w(from + r, stride, GROUP);
                if (EXTRA && !OF_A) {
                    for (int r = 0; r < W; ++r) first[r] += first_of(from + r, stride, GROUP);
                }
                continue;
            }
            for (int r = 0; r < W; ++r) {
                const int64_t count = r < inside ? deep : 0;
                packed[r] = OF_A ? unit_x(from + r, stride, count) : unit_w(from + r, stride, count);
                if (EXTRA && !OF_A) first[r] += first_of(from + r, stride, count);
            }
        }
        if (EXTRA && !OF_A) {
            for (int r = 0; r < W; ++r) packed[r] = first[r];
            packed += W;
        }
    }
}
#endif

// Four bytes of a row are a unit, wherever they begin.
struct UnalignedByte {
    int8_t value;
};
static inline vec4 load4(const UnalignedByte* from) {
    vec4 units;
    __builtin_memcpy(&units, from, sizeof units);
    return units;
}
static inline float value_at(const UnalignedByte* from) {
    float unit;
    __builtin_memcpy(&unit, from, sizeof unit);
    return unit;
}

// The whole quadruples of a panel of rows, `units` of each of `width` rows: a transposition, after which A's are shifted and
// B's added up.
template <int W, bool OF_A>
static void pack_quadruples(int32_t* packed, const int8_t* source, int64_t stride, int64_t width, int64_t units,
                            int32_t (&first)[W]) {
    const UnalignedByte* from = reinterpret_cast<const UnalignedByte*>(source);
    pack_columns<W, UnalignedByte, GROUP>(reinterpret_cast<float*>(packed), from, stride, width, units);
    if (OF_A) {
        for (int64_t p = 0; p < units * W; ++p) packed[p] = shifted(packed[p]);
        return;
    }
    const vec highest = vec{} + int32_t(0x80808080u);
    for (int64_t j = 0; j + LANES <= W; j += LANES) {
        vec sums = {};
        for (int64_t p = 0; p < units; ++p) sums = multiply_add(highest, load(packed + p * W + j), sums);
        store(first + j, -sums);
    }
}

// Element (i, p) is source[i * stride + p].
template <int W, bool OF_A>
static void pack_transposed(int32_t* packed, const int8_t* source, int64_t stride, int64_t width, int64_t depth) {
    for (int64_t i = 0; i < width; i += W) {
        int32_t first[W] = {};
        int64_t p = 0;
        if (QUADS && (OF_A || W % LANES == 0)) {
            p = depth / GROUP * GROUP;
            pack_quadruples<W, OF_A>(packed, source + i * stride, stride, min_of(W, width - i), depth / GROUP, first);
            packed += depth / GROUP * W;
        }
        for (; p < depth; p += GROUP, packed += W) {
            for (int64_t r = 0; r < W; ++r) {
                const int8_t* from = source + (i + r) * stride + p;
                const int64_t count = i + r < width ? depth - p : 0;
                if (count >= GROUP) packed[r] = OF_A ? unit_x(from, 1, GROUP) : unit_w(from, 1, GROUP);
                else packed[r] = OF_A ? unit_x(from, 1, count) : unit_w(from, 1, count);
                if (EXTRA && !OF_A) first[r] += first_of(from, 1, count);
            }
        }
        if (EXTRA && !OF_A) {
            for (int r = 0; r < W; ++r) packed[r] = first[r];
            packed += W;
        }
    }
}
