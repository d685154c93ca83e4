// The softmax of one panel of scores as AMX leaves them and as it wants the probabilities: rows of f32 become tiles of
// bf16. Each probability is rounded to bf16 once, and the sum is that of the rounded ones, as they multiply the values.
#pragma once
#include "../common/exp2.h"
#include "amx_pack.h"
#include "exp2_bf16.h"

// From one row of scores to the next; not a power of two, since lines 4 KiB apart share a set of L1.
enum : int64_t { SCORES = BLOCK_KV + TILE };

// Keys a row of a panel sees: `seen` of the first `wide`, a multiple of 32.
struct Seen {
    int64_t seen, wide;
};

// A row's largest score, lane by lane.
static inline __m512 largest_of_row(const float* scores, Seen row) {
    __m512 found = _mm512_set1_ps(HIDDEN), second = found;
    int64_t j = 0;
    for (; j + DEEP <= row.seen; j += DEEP) {
        found = _mm512_max_ps(found, _mm512_loadu_ps(scores + j));
        second = _mm512_max_ps(second, _mm512_loadu_ps(scores + j + TILE));
    }
    for (; j < row.seen; j += TILE) {
        const __mmask16 there = first_lanes(row.seen - j);
        found = _mm512_mask_max_ps(found, there, found, _mm512_maskz_loadu_ps(there, scores + j));
    }
    return _mm512_max_ps(found, second);
}

// 16 vectors into one: lane r is what `combine` makes of the lanes of vector r.
template <class Combine>
static inline __m512 across_rows(__m512* v, Combine combine) {
    __m512 half[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        // Lanes 4l, 4l + 1 are of vector i, then two of vector i + 8.
        half[i] = combine(_mm512_shuffle_ps(v[i], v[i + 8], 0x44), _mm512_shuffle_ps(v[i], v[i + 8], 0xee));
    }
    __m512 quarter[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        // One lane in four each: vectors i, i + 8, i + 4, i + 12.
        quarter[i] = combine(_mm512_shuffle_ps(half[i], half[i + 4], 0x88), _mm512_shuffle_ps(half[i], half[i + 4], 0xdd));
    }
    __m512 eighth[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        // Of four 16-byte lanes two of vectors i ..., two of vectors i + 2 ....
        eighth[i] = combine(_mm512_shuffle_f32x4(quarter[i], quarter[i + 2], 0x44),
                            _mm512_shuffle_f32x4(quarter[i], quarter[i + 2], 0xee));
    }
    const __m512 all = combine(_mm512_shuffle_f32x4(eighth[0], eighth[1], 0x88), _mm512_shuffle_f32x4(eighth[0], eighth[1], 0xdd));
    // Four lanes each of vectors 0, 2, 1, 3 and, within, those 0, 8, 4, 12 further on.
    const __m512i order = _mm512_setr_epi32(0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15);
    return _mm512_permutexvar_ps(order, all);
}

// A row's scores by 32, the last ones filled up with scores that are not there: put(low, high). Returns the keys that were.
template <class Put>
static inline __attribute__((always_inline)) int64_t by_pairs(const float* scores, Seen row, Put&& put) {
    int64_t j = 0;
    for (; j + DEEP <= row.seen; j += DEEP) put(_mm512_loadu_ps(scores + j), _mm512_loadu_ps(scores + j + TILE));
    if (j == row.seen) return j;
    const __m512 hidden = _mm512_set1_ps(HIDDEN);
    const int64_t rest = row.seen - j;
    put(_mm512_mask_loadu_ps(hidden, first_lanes(rest), scores + j),
        _mm512_mask_loadu_ps(hidden, first_lanes(rest - TILE), scores + j + TILE));
    return j + DEEP;
}

// How far a scaled score is from the largest. With `FAR` the scores are so large that the product's rounding counts: the
// largest has to be rounded as it was before, to be at 0 (a builtin in place of `*`, which the compiler fuses).
template <bool FAR>
static inline __m512 below(__m512 score, __m512 scale, __m512 largest) {
    if (!FAR) return _mm512_fmsub_ps(score, scale, largest);
    return _mm512_sub_ps(_mm512_mul_round_ps(score, scale, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), largest);
}

// One row's probabilities to its places in `to`, tile after tile along the keys; adds them to `total`.
template <bool FAR>
static inline __m512 probabilities_of_row(char* to, const float* scores, Seen row, float scale, float top, __m512 total) {
    alignas(64) static const uint16_t UPPER[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                                   33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    const __m512i upper = _mm512_load_si512(UPPER), ones = _mm512_set1_epi16(0x3f80);
    const __m512 factor = _mm512_set1_ps(scale), largest = _mm512_set1_ps(top);
    auto put = [&](__m512 low, __m512 high) __attribute__((always_inline)) {
        low = below<FAR>(low, factor, largest), high = below<FAR>(high, factor, largest);
        const __m512i p = _mm512_permutex2var_epi16((__m512i)exp2_for_bf16(low), upper, (__m512i)exp2_for_bf16(high));
        _mm512_storeu_si512(to, p);
        total = _mm512_dpbf16_ps(total, (__m512bh)p, (__m512bh)ones);
        to += TALL * TILE_BYTES;
    };
    int64_t j = by_pairs(scores, row, put);
    for (; j < row.wide; j += DEEP, to += TALL * TILE_BYTES) _mm512_storeu_si512(to, _mm512_setzero_si512());
    return total;
}
