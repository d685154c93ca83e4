/*[tuner]
name = "attn_amx_split"
operator = "attention"
summary = "FlashAttention of f32 in tile registers (AMX): a number is three of bf16, a product six of theirs."
dtypes = ["f32"]
requires = ["amx-tile", "amx-bf16", "avx512bf16", "avx512bw", "avx512dq"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "b", "h", "q", "kv", "d", "scale"]
options = "operator"

[parameters]
BLOCK_Q = { values = [32, 64, 96, 128, 192, 256, 384, 512, 1024], doc = "query rows of a block: what one pass over the keys serves" }
BLOCK_KV = { values = [32, 64, 96, 128, 192, 256, 384, 512], doc = "keys between two rescalings" }
TALL = { values = [1, 2], doc = "tiles of 16 queries whose products are computed together" }
BETWEEN = { values = [true, false], doc = "probabilities between the products of the next panel's scores, or after them" }
threads = [1, 2, 4, 8, 16, 32, 64]

[let]
passes = "ceildiv(rows, BLOCK_Q)"
# Scores and the parts of probabilities.
panel_bytes = "TALL * 16 * BLOCK_KV * (8 + 6)"

[constraints]
queries_used = "BLOCK_Q < 2 * rows or BLOCK_Q == 32"
keys_used = "BLOCK_KV < 2 * kv or BLOCK_KV == 32"
tall_used = "TALL == 1 or rows > 16"
# One tile of queries: sums wait for each other.
tall_enough = "TALL == 2 or rows <= 48"
panels_in_l2 = "4 * panel_bytes <= l2_bytes"
# The sums stay near while the keys pass.
sums_in_l2 = "BLOCK_Q * d * 4 * 2 <= l2_bytes"
threads_on_cores = "threads <= cores"
work_for_threads = "threads == 1 or threads < 2 * b * kv_h * passes"

[features]
panel_bytes = "panel_bytes"
cache_bytes = "2 * BLOCK_KV * d * 6"
passes_over_cache = "passes"
*/
// Rung 3. A tile instruction multiplies sixteen times as many pairs of bf16 as a vector instruction does of f32. A number
// of f32 is the sum of three of bf16, and six of the nine products of such sums err as f32 does (amx_split.h): so f32 takes
// six tile instructions for what sixteen vector instructions do. Probabilities are split as they are made, between the
// products of the next panel's scores: one after the other took 1.15 times as long for 384 keys, and as long for 128 (Xeon
// with AMX). What is no number has no parts: logits of such keys are computed one by one, and such values are added
// behind the others.
#define HUGE_PAGES 0
#include "../common/arena.h"
#include "../common/team.h"
#include "amx_split.h"
#include "wide.h"

enum : int64_t { ROWS = TALL * TILE, PANELS = (BLOCK_Q + ROWS - 1) / ROWS };
enum : int32_t { SPECIAL_KEY = 1, SPECIAL_VALUE = 2 };

// One panel: rows of a block, keys of a block of keys.
struct Panel {
    int64_t number, begin, wide;  // which rows; its first key, and how many, filled up to a multiple of 32
    int64_t clear;                // keys that all rows see
    bool first, moved;            // no sums yet; sums are to be rescaled before
    int64_t buffer;               // which of two has its scores
    __mmask16 far[TALL];          // rows whose scores are so large that the product's rounding counts
    float factors[ROWS] __attribute__((aligned(64)));
};

// Memory of one thread; sizes in units of four bytes.
struct Scratch {
    char *keys, *values;      // [tiles of 16 keys][part][steps of d], [tiles of 32 keys][part][tiles of 16 columns]
    int32_t* special;         // by 32 keys: whether a key or a value is no number
    char* queries;            // [PANELS][TALL][part][steps of d]
    float* sums;              // [PANELS * ROWS][columns]
    float *largest, *totals;  // [PANELS * ROWS], [PANELS * ROWS][16]
    float* scores;            // [2][ROWS][SCORES]
    char* probabilities;      // [BLOCK_KV / 32][part][TALL] tiles

