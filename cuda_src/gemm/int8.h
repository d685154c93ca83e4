// Panels of int8 operands, in units of neighbours in k (dots8.h). A is what is stored shifted; a panel of B ends with a
// row of what its sums begin with, where there is such a thing.
#pragma once
#include "../common/dots8.h"

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

// Element (i, p) is source[i * stride + p].
template <int W, bool OF_A>
static void pack_transposed(int32_t* packed, const int8_t* source, int64_t stride, int64_t width, int64_t depth) {
    for (int64_t i = 0; i < width; i += W) {
        int32_t first[W] = {};
        for (int64_t p = 0; p < depth; p += GROUP, packed += W) {
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
