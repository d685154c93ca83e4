// The product of the AMX rungs: what a thread does with its part of D, and how it is dealt out.
// The configuration's macros are defined before this is included.
/*[tuner.shared]
[amx_tiles.parameters]
MT = { values = [1, 2, 3], doc = "tiles of sums, 16 x 16, along m" }
NT = { values = [1, 2, 3, 4, 6], doc = "tiles of sums along n" }
MC = { values = [32, 64, 128, 256, 512, 1024, 2048, 4096], doc = "rows of a block of A" }
NC = { values = [64, 128, 256, 512, 1024, 2048, 4096], doc = "columns of a block of B" }
KC = { values = [64, 128, 256, 512, 1024, 2048, 4096], doc = "depth of both blocks" }
INNER = { values = ["m", "n"], doc = "innermost loop over blocks of tiles: m keeps a panel of B in L1, n one of A" }
PACK_A = { values = [false, true], doc = "copy A into whole tiles, or load them from where it lies" }
PREFETCH = { values = [0, 1, 2, 4], doc = "steps of k, a tile's, that the streamed panel is fetched ahead; 0: hardware only" }
HUGE_PAGES = { values = [true, false], doc = "ask for 2 MiB pages for the packed operands" }
SPLIT_N = { values = [1, 2, 3, 4, 6, 8, 12, 16], doc = "threads along n; the rest of them along m" }

[amx_tiles.let]
# Elements along k of a tile's rows of 64 bytes.
deep = "64 // element_bytes"
panel = "KC * 16 * (NT if INNER == 'm' else MT) * element_bytes"
streamed = "KC * (MC if INNER == 'm' else NC) * element_bytes"

[amx_tiles.constraints]
# Sums, a column of tiles of A, and a tile of B at least.
eight_tiles = "MT * NT + MT + 1 <= 8"
rows_used = "MT * 16 < m + 16"
columns_used = "NT * 16 < n + 16"
panel_in_l1 = "panel <= l1d_bytes"
streamed_block_in_l2 = "streamed <= l2_bytes"
# A block larger than the operand is the operand: only the smallest such value is kept.
blocks_used = "(MC < 2 * m or MC == 32) and (NC < 2 * n or NC == 64) and (KC < 2 * k or KC == 64)"
blocks_hold_tiles = "MT * 16 <= MC and NT * 16 <= NC"
# A pass over the sums for a few steps of k costs more than it saves.
deep_enough = "KC >= 8 * deep or KC >= k"
# What lies behind a row's end is no zero.
in_place = "PACK_A or k % deep == 0 and not trans_a"
grid = "threads % SPLIT_N == 0"

[amx_tiles.features]
tile_area = "MT * NT * 256"
tile_intensity = "16 * MT * NT / (MT + NT)"
panel_bytes = "panel"
streamed_bytes = "streamed"
passes_over_d = "ceildiv(k, KC)"
*/
#pragma once
#include <utility>

#include "../common/arena.h"
#include "../common/team.h"
#include "amx_pack.h"
#include "epilogue.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

// PACK_B is `whole` (all threads pack all of B first), `blocks` (each what it multiplies next) or `ahead`.
static constexpr bool M_INSIDE = TEXT(INNER)[0] == 'm', OWN_B = TEXT(PACK_B)[0] == 'b', AHEAD = TEXT(PACK_B)[0] == 'a';
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

// Tiles of the panel that streams past the one in L1, so many steps ahead.
static inline __attribute__((always_inline)) void fetch(const PanelA& a, const char* tiles_a, const char* tiles_b) {
    if (M_INSIDE) {
        for (int64_t i = 0; i < ROWS; ++i) {
            __builtin_prefetch(tiles_a + PREFETCH * a.step + i / TILE * a.tile + i % TILE * a.row);
        }
    } else {
        for (int64_t line = 0; line < COLS * TILE * 4; line += 64) {
            __builtin_prefetch(tiles_b + PREFETCH * COLS * TILE * 4 + line);
        }
    }
}

