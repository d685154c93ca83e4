// The product of the AMX rungs: what a thread does with its part of D, and how it is dealt out.
// The configuration's macros are defined before this is included.
//
// What holds it, in cycles a product of two tiles, of which the peak allows one every 16 (bf16, one thread of a Xeon with
// 2 MiB of L2, sums of 2 x 2 tiles): 20 from operands in L1, 16 if they are zeros, so the clock sinks; 24 where A comes
// from L2 past a panel of 16 KiB, 30 past one of 32 KiB; 42 where its rows are 4 KiB apart, in one set of L1. Sums that
// are stored after 16 steps add 4, those that are loaded before 2 more; finishing D after each block 7, beside the next 2.
// Adding up the parts of k by vectors, lines of A asked for, and of a block of B before it is packed, brought nothing.
/*[tuner.shared]
[amx_tiles.parameters]
MT = { values = [1, 2, 3], doc = "tiles of sums, 16 x 16, along m" }
NT = { values = [1, 2, 3, 4, 6], doc = "tiles of sums along n" }
MC = { values = [32, 64, 128, 256, 512, 1024, 2048, 4096], doc = "rows of a block of A, which stays in L2" }
NC = { values = [64, 128, 256, 512, 1024, 2048, 4096], doc = "columns of B between two packings of A" }
KC = { values = [64, 128, 256, 512, 1024, 2048, 4096], doc = "depth of both blocks" }
KL = { values = [64, 128, 256, 512, 1024, 2048, 4096], doc = "depth of the panel of B in L1, past which A streams" }
PACK_A = { values = [false, true], doc = "copy A into whole tiles, or load them from where it lies" }
STREAM_D = { values = [false, true], doc = "write D past the caches where its rows are whole lines" }
SPLIT_N = { values = [1, 2, 3, 4, 6, 8, 12, 16], doc = "threads along n; the rest of them along m" }

[amx_tiles.let]
# Elements along k of a tile's rows of 64 bytes.
deep = "64 // element_bytes"
panel = "KL * 16 * NT * element_bytes"
streamed = "KC * MC * element_bytes"

[amx_tiles.constraints]
# Sums, a column of tiles of A, and a tile of B at least.
eight_tiles = "MT * NT + MT + 1 <= 8"
rows_used = "MT * 16 < m + 16"
columns_used = "NT * 16 < n + 16"
# Four loads for four products; with fewer sums the loads are more than the products hide.
sums_enough = "MT * NT >= 4 or m <= 16 or n <= 32 or m * n <= 65536"
# What streams past the panel takes its place where the panel fills L1.
panel_in_l1 = "panel * 3 <= l1d_bytes * 2"
streamed_block_in_l2 = "streamed * 4 <= l2_bytes * 3"
# A block larger than the operand is the operand: only the smallest such value is kept.
blocks_used = "(MC < 2 * m or MC == 32) and (NC < 2 * n or NC == 64) and (KC < 2 * k or KC == 64)"
blocks_hold_tiles = "MT * 16 <= MC and NT * 16 <= NC"
# A pass over the sums for a few steps of k costs more than it saves.
deep_enough = "KC >= 8 * deep or KC >= k"
panel_deep_enough = "KL <= KC and (KL >= 8 * deep or KL == KC)"
# What lies behind a row's end is no zero.
in_place = "PACK_A or k % deep == 0 and not trans_a"
# Lines 4 KiB apart share a thirty-second part of L2: of 512 such rows the first is gone before it is read again.
rows_in_l2 = "PACK_A or k * element_bytes % 4096 != 0 or MC <= 256"
larger_than_l2 = "not STREAM_D or m * n * batch * element_bytes > l2_bytes"
grid = "threads % SPLIT_N == 0"

[amx_tiles.features]
tile_area = "MT * NT * 256"
tile_intensity = "16 * MT * NT / (MT + NT)"
panel_bytes = "panel"
streamed_bytes = "streamed"
passes_over_d = "ceildiv(k, KL)"
*/
#pragma once
#define HUGE_PAGES 1
#include <utility>

