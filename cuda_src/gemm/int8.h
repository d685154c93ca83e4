// Panels of int8 operands, in units of neighbours in k (dots8.h). A is what is stored shifted; a panel of B ends with a
// row of what its sums begin with, where there is such a thing.
#pragma once
#include "../common/dots8.h"
#include "../common/pack.h"

// A unit of A where it lies, whole or its first `rest` elements, in all lanes.
static inline vec splat_unit(const int8_t* from) {
    int32_t unit;
    __builtin_memcpy(&unit, from, sizeof unit);
    return in_register(splat(unit)) ^ (vec{} + int32_t(0x80808080u));
}
static inline vec splat_unit(const int8_t* from, int64_t rest) { return splat(unit_x(from, 1, rest)); }

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

// A whole panel of rows whose quadruples lie as they are wanted, `units` of them each: a transposition, after which A's are
// shifted and B's added up.
template <int W, bool OF_A>
static void pack_quadruples(int32_t* packed, const int8_t* source, int64_t stride, int64_t units, int32_t (&first)[W]) {
    const float* from = reinterpret_cast<const float*>(source);
    pack_columns<W>(reinterpret_cast<float*>(packed), from, stride / 4, W, units);
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
        if (QUADS && (OF_A || W % LANES == 0) && i + W <= width && stride % 4 == 0) {
            p = depth / GROUP * GROUP;
            pack_quadruples<W, OF_A>(packed, source + i * stride, stride, depth / GROUP, first);
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
