// Panels of bf16 operands in words of two neighbours in k (dots16.h), and rows of B that become words where they lie.
#pragma once
#include "../common/dots16.h"
#include "edge.h"

// `V` vectors of words, of columns from `first` on and of the row `stride` elements behind it; HALF: of zeros. CUT: `inside`
// says which lanes of the last vector are inside the matrix.
template <int V, bool CUT, bool HALF>
static inline __attribute__((always_inline)) void words_of_rows(vec (&row)[V], const Input* first, int64_t stride,
                                                                Lanes inside) {
    const uint32_t inside_32 = 0xffff | uint32_t(inside) << 16;
#pragma GCC unroll 16
    for (int j = 0; j < V; j += 2) {
        const Input *above = first + j * LANES, *below = above + stride;
        const bool cut = CUT && j + 2 >= V;
        if (j + 1 < V) {
            const halves32 a = cut ? load_32(above, inside_32) : load_32(above);
            const halves32 b = HALF ? halves32{} : cut ? load_32(below, inside_32) : load_32(below);
            rows_of_words(a, b, row[j], row[j + 1]);
        } else {
            const bits16 a = cut ? load_16(above, inside) : load_16(above);
            const bits16 b = HALF ? bits16{} : cut ? load_16(below, inside) : load_16(below);
            row[j] = row_of_words(a, b);
        }
    }
}

static inline void store_words(Sum* to, vec words, int64_t count) {
    if (count >= LANES) store(to, words);
    else store_first(to, words, first_lanes(count));
}

// A row of a panel, W wide, of which `width` columns are there.
template <int W, bool HALF>
static inline void pack_row(Sum* to, const Input* first, int64_t stride, int64_t width) {
    if (W % LANES == 0 && width >= W) {
        constexpr int V = W / LANES > 0 ? W / LANES : 1;
        vec row[V];
        words_of_rows<V, false, HALF>(row, first, stride, Lanes{});
        for (int j = 0; j < V; ++j) store(to + j * LANES, row[j]);
        return;
    }
    for (int64_t j = 0; j < W; j += LANES) {
        vec row[1];
        const int64_t inside = max_of(0, min_of(min_of(W, width) - j, LANES));
        words_of_rows<1, true, HALF>(row, first + j, stride, first_lanes(inside));
        store_words(to + j, row[0], W - j);
    }
}

// As in pack.h, `depth` and `p` counting elements: element (i, p) is source[p * stride + i].
template <int W>
static void pack_rows(Sum* packed, const Input* source, int64_t stride, int64_t width, int64_t depth) {
    const int64_t units = ceil_div(depth, GROUP), whole = depth / GROUP;
    for (int64_t begin = 0; begin < units; begin += 8) {
        const int64_t end = min_of(begin + 8, units);
        for (int64_t i = 0; i < width; i += W) {
            for (int64_t u = begin; u < end; ++u) {
                Sum* to = packed + i * units + u * W;
                const Input* first = source + u * GROUP * stride + i;
                if (u < whole) pack_row<W, false>(to, first, stride, width - i);
                else pack_row<W, true>(to, first, stride, width - i);
            }
        }
    }
}

// Sixteen words, or LANES columns of as many words as there are, of up to sixteen rows of a panel.
template <bool WHOLE>
static inline __attribute__((always_inline)) void pack_block(Sum* to, int64_t width, const Input* source, int64_t stride,
                                                             int64_t rows, int64_t lanes, int64_t depth) {
    vec block[LANES];
#pragma GCC unroll 16
    for (int r = 0; r < LANES; ++r) {
        if (WHOLE) block[r] = load_words(source + r * stride);
        else block[r] = r < rows ? (vec)load_32(source + r * stride, first_of_32(depth)) : vec{};
    }
    transpose_words(block);
#pragma GCC unroll 16
    for (int c = 0; c < LANES; ++c) {
        if (WHOLE) store(to + c * width, block[c]);
        else if (GROUP * c < depth) store_words(to + c * width, block[c], lanes);
    }
}

// Element (i, p) is source[i * stride + p]: a transposition in blocks of 16 x 16 words, each row's a whole line.
template <int W>
static void pack_transposed(Sum* packed, const Input* source, int64_t stride, int64_t width, int64_t depth) {
    const int64_t units = ceil_div(depth, GROUP);
    for (int64_t i = 0; i < width; i += W, packed += W * units) {
        for (int64_t p = 0; p < depth; p += GROUP * LANES) {
            for (int64_t j = 0; j < W; j += LANES) {
                const int64_t rows = min_of(W, width - i) - j, lanes = min_of(LANES, W - j), deep = depth - p;
                const Input* from = source + (i + j) * stride + p;
                Sum* to = packed + p / GROUP * W + j;
                const bool whole = rows >= LANES && lanes == LANES && deep >= GROUP * LANES;
                (whole ? pack_block<true> : pack_block<false>)(to, W, from, stride, rows, lanes, deep);
            }
        }
    }
}
