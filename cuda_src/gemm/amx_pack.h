// Operands of the AMX rungs in whole tiles of 1 KiB, filled up with zeros. A panel is MT tiles of A tall or NT tiles of
// B wide; its tiles of one step of k follow each other, and step follows step:
//
//   step 0: tile 0 ... tile MT-1   step 1: tile 0 ... tile MT-1   ...
#pragma once
#include <emmintrin.h>
#include <string.h>

#include "../common/amx.h"
#include "../common/pack.h"

// Elements in a unit, and along k in a tile.
enum : int64_t { GROUP = 4 / sizeof(Input), STEP = TILE * GROUP };
enum : int64_t { ROWS = TILE * MT, COLS = TILE * NT };

static inline int64_t steps_of(int64_t depth) { return ceil_div(depth, STEP); }

// One tile of `rows` x `depth` elements, at most TILE x STEP of them: element (i, p) is source[i * row + p * next].
static inline void pack_tile_a(Input* to, const Input* source, int64_t row, int64_t next, int64_t rows, int64_t depth) {
    if (next == 1 && depth == STEP) {
        for (int64_t i = 0; i < rows; ++i) memcpy(to + i * STEP, source + i * row, TILE_ROW_BYTES);
    } else {
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t p = 0; p < depth; ++p) to[i * STEP + p] = source[i * row + p * next];
            memset(to + i * STEP + depth, 0, size_t(STEP - depth) * sizeof(Input));
        }
    }
    memset(to + rows * STEP, 0, size_t(TILE - rows) * TILE_ROW_BYTES);
}

// Panels of A over `rows` x `depth`.
static void pack_panels_a(Input* to, const Input* source, int64_t row, int64_t next, int64_t rows, int64_t depth) {
    for (int64_t i = 0; i < rows; i += ROWS) {
        for (int64_t p = 0; p < depth; p += STEP) {
            for (int64_t t = i; t < i + ROWS; t += TILE, to += TILE * STEP) {
                pack_tile_a(to, source + t * row + p * next, row, next, max_of(0, min_of(TILE, rows - t)),
                            min_of(STEP, depth - p));
            }
        }
    }
}

// GROUP neighbours along k, of which `count` are there.
static inline uint32_t unit_of(const Input* from, int64_t next, int64_t count) {
    Input together[GROUP] = {};
    for (int64_t g = 0; g < count; ++g) together[g] = from[g * next];
    uint32_t unit;
    memcpy(&unit, together, sizeof unit);
    return unit;
}

// 16 bytes of row `p` of B; zeros where there is no such row.
static inline __m128i row_or_zeros(const Input* source, int64_t next, int64_t p, int64_t depth) {
    return p < depth ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + p * next)) : _mm_setzero_si128();
}

// Sixteen columns of GROUP rows of B from row `p` on, as one row of a tile. By unpacking: with vectors of bytes that were
// converted to units by the compiler, a product of 128 x 3072 x 768 took 2.5 times as long (GCC 12, Xeon with AMX).
static inline void interleave(uint32_t* to, const Input* source, int64_t next, int64_t p, int64_t depth) {
    __m128i* at = reinterpret_cast<__m128i*>(to);
    const __m128i a = row_or_zeros(source, next, p, depth), b = row_or_zeros(source, next, p + 1, depth);
#if DTYPE_INT8
    const __m128i c = row_or_zeros(source, next, p + 2, depth), d = row_or_zeros(source, next, p + 3, depth);
    const __m128i ab_low = _mm_unpacklo_epi8(a, b), ab_high = _mm_unpackhi_epi8(a, b);
    const __m128i cd_low = _mm_unpacklo_epi8(c, d), cd_high = _mm_unpackhi_epi8(c, d);
    _mm_storeu_si128(at, _mm_unpacklo_epi16(ab_low, cd_low));
    _mm_storeu_si128(at + 1, _mm_unpackhi_epi16(ab_low, cd_low));
    _mm_storeu_si128(at + 2, _mm_unpacklo_epi16(ab_high, cd_high));
    _mm_storeu_si128(at + 3, _mm_unpackhi_epi16(ab_high, cd_high));
#else
    const __m128i c = row_or_zeros(source + 8, next, p, depth), d = row_or_zeros(source + 8, next, p + 1, depth);
    _mm_storeu_si128(at, _mm_unpacklo_epi16(a, b));
    _mm_storeu_si128(at + 1, _mm_unpackhi_epi16(a, b));
    _mm_storeu_si128(at + 2, _mm_unpacklo_epi16(c, d));
    _mm_storeu_si128(at + 3, _mm_unpackhi_epi16(c, d));
#endif
}

// Whole columns of a tile, of which `depth` rows are there.
static inline void interleave_rows(uint32_t* to, const Input* source, int64_t next, int64_t depth) {
    for (int64_t p = 0; p < STEP; p += GROUP, to += TILE) interleave(to, source, next, p, depth);
}

// Two neighbouring tiles of bf16 at once, in vectors of 64 bytes: a quarter of the instructions. A product of 128 x 3072 x
// 768 that packs block by block took 0.85 to 0.92 of the time (one thread). int8 gained nothing: it needs more shuffles.
#if DTYPE_BF16 && defined(__AVX512BW__) && __has_builtin(__builtin_shufflevector)
enum : bool { TILES_IN_PAIRS = !OPT_TRANS_B };
typedef uint16_t row32 __attribute__((vector_size(64)));

