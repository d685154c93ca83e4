// The product of f32 by AMX: what a thread does with its part of D, and how it is dealt out. Each number is three of bf16
// (amx_split_pack.h), and of the nine products of two such sums six are computed: those left out are below 2^-23 of the
// whole. The configuration's macros are defined before this is included.
/*[tuner.shared]
[amx_split.parameters]
MT = { values = [2, 1], doc = "tiles of sums, 16 x 16, along m; along n there are two" }
MC = { values = [32, 64, 128, 256, 512, 1024, 2048], doc = "rows of a block of A, which stays in L2" }
NC = { values = [64, 128, 256, 512, 1024, 2048, 4096], doc = "columns of B between two packings of A" }
KC = { values = [64, 128, 256, 512, 1024, 2048, 4096], doc = "depth of both blocks" }
KL = { values = [64, 128, 256, 512, 1024, 2048, 4096], doc = "depth of the panel of B past which A streams" }
FETCH_B = { values = [true, false], doc = "fetch the next panel of B into L2 meanwhile, where all of B is packed" }
SPLIT_N = { values = [1, 2, 3, 4, 6, 8, 12, 16], doc = "threads along n; the rest of them along m" }

[amx_split.let]
# An element takes six bytes.
panel = "KL * 32 * 6"
streamed = "KC * MC * 6"

[amx_split.constraints]
rows_used = "MT == 1 or m > 16"
# Two tiles of sums wait for each other.
sums_enough = "MT == 2 or m <= 48"
# In L1, or all there is of B's panel, read from L2.
panel_in_cache = "panel * 3 <= l1d_bytes * 2 or KL == KC and panel * 4 <= l2_bytes"
streamed_block_in_l2 = "streamed * 4 <= l2_bytes * 3"
# A block larger than the operand is the operand: only the smallest such value is kept.
blocks_used = "(MC < 2 * m or MC == 32) and (NC < 2 * n or NC == 64) and (KC < 2 * k or KC == 64)"
# A pass over the sums for a few steps of k costs more than it saves.
deep_enough = "KC >= 256 or KC >= k"
panel_deep_enough = "KL <= KC"
grid = "threads % SPLIT_N == 0"

[amx_split.features]
panel_bytes = "panel"
streamed_bytes = "streamed"
passes_over_d = "ceildiv(k, KL)"
*/
#pragma once
#define HUGE_PAGES 1
#include <string.h>

#include "../common/arena.h"
#include "../common/team.h"
#include "../common/text.h"
#include "amx_split_pack.h"
#include "epilogue.h"

// PACK_B is `whole` (all threads pack all of B first), `blocks` (each what it multiplies next) or `ahead`.
static constexpr bool OWN_B = TEXT(PACK_B)[0] == 'b', AHEAD = TEXT(PACK_B)[0] == 'a';
enum : int64_t { BLOCK_UNITS = ROWS * COLS };

// Tiles of one part of A are 4 and 5, of B 6 and 7; sums are 0 ... 3, two of them to a tile of A.
template <int FIRST>
static inline __attribute__((always_inline)) void load_part(const char* from) {
    tile_load<FIRST>(from, TILE_ROW_BYTES);
    if (FIRST == 6 || MT == 2) tile_load<FIRST + 1>(from + TILE_BYTES, TILE_ROW_BYTES);
}

// Products of the parts that are there. What is loaded next takes a tile's place as soon as that has been used.
static inline __attribute__((always_inline)) void multiply_and_load_b(const char* next) {
    tile_multiply<0, 4, 6>();
    if (MT == 2) tile_multiply<2, 5, 6>();
    tile_load<6>(next, TILE_ROW_BYTES);
    tile_multiply<1, 4, 7>();
    if (MT == 2) tile_multiply<3, 5, 7>();
    tile_load<7>(next + TILE_BYTES, TILE_ROW_BYTES);
}

static inline __attribute__((always_inline)) void multiply_and_load_a(const char* next) {
    tile_multiply<0, 4, 6>(), tile_multiply<1, 4, 7>();
    tile_load<4>(next, TILE_ROW_BYTES);
    if (MT == 2) tile_multiply<2, 5, 6>(), tile_multiply<3, 5, 7>(), tile_load<5>(next + TILE_BYTES, TILE_ROW_BYTES);
}