    int64_t place(Sum* base, int64_t kv, int64_t d) {
        const int64_t tokens = ceil_div(kv, DEEP) * DEEP, columns = ceil_div(d, DEEP) * DEEP;
        int64_t used = 0;
        auto take = [&](auto*& part, int64_t count) {
            part = base ? reinterpret_cast<decltype(+part)>(base + used) : nullptr;
            used += ceil_div(count, 16) * 16 + 80;  // parts of one size begin at other sets of the cache
        };
        take(keys, PARTS * tokens * columns / 2);
        take(values, PARTS * tokens * columns / 2);
        take(special, tokens / DEEP);
        take(queries, PARTS * PANELS * ROWS * columns / 2);
        take(sums, PANELS * ROWS * columns);
        take(largest, PANELS * ROWS);
        take(totals, PANELS * ROWS * TILE);
        take(scores, 2 * ROWS * SCORES);
        take(probabilities, PARTS * ROWS * BLOCK_KV / 2);
        return used;
    }
};

template <int FIRST>
static inline void load_sums(const float* from, int64_t stride) {
    tile_load<FIRST>(from, stride * 4);
    tile_load<FIRST + 1>(from + TILE, stride * 4);
}

template <int FIRST>
static inline void store_sums(float* to, int64_t stride) {
    tile_store<FIRST>(to, stride * 4);
    tile_store<FIRST + 1>(to + TILE, stride * 4);
}

// Where the tiles of an operand lie, in bytes: from one to its neighbour, to its next part, to the next step.
struct Places {
    const char* first;
    int64_t second, part, next;
};

// Sums (tiles 0 ... 3) of TALL x 2 tiles over `steps`. With `fresh` they begin at 0, else they go on from `sums`. Each of the
// six products after the first brings in one part of one operand.
// `between` is called after each of the six: vector instructions that a tile instruction need not wait for.
template <class Between>
static inline __attribute__((always_inline)) void multiply(Places a, Places b, int64_t steps, float* sums, int64_t stride,
                                                           bool fresh, Between&& between) {
    if (fresh) {
        tile_zero<0>(), tile_zero<1>();
        if (TALL == 2) tile_zero<2>(), tile_zero<3>();
    } else {
        load_sums<0>(sums, stride);
        if (TALL == 2) load_sums<2>(sums + TILE * stride, stride);
    }
    for (int64_t s = 0; s < steps; ++s, a.first += a.next, b.first += b.next) {
        const char *const x = a.first, *const y = b.first;
        tile_load<4>(x, TILE_ROW_BYTES), tile_load<6>(y + 2 * b.part, TILE_ROW_BYTES);
        tile_load<7>(y + 2 * b.part + b.second, TILE_ROW_BYTES);
        if (TALL == 2) tile_load<5>(x + a.second, TILE_ROW_BYTES);
        // Products of the parts that are there; the operand that changes is loaded as soon as a tile has been used.
        auto next_right = [&](int64_t part) __attribute__((always_inline)) {
            tile_multiply<0, 4, 6>();
            if (TALL == 2) tile_multiply<2, 5, 6>();
            tile_load<6>(y + part * b.part, TILE_ROW_BYTES);
            tile_multiply<1, 4, 7>();
            if (TALL == 2) tile_multiply<3, 5, 7>();
            tile_load<7>(y + part * b.part + b.second, TILE_ROW_BYTES);
        };
        auto next_left = [&](int64_t part) __attribute__((always_inline)) {
            tile_multiply<0, 4, 6>(), tile_multiply<1, 4, 7>();
            tile_load<4>(x + part * a.part, TILE_ROW_BYTES);
            if (TALL == 2) tile_multiply<2, 5, 6>(), tile_multiply<3, 5, 7>();
            if (TALL == 2) tile_load<5>(x + part * a.part + a.second, TILE_ROW_BYTES);
        };
        next_right(1), between(), next_left(1), between(), next_right(0), between();
        next_left(2), between(), next_left(0), between();
        tile_multiply<0, 4, 6>(), tile_multiply<1, 4, 7>();
        if (TALL == 2) tile_multiply<2, 5, 6>(), tile_multiply<3, 5, 7>();
        between();
    }
    store_sums<0>(sums, stride);
    if (TALL == 2) store_sums<2>(sums + TILE * stride, stride);
}

