// Operands of f32 as three of bf16 (amx_parts.h) in whole tiles of 1 KiB, filled up with zeros. A panel is MT tiles of A
// tall or NT tiles of B wide:
//
//   step 0: part 0 of tile 0 ... tile MT-1, part 1 of the same tiles, part 2   step 1: ...
//
// A step is 32 elements along k. A unit of a tile, two bf16, holds elements u and u + 16 of a step in place of neighbours:
// any order will do if both operands have it, and these two vectors need no permutation.
#pragma once
#include "../common/amx_parts.h"
#include "../common/simd.h"

enum : int64_t { STEP = 32, NT = 2, ROWS = TILE * MT, COLS = TILE * NT };

static inline int64_t steps_of(int64_t depth) { return ceil_div(depth, STEP); }

// Units of a panel of A and of B, for each step.
enum : int64_t { STEP_A = PARTS * MT * TILE_UNITS, STEP_B = PARTS * NT * TILE_UNITS };

// The parts of 16 rows (or columns) of which `there` exist, `depth` elements along k of each. ALONG: those are neighbours
// in memory, else the 16 are. Returns which lanes saw a number without parts.
template <bool ALONG>
static inline __mmask16 split_tile(char* to, int64_t next, const float* from, int64_t stride, int64_t there,
                                   int64_t depth) {
    const int64_t count = ALONG ? there : depth, length = ALONG ? depth : there;
    const __mmask16 below = first_lanes(length), above = ALONG ? first_lanes(length - TILE) : below;
    const int64_t second = ALONG ? TILE : TILE * stride;
    __mmask16 wrong = 0;
    for (int64_t i = 0; i < TILE; ++i, from += stride, to += TILE_ROW_BYTES) {
        __m512 low = _mm512_setzero_ps(), high = low;
        if (i < count) low = _mm512_maskz_loadu_ps(below, from);
        if (i + (ALONG ? 0 : TILE) < count) high = _mm512_maskz_loadu_ps(above, from + second);
        wrong = __mmask16(wrong | without_parts(low) | without_parts(high));
        put_parts(to, next, low, high);
    }
    return wrong;
}

// Panels of op(A), or with RIGHT of op(B), over a range of its rows or columns, of which there are `end`, and some steps
// of k. Rows of the source are read along their length. Of panels with a number without parts `special` becomes 1.
template <bool RIGHT, bool ALONG>
static void pack_panels(Sum* packed, const float* source, int64_t end, int64_t k, Range across, Range steps,
                        int32_t* special) {
    constexpr int64_t TILES = RIGHT ? NT : MT, WIDE = TILES * TILE, NEXT = TILES * TILE_BYTES;
    const int64_t stride = ALONG ? k : end, panels = ceil_div(across.size(), WIDE);
    const int64_t outer = ALONG ? panels : steps.size(), inner = ALONG ? steps.size() : panels;
    for (int64_t o = 0; o < outer; ++o) {
        for (int64_t q = 0; q < inner; ++q) {
            const int64_t panel = ALONG ? o : q, step = ALONG ? q : o, p = (steps.begin + step) * STEP;
            char* to = reinterpret_cast<char*>(packed) + (panel * steps.size() + step) * PARTS * NEXT;
            __mmask16 wrong = 0;
            for (int64_t t = 0; t < TILES; ++t, to += TILE_BYTES) {
                const int64_t at = across.begin + panel * WIDE + t * TILE, there = max_of(0, min_of(TILE, end - at));
                const float* from = source + (ALONG ? at * stride + p : p * stride + at);
                const int64_t depth = min_of(STEP, k - p);
                if (RIGHT != ALONG) {
                    wrong = __mmask16(wrong | split_tile<ALONG>(to, NEXT, from, stride, there, depth));
                    continue;
                }
                alignas(64) char other[PARTS * TILE_BYTES];
                wrong = __mmask16(wrong | split_tile<ALONG>(other, TILE_BYTES, from, stride, there, depth));
                for (int64_t part = 0; part < PARTS; ++part) {
                    transpose_units(to + part * NEXT, [&](int64_t i) { return other + part * TILE_BYTES + i * TILE_ROW_BYTES; });
                }
            }
            if (wrong) special[across.begin / WIDE + panel] = 1;
        }
    }
}

static void pack_a(Sum* packed, const float* A, int64_t m, int64_t k, Range rows, Range steps, int32_t* special) {
    pack_panels<false, !OPT_TRANS_A>(packed, A, m, k, rows, steps, special);
}

static void pack_b(Sum* packed, const float* B, int64_t n, int64_t k, Range cols, Range steps, int32_t* special) {
    pack_panels<true, bool(OPT_TRANS_B)>(packed, B, n, k, cols, steps, special);
}

// Units of one packed B: its panels, and behind them whether each is special.
static inline int64_t units_of_panels_b(int64_t n, int64_t k) { return ceil_div(n, COLS) * steps_of(k) * STEP_B; }
static inline int64_t packed_units_b(int64_t n, int64_t k) {
    return units_of_panels_b(n, k) + ceil_div(ceil_div(n, COLS), TILE) * TILE;
}
static inline int32_t* special_of(Sum* packed, int64_t n, int64_t k) {
    return reinterpret_cast<int32_t*>(packed + units_of_panels_b(n, k));
}