static inline row32 wide_row_or_zeros(const Input* source, int64_t next, int64_t p, int64_t depth) {
    row32 row = {};
    if (p < depth) memcpy(&row, source + p * next, sizeof row);
    return row;
}

static inline void pack_two_tiles_b(uint32_t* to, const Input* source, int64_t next, int64_t depth) {
    for (int64_t p = 0; p < STEP; p += GROUP, to += TILE) {
        const row32 a = wide_row_or_zeros(source, next, p, depth), b = wide_row_or_zeros(source, next, p + 1, depth);
        const row32 left = __builtin_shufflevector(a, b, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8,
                                                   40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);
        const row32 right = __builtin_shufflevector(a, b, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23,
                                                    55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31,
                                                    63);
        memcpy(to, &left, sizeof left);
        memcpy(to + TILE_UNITS, &right, sizeof right);
    }
}
#else
enum : bool { TILES_IN_PAIRS = false };
static inline void pack_two_tiles_b(uint32_t*, const Input*, int64_t, int64_t) {}
#endif

static inline vec4 load4_bytes(const Input* from) {
    vec4 value;
    memcpy(&value, from, sizeof value);
    return value;
}

// A whole tile of a transposed B: 16 rows of 16 units, `col` elements apart, become columns. Floats hold the bits.
static inline void transpose_units(uint32_t* to, const Input* source, int64_t col) {
    for (int64_t u = 0; u < TILE; u += 4) {
        for (int64_t j = 0; j < TILE; j += 4) {
            const Input* from = source + j * col + u * GROUP;
            const vec4 a = load4_bytes(from), b = load4_bytes(from + col);
            const vec4 c = load4_bytes(from + 2 * col), d = load4_bytes(from + 3 * col);
            const vec4 ab_low = PICK4(a, b, 0, 4, 1, 5), ab_high = PICK4(a, b, 2, 6, 3, 7);
            const vec4 cd_low = PICK4(c, d, 0, 4, 1, 5), cd_high = PICK4(c, d, 2, 6, 3, 7);
            float* at = reinterpret_cast<float*>(to) + u * TILE + j;
            store4(at, PICK4(ab_low, cd_low, 0, 1, 4, 5));
            store4(at + TILE, PICK4(ab_low, cd_low, 2, 3, 6, 7));
            store4(at + 2 * TILE, PICK4(ab_high, cd_high, 0, 1, 4, 5));
            store4(at + 3 * TILE, PICK4(ab_high, cd_high, 2, 3, 6, 7));
        }
    }
}

// One tile of `depth` x `cols` elements: element (p, j) is source[p * next + j * col].
static inline void pack_tile_b(uint32_t* to, const Input* source, int64_t next, int64_t col, int64_t cols, int64_t depth) {
    if (cols == TILE && !OPT_TRANS_B) return interleave_rows(to, source, next, depth);
    if (cols == TILE && depth == STEP) return transpose_units(to, source, col);
    for (int64_t u = 0; u < TILE; ++u) {
        const int64_t count = max_of(0, min_of(GROUP, depth - u * GROUP));
        for (int64_t j = 0; j < TILE; ++j) {
            to[u * TILE + j] = j < cols ? unit_of(source + u * GROUP * next + j * col, next, count) : 0;
        }
    }
}

// Panels of B one after the other: columns from a multiple of COLS on, over some steps of k. Rows of B are read along
// their length, all panels side by side: down one panel every line would be on a page of its own, and lines of rows that
// are a multiple of 4 KiB apart share one set of L1. A transposed B is read down its panels, for the same reasons.
static void pack_panels_b(Sum* packed, const Input* B, int64_t n, int64_t k, Range cols, Range steps) {
    const int64_t next = OPT_TRANS_B ? 1 : n, col = OPT_TRANS_B ? k : 1;
    const int64_t panels = ceil_div(cols.size(), COLS), outer = OPT_TRANS_B ? panels : steps.size();
    const int64_t inner = OPT_TRANS_B ? steps.size() : panels;
    for (int64_t o = 0; o < outer; ++o) {
        for (int64_t q = 0; q < inner; ++q) {
            const int64_t panel = OPT_TRANS_B ? o : q, step = OPT_TRANS_B ? q : o, p = (steps.begin + step) * STEP;
            uint32_t* to = reinterpret_cast<uint32_t*>(packed) + (panel * steps.size() + step) * NT * TILE_UNITS;
            const int64_t depth = min_of(STEP, k - p);
            int64_t t = cols.begin + panel * COLS, tile = 0;
            for (; TILES_IN_PAIRS && tile + 2 <= NT && t + 2 * TILE <= n; tile += 2, t += 2 * TILE, to += 2 * TILE_UNITS) {
                pack_two_tiles_b(to, B + p * next + t, next, depth);
            }
            for (; tile < NT; ++tile, t += TILE, to += TILE_UNITS) {
                const int64_t inside = max_of(0, min_of(TILE, n - t));
                pack_tile_b(to, B + p * next + t * col, next, col, inside, depth);
            }
        }
    }
}

// Units of one packed B.
static inline int64_t packed_units_b(int64_t n, int64_t k) { return ceil_div(n, COLS) * COLS * steps_of(k) * TILE; }