// A block of query rows of one head.
class Block {
    const Problem& at;
    const Scratch& own;
    int64_t head, row, rows, deep, columns;  // first row of the head, how many; steps and padded columns of d

    int64_t limit(int64_t r) const { return at.limit(min_of(row + r, row + rows - 1)); }
    // Of the keys from `begin` on, those that row r sees.
    int64_t seen(const Panel& p, int64_t r) const {
        return OPT_CAUSAL ? max_of(0, min_of(p.wide, limit(p.number * ROWS + r) - p.begin)) : p.clear;
    }

    float* scores_of(const Panel& p) const { return own.scores + p.buffer * ROWS * SCORES; }

    // The panel's scores of 32 keys.
    template <class Between>
    void score(const Panel& p, int64_t step, Between&& between) const {
        const int64_t part = deep * TILE_BYTES, tile = PARTS * part;
        multiply({own.queries + p.number * TALL * tile, tile, part, TILE_BYTES},
                 {own.keys + (p.begin / TILE + 2 * step) * tile, tile, part, TILE_BYTES}, deep, scores_of(p) + step * DEEP,
                 SCORES, true, between);
        if (own.special[p.begin / DEEP + step] & SPECIAL_KEY) score_special(p, step * DEEP);
    }

    // Scores of those of 32 keys that have an element that is no number.
    void score_special(const Panel& p, int64_t first) const {
        const Cache keys = at.keys(head);
        for (int64_t j = first; j < min_of(first + DEEP, at.kv - p.begin); ++j) {
            const float* key = keys[p.begin + j];
            bool wrong = false;
            for (int64_t t = 0; t < at.d; ++t) wrong = wrong || !__builtin_isfinite(key[t]);
            if (!wrong) continue;
            for (int64_t r = p.number * ROWS; r < min_of(rows, p.number * ROWS + ROWS); ++r) {
                const float* query = at.Q + (at.first_row(head) + row + r) * at.d;
                float sum = 0;
                for (int64_t t = 0; t < at.d; ++t) sum += query[t] * key[t];
                scores_of(p)[(r - p.number * ROWS) * SCORES + j] = sum;
            }
        }
    }

    // The panel's probabilities times 32 columns of the values.
    void add(const Panel& p, int64_t column) const {
        float* sums = own.sums + p.number * ROWS * columns + column;
        if (p.moved && !p.first) {
            for (int64_t r = 0; r < ROWS; ++r) {
                for (int64_t t = 0; t < DEEP; t += LANES) {
                    store(sums + r * columns + t, load(sums + r * columns + t) * splat(p.factors[r]));
                }
            }
        }
        const int64_t part = columns / TILE * TILE_BYTES;
        multiply({own.probabilities, TILE_BYTES, TALL * TILE_BYTES, PARTS * TALL * TILE_BYTES},
                 {own.values + p.begin / DEEP * PARTS * part + column / TILE * TILE_BYTES, TILE_BYTES, part, PARTS * part},
                 p.wide / DEEP, sums, columns, p.first, [] {});
    }