// One step of k. Each of the six products after the first brings in one part of one operand: high times low, high times
// middle, middle times middle, middle times high, low times high, high times high.
static inline __attribute__((always_inline)) void multiply_step(const char* a, const char* b) {
    constexpr int64_t A_PART = MT * TILE_BYTES, B_PART = NT * TILE_BYTES;
    load_part<4>(a), load_part<6>(b + 2 * B_PART);
    multiply_and_load_b(b + B_PART), multiply_and_load_a(a + A_PART), multiply_and_load_b(b);
    multiply_and_load_a(a + 2 * A_PART), multiply_and_load_a(a);
    tile_multiply<0, 4, 6>(), tile_multiply<1, 4, 7>();
    if (MT == 2) tile_multiply<2, 5, 6>(), tile_multiply<3, 5, 7>();
}

static inline void begin_sums(const Sum* sums) {
    if (!sums) {
        tile_zero<0>(), tile_zero<1>();
        if (MT == 2) tile_zero<2>(), tile_zero<3>();
        return;
    }
    tile_load<0>(sums, TILE_ROW_BYTES), tile_load<1>(sums + TILE_UNITS, TILE_ROW_BYTES);
    if (MT == 1) return;
    tile_load<2>(sums + 2 * TILE_UNITS, TILE_ROW_BYTES), tile_load<3>(sums + 3 * TILE_UNITS, TILE_ROW_BYTES);
}

static inline void keep_sums(Sum* sums) {
    tile_store<0>(sums, TILE_ROW_BYTES), tile_store<1>(sums + TILE_UNITS, TILE_ROW_BYTES);
    if (MT == 1) return;
    tile_store<2>(sums + 2 * TILE_UNITS, TILE_ROW_BYTES), tile_store<3>(sums + 3 * TILE_UNITS, TILE_ROW_BYTES);
}

// One matrix product, and a thread's memory for it.
struct Product {
    const float *A, *B;
    Sum* packed_b;  // all of it, or null
    float* D;
    int64_t m, n, k;
    Epilogue epilogue;
    Sum *panels_a, *panels_b, *sums;  // of the present blocks; of B where it is not packed as a whole
    int32_t *special_a, *special_b;   // by panels: whether one has a number without parts
    Range steps, cols;

    // Sums that are complete, and which of their rows comes next: they are finished while the block after them is
    // multiplied, which leaves most cycles to vectors.
    const Sum* complete = nullptr;
    int64_t complete_i = 0, complete_j = 0, next_row = 0, last_row = 0;

    // What is left to fetch of the next panel of B, and how much of it at each step.
    const Sum *coming = nullptr, *last_coming = nullptr;
    int64_t coming_each = 0;

    static int64_t depth_of(int64_t k) { return min_of(KC / STEP, steps_of(k)); }
    static int64_t units_a(int64_t m, int64_t k) { return ceil_div(min_of(MC, m), ROWS) * depth_of(k) * STEP_A; }
    static int64_t units_b(int64_t n, int64_t k) {
        return OWN_B ? ceil_div(min_of(NC, n), COLS) * depth_of(k) * STEP_B : 0;
    }
    // Of one block, of one column of them, or of all where another layer adds to them.
    static int64_t units_of_sums(int64_t m, int64_t n, int64_t k) {
        if (KC < k) return ceil_div(m, ROWS) * ceil_div(min_of(NC, n), COLS) * BLOCK_UNITS;
        return (KL < k ? ceil_div(min_of(MC, m), ROWS) : 1) * BLOCK_UNITS;
    }
    static int64_t flags(int64_t panels) { return ceil_div(panels, TILE) * TILE; }
    static int64_t units(int64_t m, int64_t n, int64_t k) {
        return units_a(m, k) + units_b(n, k) + units_of_sums(m, n, k) + flags(ceil_div(m, ROWS)) +
               (OWN_B ? flags(ceil_div(n, COLS)) : 0);
    }

    void take(Sum* memory) {
        panels_a = memory;
        panels_b = panels_a + units_a(m, k);
        sums = panels_b + units_b(n, k);
        special_a = reinterpret_cast<int32_t*>(sums + units_of_sums(m, n, k));
        special_b = OWN_B ? special_a + flags(ceil_div(m, ROWS)) : special_of(packed_b, n, k);
        memset(special_a, 0, size_t(ceil_div(m, ROWS)) * sizeof(int32_t));
        if (OWN_B) memset(special_b, 0, size_t(ceil_div(n, COLS)) * sizeof(int32_t));
    }

