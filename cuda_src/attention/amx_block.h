// FlashAttention in tile registers, as far as it does not matter what a number is in them: a block of query rows of one head,
// its panels (TALL * 16 queries by BLOCK_KV keys), and who computes which block.
/*[tuner.shared]
[amx_panels.parameters]
BLOCK_Q = { values = [32, 64, 96, 128, 192, 256, 384, 512, 1024], doc = "query rows of a block: what one pass over the keys serves" }
BLOCK_KV = { values = [32, 64, 96, 128, 192, 256, 384, 512], doc = "keys between two rescalings" }
TALL = { values = [1, 2], doc = "tiles of 16 queries whose products are computed together" }
threads = [1, 2, 4, 8, 16, 32, 64]

[amx_panels.let]
passes = "ceildiv(rows, BLOCK_Q)"

[amx_panels.constraints]
queries_used = "BLOCK_Q < 2 * rows or BLOCK_Q == 32"
keys_used = "BLOCK_KV < 2 * kv or BLOCK_KV == 32"
tall_used = "TALL == 1 or rows > 16"
# One tile of queries: as many loads as products, and sums that wait for each other.
tall_enough = "TALL == 2 or rows <= 48"
panels_in_l2 = "4 * panel_bytes <= l2_bytes"
# The sums stay near while the keys pass.
sums_in_l2 = "BLOCK_Q * d * 4 * 2 <= l2_bytes"
threads_on_cores = "threads <= cores"
work_for_threads = "threads == 1 or threads < 2 * b * kv_h * passes"

[amx_panels.features]
panel_bytes = "panel_bytes"
passes_over_cache = "passes"
*/
#pragma once
#define HUGE_PAGES 0
#include "../common/arena.h"
#include "../common/team.h"
#include "amx_softmax.h"
#include "wide.h"

enum : int64_t { ROWS = TALL * TILE, PANELS = (BLOCK_Q + ROWS - 1) / ROWS };

// One panel: rows of a block, keys of a block of keys.
struct Panel {
    int64_t number, begin, wide;  // which rows; its first key, and how many, filled up to a multiple of 32
    int64_t clear;                // keys that all rows see
    bool first, moved;            // no sums yet; sums are to be rescaled before
    __mmask16 far[TALL];          // rows whose scores are so large that the product's rounding counts
    float factors[ROWS] __attribute__((aligned(64)));
};

// Parts of one piece of memory, one behind the other; sizes in units of four bytes.
struct Parts {
    Sum* base;  // 0: only counts
    int64_t used = 0;

    template <class T>
    void take(T*& part, int64_t count) {
        part = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used += ceil_div(count, 16) * 16 + 80;  // parts of one size begin at other sets of the cache
    }
};

// What each thread keeps of the rows of its block.
struct RowsKept {
    float* sums;              // [PANELS * ROWS][columns]
    float *largest, *totals;  // [PANELS * ROWS], [PANELS * ROWS][16]

    void place(Parts& parts, int64_t columns) {
        parts.take(sums, PANELS * ROWS * columns);
        parts.take(largest, PANELS * ROWS);
        parts.take(totals, PANELS * ROWS * TILE);
    }
};

// Sums (tiles 0 ... 3) of TALL x 2 tiles: at 0, or with `from` as they are there, rows `stride` floats apart.
static inline __attribute__((always_inline)) void begin_sums(const float* from, int64_t stride) {
    if (!from) {
        tile_zero<0>(), tile_zero<1>();
        if (TALL == 2) tile_zero<2>(), tile_zero<3>();
        return;
    }
    tile_load<0>(from, stride * 4), tile_load<1>(from + TILE, stride * 4);
    if (TALL == 2) tile_load<2>(from + TILE * stride, stride * 4), tile_load<3>(from + TILE * stride + TILE, stride * 4);
}

static inline __attribute__((always_inline)) void end_sums(float* to, int64_t stride) {
    tile_store<0>(to, stride * 4), tile_store<1>(to + TILE, stride * 4);
    if (TALL == 2) tile_store<2>(to + TILE * stride, stride * 4), tile_store<3>(to + TILE * stride + TILE, stride * 4);
}

// A block of query rows of one head.
struct BlockOfRows {
    const Problem& at;
    const RowsKept& kept;
    int64_t head, row, rows, deep, columns;  // first row of the head, how many; steps and padded columns of d

    BlockOfRows(const Problem& at, const RowsKept& kept, int64_t head, int64_t row, int64_t rows)
        : at(at), kept(kept), head(head), row(row), rows(rows), deep(ceil_div(at.d, DEEP)), columns(deep * DEEP) {}

    int64_t limit(int64_t r) const { return at.limit(min_of(row + r, row + rows - 1)); }
    // Of the keys from `begin` on, those that row r sees.
    int64_t seen(const Panel& p, int64_t r) const {
        return OPT_CAUSAL ? max_of(0, min_of(p.wide, limit(p.number * ROWS + r) - p.begin)) : p.clear;
    }

    // Nothing summed yet; returns how many keys the rows see.
    int64_t begin() const {
        const int64_t panels = ceil_div(rows, ROWS);
        for (int64_t r = 0; r < panels * ROWS; ++r) kept.largest[r] = LARGEST_OF_NONE;
        memset(kept.totals, 0, size_t(panels * ROWS * TILE) * sizeof(float));
        int64_t end = OPT_CAUSAL ? 0 : at.kv;
        for (int64_t r = 0; OPT_CAUSAL && r < rows; ++r) end = max_of(end, limit(r));
        return end;
    }