    // Values that are no numbers, which the tiles lack, to the rows that see them.
    void add_special(const Panel& p) const {
        const Cache values = at.values(head);
        for (int64_t j = 0; j < min_of(p.wide, at.kv - p.begin); ++j) {
            if (!(own.special[(p.begin + j) / DEEP] & SPECIAL_VALUE)) continue;
            const float* value = values[p.begin + j];
            for (int64_t t = 0; t < at.d; ++t) {
                if (__builtin_isfinite(value[t])) continue;
                for (int64_t r = 0; r < ROWS; ++r) {
                    if (seen(p, r) <= j) continue;
                    own.sums[(p.number * ROWS + r) * columns + t] += probability(j, r) * value[t];
                }
            }
        }
    }

    float probability(int64_t j, int64_t r) const {
        float sum = 0;
        for (int64_t part = 0; part < PARTS; ++part) {
            const int64_t tile = (j / DEEP * PARTS + part) * TALL + r / TILE;
            uint16_t upper;
            const char* unit = own.probabilities + tile * TILE_BYTES + r % TILE * TILE_ROW_BYTES + j % TILE * 4;
            memcpy(&upper, unit + j % DEEP / TILE * 2, sizeof upper);
            const uint32_t bits = uint32_t(upper) << 16;
            float value;
            memcpy(&value, &bits, sizeof value);
            sum += value;
        }
        return sum;
    }