#include "../common/arena.h"
#include "../common/team.h"
#include "../common/text.h"
#include "amx_pack.h"
#include "epilogue.h"

// PACK_B is `whole` (all threads pack all of B first), `blocks` (each what it multiplies next) or `ahead`.
static constexpr bool OWN_B = TEXT(PACK_B)[0] == 'b', AHEAD = TEXT(PACK_B)[0] == 'a';
// Of the eight tiles those of A follow the sums; what is left takes tiles of B in turn.
enum : int64_t { MCB = MC / ROWS * ROWS, NCB = NC / COLS * COLS };
enum : int { FIRST_A = MT * NT, FIRST_B = FIRST_A + MT, TILES_B = 8 - FIRST_B };

// A panel of A: of a tile's rows and of its steps, how many bytes they are apart.
struct PanelA {
    const char* data;
    int64_t row, step, tile;
};

template <int J, int... I>
static inline __attribute__((always_inline)) void multiply_column(std::integer_sequence<int, I...>) {
    (tile_multiply<I * NT + J, FIRST_A + I, FIRST_B + J % TILES_B>(), ...);
}

template <int... I, int... J>
static inline __attribute__((always_inline)) void multiply_step(const PanelA& a, const char* tiles_a, const char* tiles_b,
                                                                std::integer_sequence<int, I...> down,
                                                                std::integer_sequence<int, J...>) {
    (tile_load<FIRST_A + I>(tiles_a + I * a.tile, a.row), ...);
    ((tile_load<FIRST_B + J % TILES_B>(tiles_b + J * TILE_UNITS * 4, TILE_ROW_BYTES), multiply_column<J>(down)), ...);
}

template <int... T>
static inline __attribute__((always_inline)) void begin_sums(const Sum* sums, std::integer_sequence<int, T...>) {
    if (sums) (tile_load<T>(sums + T * TILE_UNITS, TILE_ROW_BYTES), ...);
    else (tile_zero<T>(), ...);
}

template <int... T>
static inline __attribute__((always_inline)) void keep_sums(Sum* sums, std::integer_sequence<int, T...>) {
    (tile_store<T>(sums + T * TILE_UNITS, TILE_ROW_BYTES), ...);
}

// A whole vector of D, at a multiple of its size where it is written past the caches.
static inline __attribute__((always_inline)) void put(Output* to, vec value, bool past_caches) {
    if (!STREAM_D || !past_caches) return store(to, value);
    typedef long long Words __attribute__((vector_size(LANES * sizeof(Output)), may_alias));
    alignas(64) Output done[LANES];
    store(done, value);
    asm volatile("vmovntdq %1, %0" : "=m"(*reinterpret_cast<Words*>(to)) : "v"(*reinterpret_cast<const Words*>(done)));
}

// Whether A is read where it lies. What lies behind the end of a row that ends within a tile is no zero.
static inline bool in_place(int64_t k) { return !PACK_A && !OPT_TRANS_A && k % STEP == 0; }

// One matrix product.
class Product {
    const Input *A, *B;
    const Sum* packed_b;  // all of it, or null
    Output* D;
    int64_t m, n, k;
    const Epilogue& epilogue;

    Range steps, rows, cols;   // of the present blocks
    Sum *panels_a, *panels_b;  // of these; of B where it is not packed as a whole

    // The block of D whose sums are complete, and which of its rows is the next to be finished. That is done while the
    // block after it is multiplied: tile instructions leave most cycles to vectors, and sums that were just stored are
    // not there yet.
    const Sum* complete = nullptr;
    int64_t complete_i = 0, complete_j = 0, next_row = 0, last_row = 0;

    // Of a B that is packed as a whole the lines of the panel after this one, which are asked for while this one is
    // multiplied: so many a step. A block that a thread packed itself is near.
    const char* coming = nullptr;
    int64_t lines_a_step = 0;

