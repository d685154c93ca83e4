// Rows of a tile (amx.h) as vectors: units of two bf16 made of floats, rows that become columns.
#pragma once
#include <immintrin.h>

#include "amx.h"
#include "masks.h"

// The upper halves of two vectors of floats, as a row of units of elements i of both. Along the sum any order will do, if
// both operands have the same; to put neighbours beside each other takes a permutation.
static inline __m512i units_of(__m512 low, __m512 high) {
    const __m512i below = _mm512_srli_epi32(_mm512_castps_si512(low), 16), upper = _mm512_set1_epi32(int(0xffff0000));
    return _mm512_ternarylogic_epi32(below, _mm512_castps_si512(high), upper, 0xf8);  // below | (high & upper)
}

// 16 rows of 16 units become columns: four units of four rows that lie in one 16-byte lane each are exchanged at a time.
// row(i) is where row i lies.
template <class Row>
static inline void transpose_units(char* to, Row&& row) {
    const auto four = [&](int64_t i, int64_t at) {  // of rows i, i + 4, i + 8, i + 12
        const auto piece = [&](int64_t r) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row(r) + at)); };
        __m512i v = _mm512_castsi128_si512(piece(i));
        v = _mm512_inserti32x4(v, piece(i + 4), 1);
        v = _mm512_inserti32x4(v, piece(i + 8), 2);
        return _mm512_inserti32x4(v, piece(i + 12), 3);
    };
    for (int64_t at = 0; at < TILE_ROW_BYTES; at += 16, to += 4 * TILE_ROW_BYTES) {
        const __m512i a = four(0, at), b = four(1, at), c = four(2, at), d = four(3, at);
        const __m512i ab_low = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b);
        const __m512i cd_low = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
        _mm512_storeu_si512(to, _mm512_unpacklo_epi64(ab_low, cd_low));
        _mm512_storeu_si512(to + TILE_ROW_BYTES, _mm512_unpackhi_epi64(ab_low, cd_low));
        _mm512_storeu_si512(to + 2 * TILE_ROW_BYTES, _mm512_unpacklo_epi64(ab_high, cd_high));
        _mm512_storeu_si512(to + 3 * TILE_ROW_BYTES, _mm512_unpackhi_epi64(ab_high, cd_high));
    }
}