    // The largest scores of 16 rows of the panel, from r on, and what their sums are to be multiplied by.
    void largest_of(Panel& p, int64_t r) const {
        float* largest = own.largest + p.number * ROWS + r;
        __m512 found[TILE];
        for (int64_t i = 0; i < TILE; ++i) found[i] = largest_of_row(scores_of(p) + (r + i) * SCORES, {seen(p, r + i), p.wide});
        const vec best = (vec)across_rows(found, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
        const vec before = load(largest), top = larger(before, best * splat(at.scale));
        const vec factors = exp2_negative(before - top);
        store(largest, top);
        store(p.factors + r, factors);
        p.moved = p.moved || _mm512_cmp_ps_mask((__m512)factors, _mm512_set1_ps(1.0f), _CMP_NEQ_UQ);
        // By row: no bit of a row may depend on what other rows see.
        p.far[r / TILE] = _mm512_cmp_ps_mask(_mm512_abs_ps((__m512)top), _mm512_set1_ps(1 << 14), _CMP_NLT_UQ);
    }

    // Of one row, in parts; the row's sum.
    void probabilities(const Panel& p, int64_t i) const {
        char* to = own.probabilities + i / TILE * TILE_BYTES + i % TILE * TILE_ROW_BYTES;
        float* totals = own.totals + (p.number * ROWS + i) * TILE;
        const __m512 total = _mm512_mul_ps(_mm512_loadu_ps(totals), _mm512_set1_ps(p.factors[i]));
        const Seen row = {seen(p, i), p.wide};
        const float* scores = scores_of(p) + i * SCORES;
        const float most = own.largest[p.number * ROWS + i];
        const bool far = p.far[i / TILE] >> (i % TILE) & 1;
        _mm512_storeu_ps(totals, far ? split_probabilities<true>(to, scores, row, at.scale, most, total)
                                     : split_probabilities<false>(to, scores, row, at.scale, most, total));
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

    // Panel after panel that sees one of the first `end` keys: the largest of its scores; while tiles multiply the next one's
    // scores, its probabilities, a few rows between the products; then their products with the values.
    void pass(int64_t end) const {
        Panel both[2];
        bool more = find(both[0], end, true);
        both[0].buffer = 0;
        for (int64_t step = 0; step < both[0].wide / DEEP; ++step) score(both[0], step, [] {});
        for (int64_t k = 0; more; k = 1 - k) {
            Panel &now = both[k], &next = both[1 - k];
            for (int64_t r = 0; r < ROWS; r += TILE) largest_of(now, r);
            next = now;
            next.buffer = 1 - k;
            more = find(next, end, false);
            const int64_t places = next.wide / DEEP * deep * 6;
            int64_t done = 0, place = 0;
            auto between = [&]() __attribute__((always_inline)) {
                ++place;
                for (; BETWEEN && done * places < ROWS * place; ++done) probabilities(now, done);
            };
            for (int64_t step = 0; more && step < next.wide / DEEP; ++step) score(next, step, between);
            for (; done < ROWS; ++done) probabilities(now, done);
            for (int64_t column = 0; column < columns; column += DEEP) add(now, column);
            add_special(now);
        }
    }

public:
    Block(const Problem& at, const Scratch& own, int64_t head, int64_t row, int64_t rows)
        : at(at), own(own), head(head), row(row), rows(rows), deep(ceil_div(at.d, DEEP)), columns(deep * DEEP) {}

    void compute() const {
        const float* queries = at.Q + (at.first_row(head) + row) * at.d;
        const int64_t panels = ceil_div(rows, ROWS);
        for (int64_t r = 0; r < panels * ROWS; r += TILE) {
            split_queries(own.queries + r / TILE * PARTS * deep * TILE_BYTES, queries + r * at.d,
                          max_of(0, min_of(TILE, rows - r)), at.d);
        }
        for (int64_t r = 0; r < panels * ROWS; ++r) own.largest[r] = LARGEST_OF_NONE;
        memset(own.totals, 0, size_t(panels * ROWS * TILE) * sizeof(float));
        int64_t end = OPT_CAUSAL ? 0 : at.kv;
        for (int64_t r = 0; OPT_CAUSAL && r < rows; ++r) end = max_of(end, limit(r));
        pass(end);
        float* out = at.O + (at.first_row(head) + row) * at.d;
        for (int64_t r = 0; r < rows; ++r) {
            const float total = _mm512_reduce_add_ps(_mm512_loadu_ps(own.totals + r * TILE));
            finish_row(out + r * at.d, own.sums + r * columns, 1.0f / total, at.d);
        }
    }
};

static void split_head(const Problem& at, int64_t head, const Scratch& own) {
    const int64_t tile = PARTS * ceil_div(at.d, DEEP) * TILE_BYTES;
    const Cache keys = at.keys(head), values = at.values(head);
    for (int64_t j = 0; j < at.kv; j += DEEP) {
        bool wrong = false;
        for (int64_t i = j; i < j + DEEP; i += TILE) wrong |= split_keys(own.keys + i / TILE * tile, keys, i, at.kv, at.d);
        own.special[j / DEEP] = wrong ? SPECIAL_KEY : 0;
        // 32 values take two tiles of 16 columns for each of 32.
        if (split_values(own.values + j / DEEP * 2 * tile, values, j, at.kv, at.d)) own.special[j / DEEP] |= SPECIAL_VALUE;
    }
}

extern "C" int attention(const float* Q, const float* K, const float* V, const int32_t* block_table, float* O, int64_t b,
                         int64_t h, int64_t q, int64_t kv, int64_t d, float scale) {
    if (!may_use_tiles()) return 3;
    static thread_local Arena arena;
    // log2(e), since probabilities are powers of 2.
    const Problem at = {Q, K, V, block_table, O, b, h, q, kv, d, score_scale(scale, d) * 1.44269504f};
    Scratch scratch;
    const int64_t one = scratch.place(nullptr, kv, d), each = ceil_div(at.rows(), BLOCK_Q), blocks = b * at.heads() * each;
    Sum* memory = arena.reserve(one * threads);
    if (!memory) return 1;
    BY_TEAM {
        Scratch own;
        own.place(memory + TEAM_INDEX * one, kv, d);
        const Tiles registers;
        // Neighbours, so that hardly a head is split by two threads.
        const Range mine = share(blocks, 1, TEAM_SIZE, TEAM_INDEX);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const int64_t head = i / each, row = i % each * BLOCK_Q;
            if (i == mine.begin || row == 0) split_head(at, head, own);
            Block(at, own, head, row, min_of(BLOCK_Q, at.rows() - row)).compute();
        }
    }
    return 0;
}