    // The next row of D that is asked for, and how many are a step.
    const Output* fetched = nullptr;
    int64_t fetched_a_step = 0;

    // Of rows from `i` on, from a step of the block on.
    PanelA panel_a(int64_t i, int64_t into) const {
        if (!in_place(k) || i + ROWS > m) {
            // Of rows that are read in place the last panel alone is packed.
            const int64_t tall = in_place(k) ? 0 : (i - rows.begin) * steps.size() * STEP;
            const Input* data = reinterpret_cast<const Input*>(panels_a) + tall + into * ROWS * STEP;
            return {reinterpret_cast<const char*>(data), TILE_ROW_BYTES, MT * TILE_UNITS * 4, TILE_UNITS * 4};
        }
        const int64_t row = k * int64_t(sizeof(Input));
        const Input* data = A + i * k + (steps.begin + into) * STEP;
        return {reinterpret_cast<const char*>(data), row, TILE_ROW_BYTES, TILE * row};
    }

    void pack_a() const {
        const int64_t row = OPT_TRANS_A ? 1 : k, next = OPT_TRANS_A ? m : 1, first = steps.begin * STEP;
        const int64_t begin = in_place(k) ? m / ROWS * ROWS : rows.begin, end = rows.end;
        if (begin >= end) return;
        const int64_t depth = min_of(k, steps.end * STEP) - first;
        pack_panels_a(reinterpret_cast<Input*>(panels_a), A + begin * row + first * next, row, next, end - begin, depth);
    }

    // What a row of the complete block has of D, where that is less than COLS.
    __attribute__((noinline)) void finish_edge(const Sum* row, Output* to, int64_t i, int64_t j) const {
        int64_t c = 0;
        for (; j + c + LANES <= n; c += LANES) {
            store(to + c, epilogue(load(row + c / TILE * TILE_UNITS + c % TILE), i, j + c));
        }
        for (; j + c < n; ++c) to[c] = Output(epilogue(row[c / TILE * TILE_UNITS + c % TILE], i, j + c));
    }

    // Rows of D that are written while the next block is multiplied: a store that misses holds up those behind it. A few a
    // step: all at once, products of 512 x 512 x 512 took 1.05 of the time, and none, int8 of 1024 x 1024 x 1024 1.08.
    __attribute__((always_inline)) void fetch_d() {
        for (int64_t r = 0; r < fetched_a_step; ++r, fetched += n) {
            const char* row = reinterpret_cast<const char*>(fetched);
            for (int64_t line = 0; line < COLS * int64_t(sizeof(Output)); line += 64) __builtin_prefetch(row + line, 1);
        }
    }

    // The next rows of the complete block, up to one of them.
    __attribute__((always_inline)) void finish(int64_t end) {
        const int64_t j = complete_j;
        const bool streamed = STREAM_D && (reinterpret_cast<uintptr_t>(D + j) | n * sizeof(Output)) % 64 == 0;
        for (; next_row < end; ++next_row) {
            const int64_t i = complete_i + next_row;
            const Sum* row = complete + next_row / TILE * NT * TILE_UNITS + next_row % TILE * TILE;
            Output* to = D + i * n + j;
            if (j + COLS > n) {
                finish_edge(row, to, i, j);
                continue;
            }
            for (int64_t c = 0; c < COLS; c += LANES) {
                put(to + c, epilogue(load(row + c / TILE * TILE_UNITS + c % TILE), i, j + c), streamed);
            }
        }
    }

