// Queries, keys and values as tiles of 1 KiB (common/amx.h), filled up with zeros: of queries 16 rows of 32 elements; of
// keys 16 units of two neighbours along d, each of 16 keys; of values 16 units of two neighbouring keys, each of 16 columns.
#pragma once
#include <string.h>

#include "../common/amx_rows.h"
#include "problem.h"

enum : int64_t { DEEP = 32, TILE_BYTES = 1024 };  // elements along the sum of a tile's row

static inline __mmask32 first_of(int64_t count) { return count >= DEEP ? ~__mmask32(0) : (__mmask32(1) << count) - 1; }

// 16 rows of queries, of which `rows` are there, tile after tile along d.
static inline void pack_queries(char* to, const element* from, int64_t rows, int64_t d) {
    for (int64_t t = 0; t < d; t += DEEP, to += TILE_BYTES) {
        const __mmask32 there = first_of(d - t);
        for (int64_t i = 0; i < TILE; ++i) {
            const __m512i row = i < rows ? _mm512_maskz_loadu_epi16(there, from + i * d + t) : _mm512_setzero_si512();
            _mm512_storeu_si512(to + i * TILE_ROW_BYTES, row);
        }
    }
}

// The 16 keys from token `first` on, those before `end` are there, tile after tile along d.
static inline void pack_keys(char* to, const Cache& keys, int64_t first, int64_t end, int64_t d) {
    alignas(64) char copy[TILE_BYTES];
    const char* rows[TILE];
    for (int64_t t = 0; t < d; t += DEEP, to += TILE_BYTES) {
        const bool whole = first + TILE <= end && t + DEEP <= d;
        for (int64_t i = 0; i < TILE; ++i) {
            rows[i] = copy + i * TILE_ROW_BYTES;
            if (whole) {
                rows[i] = reinterpret_cast<const char*>(keys[first + i] + t);
                continue;
            }
            __m512i row = _mm512_setzero_si512();
            if (first + i < end) row = _mm512_maskz_loadu_epi16(first_of(d - t), keys[first + i] + t);
            _mm512_store_si512(copy + i * TILE_ROW_BYTES, row);
        }
        transpose_units(to, [&](int64_t i) { return rows[i]; });
    }
}

// The 32 values from token `first` on, those before `end` are there, two tiles of columns after the other. Returns whether
// one of them is infinite or NaN.
static inline bool pack_values(char* to, const Cache& values, int64_t first, int64_t end, int64_t d) {
    alignas(64) uint16_t picks[2][DEEP];  // of both rows in turn: the elements 0 ... 15, and 16 ... 31
    for (int i = 0; i < DEEP; ++i) {
        picks[0][i] = uint16_t(i / 2 + i % 2 * DEEP);
        picks[1][i] = uint16_t(i / 2 + 16 + i % 2 * DEEP);
    }
    const __m512i low = _mm512_load_si512(picks[0]), high = _mm512_load_si512(picks[1]);
    const __m512i exponent = _mm512_set1_epi16(0x7f80);
    __mmask32 special = 0;
    for (int64_t t = 0; t < d; t += DEEP, to += 2 * TILE_BYTES) {
        const __mmask32 there = first_of(d - t);
        for (int64_t u = 0; u < TILE; ++u) {
            __m512i pair[2];
            for (int64_t i = 0; i < 2; ++i) {
                const int64_t token = first + 2 * u + i;
                pair[i] = token < end ? _mm512_maskz_loadu_epi16(there, values[token] + t) : _mm512_setzero_si512();
                if (OPT_CAUSAL) special |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(pair[i], exponent), exponent);
            }
            _mm512_storeu_si512(to + u * TILE_ROW_BYTES, _mm512_permutex2var_epi16(pair[0], low, pair[1]));
            _mm512_storeu_si512(to + TILE_BYTES + u * TILE_ROW_BYTES, _mm512_permutex2var_epi16(pair[0], high, pair[1]));
        }
    }
    return special != 0;
}
