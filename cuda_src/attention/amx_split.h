// Numbers of f32 as sums of three of bf16: each takes the upper eight of the bits that are left, so nothing is lost, and
// a product of two numbers is that of their parts. The three smallest of the nine (below 2^-21 of the whole, 2^-24 on
// average) are left out: what is, errs as an f32 product does (Henry, Tang and Heinecke, Leveraging the bfloat16 artificial
// intelligence datatype for higher-precision computations, ARITH 2019).
#pragma once
#include "amx_softmax.h"

enum : int64_t { PARTS = 3 };

// What the part above leaves. A part is the upper half of each element; an infinity leaves NaN.
static inline __m512 rest_of(__m512 x) {
    const __m512i upper = _mm512_set1_epi32(int(0xffff0000));
    return _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), upper)));
}

static inline __mmask16 not_finite(__m512 x) { return _mm512_fpclass_ps_mask(x, 0x99); }  // NaN of both kinds, infinities

// The parts of two vectors, as three rows of a tile, `next` bytes from one to the next.
static inline void put_parts(char* to, int64_t next, __m512 low, __m512 high) {
#pragma GCC unroll 3
    for (int64_t part = 0; part < PARTS; ++part) {
        _mm512_storeu_si512(to + part * next, units_of(low, high));
        if (part + 1 < PARTS) low = rest_of(low), high = rest_of(high);
    }
}

// Elements t ... t + 15 of a row of d.
static inline __m512 piece(const float* row, int64_t t, int64_t d) {
    return _mm512_maskz_loadu_ps(first_lanes(d - t), row + t);
}

// 16 rows of queries, of which `rows` are there: [part][step of d] tiles.
static inline void split_queries(char* to, const float* from, int64_t rows, int64_t d) {
    const int64_t next = ceil_div(d, DEEP) * TILE_BYTES;
    for (int64_t t = 0; t < d; t += DEEP, to += TILE_BYTES) {
        for (int64_t i = 0; i < TILE; ++i) {
            const bool there = i < rows;
            put_parts(to + i * TILE_ROW_BYTES, next, there ? piece(from + i * d, t, d) : _mm512_setzero_ps(),
                      there ? piece(from + i * d, t + TILE, d) : _mm512_setzero_ps());
        }
    }
}

// The 16 keys from token `first` on, those before `end` are there: [part][step of d] tiles. Returns whether one has an
// element that is no number.
static inline bool split_keys(char* to, const Cache& keys, int64_t first, int64_t end, int64_t d) {
    alignas(64) char copy[PARTS][TILE_BYTES];
    const int64_t next = ceil_div(d, DEEP) * TILE_BYTES;
    __mmask16 special = 0;
    for (int64_t t = 0; t < d; t += DEEP, to += TILE_BYTES) {
        for (int64_t i = 0; i < TILE; ++i) {
            __m512 low = _mm512_setzero_ps(), high = low;
            if (first + i < end) low = piece(keys[first + i], t, d), high = piece(keys[first + i], t + TILE, d);
            special |= not_finite(low) | not_finite(high);
            put_parts(copy[0] + i * TILE_ROW_BYTES, TILE_BYTES, low, high);
        }
        for (int64_t part = 0; part < PARTS; ++part) {
            transpose_units(to + part * next, [&](int64_t i) { return copy[part] + i * TILE_ROW_BYTES; });
        }
    }
    return special != 0;
}

// The 32 values from token `first` on, those before `end` are there: [part][16 columns] tiles. Those that are no numbers
// are 0 in them: a probability's part may be 0, and 0 times an infinity is a NaN. Returns whether there are such.
static inline bool split_values(char* to, const Cache& values, int64_t first, int64_t end, int64_t d) {
    const int64_t columns = ceil_div(d, DEEP) * DEEP, next = columns / TILE * TILE_BYTES;
    __mmask16 special = 0;
    for (int64_t t = 0; t < columns; t += TILE, to += TILE_BYTES) {
        for (int64_t u = 0; u < TILE; ++u) {
            __m512 pair[2];
            for (int64_t i = 0; i < 2; ++i) {
                const int64_t token = first + u + i * TILE;
                pair[i] = token < end ? piece(values[token], t, d) : _mm512_setzero_ps();
                const __mmask16 wrong = not_finite(pair[i]);
                pair[i] = _mm512_maskz_mov_ps(__mmask16(~wrong), pair[i]);
                special |= wrong;
            }
            put_parts(to + u * TILE_ROW_BYTES, next, pair[0], pair[1]);
        }
    }
    return special != 0;
}

// 2^x for x <= 0. The polynomial, of 2^f on [0, 1), has the least largest relative error, 7.5e-8 (a linear program over 2001
// Chebyshev points); rounded it errs by 1.5e-7 at most. Where x is -inf the result is 0, a NaN stays.
static inline __m512 exp2_by_floor(__m512 x) {
    const __m512 f = _mm512_reduce_ps(x, 0x01);  // x - floor(x)
    __m512 p = _mm512_set1_ps(0.0018775786441192416f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.00898933869812241f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.05582631507943165f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.24015362048824254f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.6931530721266174f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.999999925118611f));
    return _mm512_scalef_ps(p, x);
}

// One row's probabilities to its places in `to`, [32 keys][part][TALL] tiles; adds them to `total`.
template <bool FAR>
static inline __m512 split_probabilities(char* to, const float* scores, Seen row, float scale, float top, __m512 total) {
    const __m512 factor = _mm512_set1_ps(scale), largest = _mm512_set1_ps(top);
    auto put = [&](__m512 low, __m512 high) __attribute__((always_inline)) {
        low = exp2_by_floor(below<FAR>(low, factor, largest));
        high = exp2_by_floor(below<FAR>(high, factor, largest));
        total = _mm512_add_ps(total, _mm512_add_ps(low, high));
        put_parts(to, TALL * TILE_BYTES, low, high);
        to += PARTS * TALL * TILE_BYTES;
    };
    int64_t j = by_pairs(scores, row, put);
    for (; j < row.wide; j += DEEP, to += PARTS * TALL * TILE_BYTES) {
        for (int64_t part = 0; part < PARTS; ++part) _mm512_storeu_si512(to + part * TALL * TILE_BYTES, _mm512_setzero_si512());
    }
    return total;
}