    // The sums of one block of D, ROWS x COLS, over some steps of k; they lie tile after tile. `first`: they begin with 0.
    // The panel comes by reference: as a value it is stored in words and loaded as a vector, which waits for all earlier
    // stores, those to D among them, to reach the caches.
    __attribute__((noinline)) void multiply_block(const PanelA& panel_a, const Sum* panel_b, int64_t count, Sum* sums,
                                                  bool first) {
        using Down = std::make_integer_sequence<int, MT>;
        using Across = std::make_integer_sequence<int, NT>;
        using All = std::make_integer_sequence<int, MT * NT>;
        const PanelA a = panel_a;
        const char *tiles_a = a.data, *tiles_b = reinterpret_cast<const char*>(panel_b);
        const int64_t rows_a_step = ceil_div(last_row - next_row, count);
        begin_sums(first ? nullptr : sums, All{});
        for (int64_t s = 0; s < count; ++s, tiles_a += a.step, tiles_b += COLS * TILE * 4) {
            multiply_step(a, tiles_a, tiles_b, Down{}, Across{});
            for (int64_t l = 0; !OWN_B && l < lines_a_step; ++l, coming += 64) __builtin_prefetch(coming, 0, 2);
            if (!STREAM_D) fetch_d();
            finish(min_of(next_row + rows_a_step, last_row));
        }
        keep_sums(sums, All{});
    }

    void block(int64_t i, int64_t j, Range part, Sum* sums) {
        const int64_t all = steps_of(k), into = part.begin - steps.begin;
        const int64_t at = OWN_B ? (j - cols.begin) * steps.size() + into * COLS : j * all + part.begin * COLS;
        const Sum* b = (OWN_B ? panels_b : packed_b) + at * TILE;
        const PanelA a = panel_a(i, into);
        fetched = D + i * n + j;
        fetched_a_step = part.end == all ? ceil_div(ROWS, part.size()) : 0;
        lines_a_step = ceil_div(COLS, ceil_div(rows.size(), ROWS));
        const int64_t asked = (i - rows.begin) / ROWS * part.size() * lines_a_step;
        coming = reinterpret_cast<const char*>(b + (part.size() * COLS + asked) * TILE);
        multiply_block(a, b, part.size(), sums, part.begin == 0);
        if (part.end < all) return;
        complete = sums, complete_i = i, complete_j = j, next_row = 0, last_row = min_of(ROWS, m - i);
    }

    // The present rows of D, COLS wide. A part of the panel of B after the other stays in L1 while all rows of the block
    // of A stream past it. Sums of one block of D and of the next below it are `next` apart.
    void panel_of_columns(int64_t j, Sum* sums, int64_t next) {
        for (int64_t p = steps.begin; p < steps.end; p += KL / STEP) {
            const Range part = {p, min_of(p + KL / STEP, steps.end)};
            Sum* at = sums;
            for (int64_t i = rows.begin; i < rows.end; i += ROWS, at += next) block(i, j, part, at);
        }
    }

public:
    Product(const Input* A, const Input* B, const Sum* packed_b, Output* D, int64_t m, int64_t n, int64_t k,
            const Epilogue& epilogue)
        : A(A), B(B), packed_b(packed_b), D(D), m(m), n(n), k(k), epilogue(epilogue), steps(), rows(), cols(),
          panels_a(nullptr), panels_b(nullptr) {}

    // Units of a thread's panels of A and of B, and of all it needs, to compute at most `tall` x `wide`, k deep.
    static int64_t units_a(int64_t tall, int64_t k) {
        const int64_t high = in_place(k) ? ROWS : ceil_div(min_of(MCB, tall), ROWS) * ROWS;
        return high * min_of(KC / STEP, steps_of(k)) * TILE;
    }
    static int64_t units_b(int64_t wide, int64_t k) {
        return OWN_B ? ceil_div(min_of(NCB, wide), COLS) * COLS * min_of(KC / STEP, steps_of(k)) * TILE : 0;
    }
    static int64_t units(int64_t tall, int64_t wide, int64_t k) {
        const int64_t low = ceil_div(tall, ROWS) * ROWS, broad = ceil_div(min_of(NCB, wide), COLS) * COLS;
        return units_a(tall, k) + units_b(wide, k) + (KC >= k ? (KL >= k ? ROWS : min_of(MCB, low)) * COLS : low * broad);
    }

