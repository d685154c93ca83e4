// Numbers of f32 as three of bf16, for tiles that multiply those. A number is the sum of its parts: the nearest bf16, the
// nearest to what that leaves, and the rest, which is one: 8 bits and a sign each, of the 24 that there are (Henry, Tang
// and Heinecke, Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations, ARITH 2019).
#pragma once
#include "amx_rows.h"

enum : int64_t { PARTS = 3, TILE_BYTES = TILE * TILE_ROW_BYTES };

// NaN, infinities, and what is rounded to an infinity: such a number has no parts.
enum : int { WITHOUT_PARTS = 0x7f7f8000 };  // the bits of the least
static inline __m512i bits_of_size(__m512 x) {
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}
static inline __mmask16 without_parts(__m512i size) {
    return _mm512_cmp_epi32_mask(size, _mm512_set1_epi32(WITHOUT_PARTS), _MM_CMPINT_NLT);
}
static inline __mmask16 without_parts(__m512 x) { return without_parts(bits_of_size(x)); }

// Whether one of many vectors has such a number: the largest is looked at when all have been seen.
struct Largest {
    __m512i bits = _mm512_setzero_si512();
    __attribute__((always_inline)) void see(__m512 x) { bits = _mm512_max_epi32(bits, bits_of_size(x)); }
    bool special() const { return without_parts(bits); }
};

// The nearest bf16, the larger of two, as f32.
static inline __m512 rounded(__m512 x) {
    const __m512i up = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    return _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(int(0xffff0000))));
}

// The parts of two vectors as units, from the first on: `put(part, units)` stores them.
template <class Put>
static inline __attribute__((always_inline)) void split_in_parts(__m512 low, __m512 high, Put&& put) {
    for (int64_t part = 0; part + 1 < PARTS; ++part) {
        const __m512 low_part = rounded(low), high_part = rounded(high);
        put(part, units_of(low_part, high_part));
        low = _mm512_sub_ps(low, low_part), high = _mm512_sub_ps(high, high_part);
    }
    put(PARTS - 1, units_of(low, high));
}

// The same as rows of three tiles that are `next` bytes apart.
static inline __attribute__((always_inline)) void put_parts(char* to, int64_t next, __m512 low, __m512 high) {
    split_in_parts(low, high, [&](int64_t part, __m512i units) __attribute__((always_inline)) {
        _mm512_storeu_si512(to + part * next, units);
    });
}
