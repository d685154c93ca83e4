// Operands of the AMX rungs in whole tiles of 1 KiB, filled up with zeros. A panel is MT tiles of A tall or NT tiles of
// B wide; its tiles of one step of k follow each other, and step follows step:
//
//   step 0: tile 0 ... tile MT-1   step 1: tile 0 ... tile MT-1   ...
#pragma once
#include <string.h>

#include "../common/amx.h"
#include "../common/simd.h"

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

// One tile of `depth` x `cols` elements: element (p, j) is source[p * next + j * col].
static inline void pack_tile_b(uint32_t* to, const Input* source, int64_t next, int64_t col, int64_t cols, int64_t depth) {
    if (cols == TILE && depth == STEP) {
        // The same with constant bounds, which compilers turn into vectors.
        for (int64_t u = 0; u < TILE; ++u) {
            for (int64_t j = 0; j < TILE; ++j) {
                to[u * TILE + j] = unit_of(source + u * GROUP * next + j * col, next, GROUP);
            }
        }
        return;
    }
    for (int64_t u = 0; u < TILE; ++u) {
        const int64_t count = max_of(0, min_of(GROUP, depth - u * GROUP));
        for (int64_t j = 0; j < TILE; ++j) {
            to[u * TILE + j] = j < cols ? unit_of(source + u * GROUP * next + j * col, next, count) : 0;
        }
    }
}

// The `count` panels of B from the one at column `begin` on, over all of k.
static void pack_panels_b(Sum* packed, const Input* B, int64_t n, int64_t k, int64_t begin, int64_t count) {
    const int64_t next = OPT_TRANS_B ? 1 : n, col = OPT_TRANS_B ? k : 1;
    uint32_t* to = reinterpret_cast<uint32_t*>(packed) + begin * steps_of(k) * TILE;
    for (int64_t j = begin; j < begin + count * COLS; j += COLS) {
        for (int64_t p = 0; p < k; p += STEP) {
            for (int64_t t = j; t < j + COLS; t += TILE, to += TILE_UNITS) {
                const int64_t cols = max_of(0, min_of(TILE, n - t));
                pack_tile_b(to, B + p * next + t * col, next, col, cols, min_of(STEP, k - p));
            }
        }
    }
}

// Units of one packed B.
static inline int64_t packed_units_b(int64_t n, int64_t k) { return ceil_div(n, COLS) * COLS * steps_of(k) * TILE; }