    // A part of D; rows begin at a multiple of ROWS, columns of COLS.
    __attribute__((noinline)) void run(Range down, Range across, Sum* memory) {
        if (down.size() <= 0 || across.size() <= 0) return;
        const int64_t layers = ceil_div(k, KC);
        // From one block to that below it; a block of all of k is finished before the next one is kept.
        const auto next = [&](int64_t wide) { return layers > 1 ? wide * ROWS * COLS : KL < k ? ROWS * COLS : 0; };
        panels_a = memory;
        panels_b = panels_a + units_a(m, k);
        Sum* sums = panels_b + units_b(n, k);
        for (int64_t left = across.begin; left < across.end; left += NCB) {
            cols = {left, min_of(left + NCB, across.end)};
            const int64_t wide = ceil_div(cols.size(), COLS);
            for (int64_t layer = 0; layer < layers; ++layer) {
                steps = {layer * (KC / STEP), min_of((layer + 1) * (KC / STEP), steps_of(k))};
                if (OWN_B) pack_panels_b(panels_b, B, n, k, cols, steps);
                for (int64_t top = down.begin; top < down.end; top += MCB) {
                    rows = {top, min_of(top + MCB, down.end)};
                    // A single block of A stays packed for all columns.
                    if (left == across.begin || layers > 1 || down.size() > MCB) pack_a();
                    for (int64_t j = 0; j < wide; ++j) {
                        // Sums of one column of blocks, or of all of them where another layer adds to them.
                        Sum* column = sums + (layers > 1 ? ((top - down.begin) * wide + j * ROWS) * COLS : 0);
                        panel_of_columns(left + j * COLS, column, next(wide));
                    }
                }
            }
        }
        finish(last_row);
    }
};

// All entries of a batch; `ahead` is all of B in panels, or null where they are made now.
static int multiply(const Input* A, const Input* B, const Sum* ahead, const Addend* C, const Addend* bias, Output* D,
                    int64_t m, int64_t n, int64_t k, int64_t batch, float alpha, float beta, const float* scale,
                    const int32_t* zero) {
    if (!may_use_tiles()) return 3;
    static thread_local Arena arena;
    const int64_t panels = ceil_div(n, COLS), room_b = AHEAD || OWN_B ? 0 : packed_units_b(n, k);
    const int64_t room = ceil_div(Product::units(m, n, k), TILE) * TILE;
    Sum* memory = arena.reserve(room_b + threads * room);
    if (!memory) return 1;
    BY_TEAM
    {
        const int64_t team = TEAM_SIZE, index = TEAM_INDEX;
        int64_t right = team % SPLIT_N == 0 ? SPLIT_N : 1;
        if (panels < right) right = 1;
        const int64_t down = team / right;
        const Range rows = share(m, ROWS, down, index / right), cols = share(n, COLS, right, index % right);
        Tiles tiles;
        for (int64_t b = 0; b < batch; ++b) {
            const Input* matrix = B + b * k * n;
            if (!AHEAD && !OWN_B) {
                if (b) wait_for_team();
                const Range mine = share(panels * COLS, COLS, team, index);
                pack_panels_b(memory + mine.begin * steps_of(k) * TILE, matrix, n, k, mine, {0, steps_of(k)});
                wait_for_team();
            }
            Epilogue epilogue = {C ? C + b * m * n : nullptr, bias, n, Sum(alpha), Sum(beta), scale, zero};
            const Sum* packed = AHEAD ? ahead + b * packed_units_b(n, k) : memory;
            Product product(A + b * m * k, matrix, packed, D + b * m * n, m, n, k, epilogue);
            product.run(rows, cols, memory + room_b + index * room);
        }
        if (STREAM_D) asm volatile("sfence" ::: "memory");  // whoever is told that the team is done sees all of D
    }
    return 0;
}