// The sums of one block of D, ROWS x COLS, over some steps of k; they lie tile after tile. `first`: they begin with 0.
static __attribute__((noinline)) void multiply_block(PanelA a, const Sum* panel_b, int64_t steps, Sum* sums, bool first) {
    using Down = std::make_integer_sequence<int, MT>;
    using Across = std::make_integer_sequence<int, NT>;
    using All = std::make_integer_sequence<int, MT * NT>;
    const char *tiles_a = a.data, *tiles_b = reinterpret_cast<const char*>(panel_b);
    begin_sums(first ? nullptr : sums, All{});
    for (int64_t s = 0; s < steps; ++s, tiles_a += a.step, tiles_b += COLS * TILE * 4) {
        if (PREFETCH) fetch(a, tiles_a, tiles_b);
        multiply_step(a, tiles_a, tiles_b, Down{}, Across{});
    }
    keep_sums(sums, All{});
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

    PanelA panel_a(int64_t i) const {
        const int64_t tall = (i - rows.begin) * steps.size() * STEP;
        if (!in_place(k) || i + ROWS > m) {
            // Of rows that are read in place the last panel alone is packed.
            const Input* data = reinterpret_cast<const Input*>(panels_a) + (in_place(k) ? 0 : tall);
            return {reinterpret_cast<const char*>(data), TILE_ROW_BYTES, MT * TILE_UNITS * 4, TILE_UNITS * 4};
        }
        const int64_t row = k * int64_t(sizeof(Input));
        const Input* data = A + i * k + steps.begin * STEP;
        return {reinterpret_cast<const char*>(data), row, TILE_ROW_BYTES, TILE * row};
    }

    void pack_a() const {
        const int64_t row = OPT_TRANS_A ? 1 : k, next = OPT_TRANS_A ? m : 1, first = steps.begin * STEP;
        const int64_t begin = in_place(k) ? m / ROWS * ROWS : rows.begin, end = rows.end;
        if (begin >= end) return;
        const int64_t depth = min_of(k, steps.end * STEP) - first;
        pack_panels_a(reinterpret_cast<Input*>(panels_a), A + begin * row + first * next, row, next, end - begin, depth);
    }

    void finish(const Sum* sums, int64_t i, int64_t j) const {
        const int64_t tall = min_of(ROWS, m - i), wide = min_of(COLS, n - j);
        for (int64_t r = 0; r < tall; ++r) {
            const Sum* row = sums + r / TILE * NT * TILE_UNITS + r % TILE * TILE;
            Output* to = D + (i + r) * n + j;
            for (int64_t c = 0; c < wide; c += TILE, row += TILE_UNITS) {
                const int64_t inside = min_of(TILE, wide - c);
                int64_t l = 0;
                for (; l + LANES <= inside; l += LANES) store(to + c + l, epilogue(load(row + l), i + r, j + c + l));
                for (; l < inside; ++l) to[c + l] = Output(epilogue(row[l], i + r, j + c + l));
            }
        }
    }

    void block(int64_t i, int64_t j, Sum* sums) const {
        const int64_t all = steps_of(k);
        const int64_t at = OWN_B ? (j - cols.begin) * steps.size() : j * all + steps.begin * COLS;
        const Sum* b = (OWN_B ? panels_b : packed_b) + at * TILE;
        multiply_block(panel_a(i), b, steps.size(), sums, steps.begin == 0);
        if (steps.end == all) finish(sums, i, j);
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
        return units_a(tall, k) + units_b(wide, k) + (KC >= k ? ROWS * COLS : low * broad);
    }

    // A part of D; rows begin at a multiple of ROWS, columns of COLS.
    __attribute__((noinline)) void run(Range down, Range across, Sum* memory) {
        if (down.size() <= 0 || across.size() <= 0) return;
        const int64_t layers = ceil_div(k, KC);
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
                    pack_a();
                    const int64_t tall = ceil_div(rows.size(), ROWS);
                    for (int64_t turn = 0; turn < tall * wide; ++turn) {
                        const int64_t i = M_INSIDE ? turn % tall : turn / wide, j = M_INSIDE ? turn / tall : turn % wide;
                        const int64_t at = ((top - down.begin) / ROWS + i) * wide + j;
                        block(top + i * ROWS, left + j * COLS, sums + (layers > 1 ? at * ROWS * COLS : 0));
                    }
                }
            }
        }
    }
};

// All entries of a batch; `ahead` is all of B in panels, or null where they are made now.
static int multiply(const Input* A, const Input* B, const Sum* ahead, const Addend* C, const Addend* bias, Output* D,
                    int64_t m, int64_t n, int64_t k, int64_t batch, float alpha, float beta, const float* scale,
                    const int32_t* zero) {
    if (!may_use_tiles()) return 2;
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
    }
    return 0;
}