    // The next rows of the complete block, up to one of them.
    __attribute__((always_inline)) void finish(int64_t end) {
        for (; next_row < end; ++next_row) {
            const int64_t i = complete_i + next_row;
            const Sum* row = complete + next_row / TILE * NT * TILE_UNITS + next_row % TILE * TILE;
            for (int64_t j = complete_j; j < min_of(complete_j + COLS, n); j += TILE, row += TILE_UNITS) {
                if (j + TILE <= n) {
                    store(D + i * n + j, epilogue(load(row), i, j));
                } else {
                    for (int64_t c = 0; j + c < n; ++c) D[i * n + j + c] = epilogue(row[c], i, j + c);
                }
            }
        }
    }

    // The next part of the next panel of B, into L2.
    __attribute__((always_inline)) void fetch_coming(int64_t count) {
        if (OWN_B || !FETCH_B) return;
        const Sum* end = coming + count < last_coming ? coming + count : last_coming;
        for (; coming < end; coming += TILE) __builtin_prefetch(coming, 0, 2);
    }

    // Some steps of one block of D, ROWS x COLS.
    __attribute__((noinline)) void multiply_block(int64_t i, int64_t j, const Sum* a, const Sum* b, Range part, Sum* at) {
        begin_sums(part.begin ? at : nullptr);
        const int64_t count = part.size(), each = ceil_div(last_row - next_row, count);
        for (int64_t s = 0; s < count; ++s, a += STEP_A, b += STEP_B) {
            fetch_coming(coming_each);
            multiply_step(reinterpret_cast<const char*>(a), reinterpret_cast<const char*>(b));
            finish(min_of(next_row + each, last_row));
        }
        keep_sums(at);
        if (part.end < steps_of(k)) return;
        complete = at, complete_i = i, complete_j = j, next_row = 0, last_row = min_of(ROWS, m - i);
    }

    // The block of rows of D, COLS wide. A part of the panel of B after the other stays near while all rows of the block
    // of A stream past it. Sums of one block and of the one below it are `next` apart.
    void panel_of_columns(Range rows, int64_t j, Sum* column, int64_t next) {
        const Sum* panel = OWN_B ? panels_b + (j - cols.begin) / COLS * steps.size() * STEP_B
                                 : packed_b + (j / COLS * steps_of(k) + steps.begin) * STEP_B;
        if (!OWN_B) {
            coming = panel + steps_of(k) * STEP_B;
            last_coming = j + COLS < cols.end ? coming + steps.size() * STEP_B : coming;
            coming_each = ceil_div(STEP_B, ceil_div(rows.size(), ROWS) * TILE) * TILE;
        }
        for (int64_t p = steps.begin; p < steps.end; p += KL / STEP) {
            const Range part = {p, min_of(p + KL / STEP, steps.end)};
            Sum* at = column;
            for (int64_t i = rows.begin; i < rows.end; i += ROWS, at += next) {
                const Sum* a = panels_a + ((i - rows.begin) / ROWS * steps.size() + p - steps.begin) * STEP_A;
                multiply_block(i, j, a, panel + (p - steps.begin) * STEP_B, part, at);
            }
        }
    }

    // A part of D; rows begin at a multiple of ROWS, columns of COLS.
    __attribute__((noinline)) void run(Range down, Range across) {
        const int64_t layers = ceil_div(k, KC);
        for (int64_t left = across.begin; left < across.end; left += NC) {
            cols = {left, min_of(left + NC, across.end)};
            const int64_t wide = ceil_div(cols.size(), COLS);
            const int64_t next = layers > 1 ? wide * BLOCK_UNITS : KL < k ? BLOCK_UNITS : 0;
            for (int64_t layer = 0; layer < layers; ++layer) {
                steps = {layer * (KC / STEP), min_of((layer + 1) * (KC / STEP), steps_of(k))};
                if (OWN_B) pack_b(panels_b, B, n, k, cols, steps, special_b);
                for (int64_t top = down.begin; top < down.end; top += MC) {
                    const Range rows = {top, min_of(top + MC, down.end)};
                    // A single block of A stays packed for all columns.
                    if (left == across.begin || layers > 1 || down.size() > MC) {
                        pack_a(panels_a, A, m, k, rows, steps, special_a);
                    }
                    for (int64_t j = 0; j < wide; ++j) {
                        const int64_t before = layers > 1 ? (top - down.begin) / ROWS * wide + j : 0;
                        panel_of_columns(rows, left + j * COLS, sums + before * BLOCK_UNITS, next);
                    }
                }
            }
        }
        finish(last_row);
        repair(down, across);
    }