    // The panel after (number, begin) that sees a key; false where there is none.
    bool find(Panel& p, int64_t end, bool from_start) const {
        const int64_t panels = ceil_div(rows, ROWS);
        if (from_start) p.number = p.begin = 0;
        else ++p.number;
        for (;; ++p.number) {
            if (p.number == panels) p.number = 0, p.begin += BLOCK_KV;
            if (p.begin >= end) return false;
            int64_t most = at.kv, least = at.kv;
            if (OPT_CAUSAL) {
                most = 0;
                for (int64_t r = p.number * ROWS; r < min_of(rows, p.number * ROWS + ROWS); ++r) {
                    most = max_of(most, limit(r));
                    least = min_of(least, limit(r));
                }
            }
            const int64_t n = min_of(BLOCK_KV, most - p.begin);
            if (n <= 0) continue;
            p.wide = ceil_div(n, DEEP) * DEEP;
            p.clear = max_of(0, min_of(n, least - p.begin));
            p.first = p.begin == 0, p.moved = false;
            return true;
        }
    }

    // The largest scores of 16 rows of the panel, from r on, and what their sums are to be multiplied by.
    void largest_of(Panel& p, const float* scores, int64_t r) const {
        float* largest = kept.largest + p.number * ROWS + r;
        __m512 found[TILE];
        for (int64_t i = 0; i < TILE; ++i) found[i] = largest_of_row(scores + (r + i) * SCORES, {seen(p, r + i), p.wide});
        const vec best = (vec)across_rows(found, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
        const vec before = load(largest), top = larger(before, best * splat(at.scale));
        const vec factors = exp2_negative(before - top);
        store(largest, top);
        store(p.factors + r, factors);
        p.moved = p.moved || _mm512_cmp_ps_mask((__m512)factors, _mm512_set1_ps(1.0f), _CMP_NEQ_UQ);
        // By row: no bit of a row may depend on what other rows see.
        p.far[r / TILE] = _mm512_cmp_ps_mask(_mm512_abs_ps((__m512)top), _mm512_set1_ps(1 << 14), _CMP_NLT_UQ);
    }

    // Row i's probabilities, as `make` puts them to its places in `to`: make(to, scores, seen, largest, total, far) returns
    // the total with them.
    template <class Make>
    void probabilities(const Panel& p, const float* scores, int64_t i, char* to, Make&& make) const {
        to += i / TILE * TILE_BYTES + i % TILE * TILE_ROW_BYTES;
        float* totals = kept.totals + (p.number * ROWS + i) * TILE;
        const __m512 total = _mm512_mul_ps(_mm512_loadu_ps(totals), _mm512_set1_ps(p.factors[i]));
        const bool far = p.far[i / TILE] >> (i % TILE) & 1;
        const float largest = kept.largest[p.number * ROWS + i];
        _mm512_storeu_ps(totals, make(to, scores + i * SCORES, Seen{seen(p, i), p.wide}, largest, total, far));
    }

    // The panel's sums of 32 columns, for what their largest scores are now.
    float* rescaled(const Panel& p, int64_t column) const {
        float* sums = kept.sums + p.number * ROWS * columns + column;
        if (p.moved && !p.first) {
            for (int64_t r = 0; r < ROWS; ++r) {
                for (int64_t t = 0; t < DEEP; t += LANES) {
                    store(sums + r * columns + t, load(sums + r * columns + t) * splat(p.factors[r]));
                }
            }
        }
        return sums;
    }

    void finish() const {
        element* out = at.O + (at.first_row(head) + row) * at.d;
        for (int64_t r = 0; r < rows; ++r) {
            const float total = _mm512_reduce_add_ps(_mm512_loadu_ps(kept.totals + r * TILE));
            finish_row(out + r * at.d, kept.sums + r * columns, 1.0f / total, at.d);
        }
    }
};

// All blocks of a call, by a team: each thread has a `Scratch` of its own, `pack(head, scratch)` reads the keys and values of
// a head, and compute(scratch, head, row, rows) computes one block.
template <class Scratch, class Pack, class Compute>
static inline int by_blocks(const Problem& at, Pack&& pack, Compute&& compute) {
    if (!may_use_tiles()) return 3;
    static thread_local Arena arena;
    const int64_t each = ceil_div(at.rows(), BLOCK_Q), blocks = at.b * at.heads() * each;
    Scratch size;
    const int64_t one = size.place(nullptr, at.kv, at.d);
    Sum* memory = arena.reserve(one * threads);
    if (!memory) return 1;
    BY_TEAM {
        Scratch own;
        own.place(memory + TEAM_INDEX * one, at.kv, at.d);
        const Tiles registers;
        // Neighbours, so that hardly a head is packed by two threads.
        const Range mine = share(blocks, 1, TEAM_SIZE, TEAM_INDEX);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const int64_t head = i / each, row = i % each * BLOCK_Q;
            if (i == mine.begin || row == 0) pack(head, own);
            compute(own, head, row, min_of(BLOCK_Q, at.rows() - row));
        }
    }
    return 0;
}
