// Where the results are in images that are one line, their padding included: pixels that no result belongs to are taken out of
// a register of sixteen before it is written.
//
//   places  0 1 2 3 4 5 6 7 ...    rows of `pitch` 4 with 3 `columns`:  x x x - x x x - ...    pixels of Y  0 1 2 3 4 5 ...
#pragma once
#include "../common/masks.h"

// Of sixteen places: which are results, as many from the first lane on, and the pixel of the first of them.
struct Results {
    __mmask16 there, written;
    int64_t pixel;
};

// Of place `place` of an image and those behind it; results end before place `length`.
static inline Results results_from(int64_t place, int64_t pitch, int64_t columns, int64_t length) {
    const int64_t column = place % pitch;
    __mmask16 there = first_lanes(length - place);
    if (pitch > columns) {
        __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(int32_t(column)));
        const __m512i all = _mm512_set1_epi32(int32_t(pitch));
        for (__mmask16 over; (over = _mm512_cmpge_epi32_mask(lanes, all));) {
            lanes = _mm512_mask_sub_epi32(lanes, over, lanes, all);
        }
        there = __mmask16(there & _mm512_cmplt_epi32_mask(lanes, _mm512_set1_epi32(int32_t(columns))));
    }
    return {there, first_lanes(__builtin_popcount(there)), place / pitch * columns + min_of(column, columns)};
}