    float a_at(int64_t i, int64_t p) const { return OPT_TRANS_A ? A[p * m + i] : A[i * k + p]; }
    float b_at(int64_t p, int64_t j) const { return OPT_TRANS_B ? B[j * k + p] : B[p * n + j]; }
    // From 2^128 - 2^119 on, halfway between the largest bf16 and the next.
    static bool without_parts(float x) { return !(__builtin_fabsf(x) < 0x1.ffp127f); }

    // Elements of row i in plain f32.
    __attribute__((noinline)) void plain(int64_t i, Range columns) const {
        for (int64_t j = columns.begin; j < columns.end; j += TILE) {
            float row[TILE] = {};
            const int64_t wide = min_of(TILE, columns.end - j);
            for (int64_t p = 0; p < k; ++p) {
                const float a = a_at(i, p);
                for (int64_t c = 0; c < wide; ++c) row[c] += a * b_at(p, j + c);
            }
            for (int64_t c = 0; c < wide; ++c) D[i * n + j + c] = epilogue(row[c], i, j + c);
        }
    }

    // Once more those rows and columns that have a number without parts.
    void repair(Range down, Range across) const {
        for (int64_t i = down.begin; i < down.end; ++i) {
            bool wrong = false;
            if (special_a[i / ROWS]) for (int64_t p = 0; p < k && !wrong; ++p) wrong = without_parts(a_at(i, p));
            if (wrong) plain(i, across);
        }
        for (int64_t j = across.begin; j < across.end; ++j) {
            bool wrong = false;
            if (special_b[j / COLS]) for (int64_t p = 0; p < k && !wrong; ++p) wrong = without_parts(b_at(p, j));
            for (int64_t i = down.begin; wrong && i < down.end; ++i) plain(i, {j, j + 1});
        }
    }
};

// All of B, or the panels of some columns.
static void pack_whole(Sum* packed, const float* B, int64_t n, int64_t k, Range cols) {
    int32_t* special = special_of(packed, n, k);
    if (cols.size() <= 0) return;
    memset(special + cols.begin / COLS, 0, size_t(ceil_div(cols.size(), COLS)) * sizeof(int32_t));
    pack_b(packed + cols.begin / COLS * steps_of(k) * STEP_B, B, n, k, cols, {0, steps_of(k)}, special);
}

// All entries of a batch; `ahead` is all of B in panels, or null where they are made now.
static int multiply(const float* A, const float* B, const Sum* ahead, const float* C, const float* bias, float* D,
                    int64_t m, int64_t n, int64_t k, int64_t batch, float alpha, float beta) {
    if (!may_use_tiles()) return 3;
    static thread_local Arena arena;
    const int64_t panels = ceil_div(n, COLS), each = packed_units_b(n, k), whole = AHEAD || OWN_B ? 0 : each;
    const int64_t room = ceil_div(Product::units(m, n, k), TILE) * TILE;
    Sum* memory = arena.reserve(whole + threads * room);
    if (!memory) return 1;
    BY_TEAM {
        const int64_t team = TEAM_SIZE, index = TEAM_INDEX;
        const int64_t right = team % SPLIT_N == 0 && panels >= SPLIT_N ? SPLIT_N : 1, down = team / right;
        const Range rows = share(m, ROWS, down, index / right), cols = share(n, COLS, right, index % right);
        const Tiles tiles;
        for (int64_t b = 0; b < batch; ++b) {
            const float* matrix = B + b * k * n;
            if (whole) {
                if (b) wait_for_team();
                pack_whole(memory, matrix, n, k, share(n, COLS, team, index));
                wait_for_team();
            }
            if (rows.size() <= 0 || cols.size() <= 0) continue;
            Sum* packed = AHEAD ? const_cast<Sum*>(ahead) + b * each : whole ? memory : nullptr;
            const Epilogue epilogue = {C ? C + b * m * n : nullptr, bias, n, alpha, beta};
            Product product = {A + b * m * k, matrix, packed, D + b * m * n, m, n, k, epilogue, nullptr, nullptr, nullptr,
                               nullptr, nullptr, {}, {}};
            product.take(memory + whole + index * room);
            product.run(rows, cols);
        }
    }
    return 0;
}
