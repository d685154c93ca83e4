/*[tuner]
name = "attn_amx"
operator = "attention"
summary = "FlashAttention in tile registers (AMX): both products of bf16, with the softmax of one block between them."
dtypes = ["bf16"]
requires = ["amx-tile", "amx-bf16", "avx512bf16", "avx512bw", "avx512dq"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "b", "h", "q", "kv", "d", "scale"]
options = "operator"

[parameters]
BLOCK_Q = { values = [32, 64, 96, 128, 192, 256, 384, 512, 1024], doc = "query rows of a block: what one pass over the keys serves" }
BLOCK_KV = { values = [32, 64, 96, 128, 192, 256, 384, 512], doc = "keys between two rescalings" }
TALL = { values = [1, 2], doc = "tiles of 16 queries whose products are computed together" }
threads = [1, 2, 4, 8, 16, 32, 64]

[let]
passes = "ceildiv(rows, BLOCK_Q)"
# Scores and probabilities.
panel_bytes = "TALL * 16 * BLOCK_KV * (4 + 2)"

[constraints]
queries_used = "BLOCK_Q < 2 * rows or BLOCK_Q == 32"
keys_used = "BLOCK_KV < 2 * kv or BLOCK_KV == 32"
tall_used = "TALL == 1 or rows > 16"
# One tile of queries: as many products as loads.
tall_enough = "TALL == 2 or rows <= 48"
panels_in_l2 = "4 * panel_bytes <= l2_bytes"
# The sums stay near while the keys pass.
sums_in_l2 = "BLOCK_Q * d * 4 * 2 <= l2_bytes"
threads_on_cores = "threads <= cores"
work_for_threads = "threads == 1 or threads < 2 * b * kv_h * passes"

[features]
panel_bytes = "panel_bytes"
cache_bytes = "2 * BLOCK_KV * d * 2"
passes_over_cache = "passes"
*/
// Rung 2. A tile instruction multiplies 8192 pairs of bf16, sixteen times what a vector instruction does, so the softmax
// takes longer than either product. Panel after panel (TALL * 16 queries by BLOCK_KV keys) has its scores multiplied,
// their softmax taken and its probabilities multiplied by the values. Keys and values of a head are packed into tiles
// once, by the thread that reads them. Products are added in f32; denormals count as zero. Tried: the products of the
// next and the last panel a few tiles at a time during a softmax, which took as long, within 2% (Xeon with AMX).
#define HUGE_PAGES 0
#include "../common/arena.h"
#include "../common/team.h"
#include "amx_softmax.h"
#include "wide.h"

enum : int64_t { ROWS = TALL * TILE, STEPS = BLOCK_KV / DEEP, PANELS = (BLOCK_Q + ROWS - 1) / ROWS };

// One panel: rows of a block, keys of a block of keys.
struct Panel {
    int64_t number, begin, wide;  // which rows; its first key, and how many, filled up to a multiple of 32
    int64_t clear;                // keys that all rows see
    bool first, moved;            // no sums yet; sums are to be rescaled before
    bool spoilt;                  // some rows must not see a value that is no number
    float factors[ROWS] __attribute__((aligned(64)));
};

// Memory of one thread; sizes in units of four bytes.
struct Scratch {
    char *keys, *values;   // [tiles of 16 keys][steps of d], [tiles of 32 keys][tiles of 16 columns]
    int32_t* special;      // by 32 keys: whether a value is no number
    char* queries;         // [PANELS][TALL][steps of d]
    float* sums;           // [PANELS * ROWS][columns]
    float *largest, *totals;  // [PANELS * ROWS], [PANELS * ROWS][16]
    float* scores;         // [ROWS][SCORES]
    char *probabilities;   // [BLOCK_KV / 32][TALL] tiles
    char *clean;  // values of one block of keys, without those that are no numbers

    int64_t place(Sum* base, int64_t kv, int64_t d) {
        const int64_t tokens = ceil_div(kv, DEEP) * DEEP, columns = ceil_div(d, DEEP) * DEEP;
        int64_t used = 0;
        auto take = [&](auto*& part, int64_t count) {
            part = base ? reinterpret_cast<decltype(+part)>(base + used) : nullptr;
            used += ceil_div(count, 16) * 16 + 80;  // parts of one size begin at other sets of the cache
        };
        take(keys, tokens * columns / 2);
        take(values, tokens * columns / 2);
        take(special, tokens / DEEP);
        take(queries, PANELS * ROWS * columns / 2);
        take(sums, PANELS * ROWS * columns);
        take(largest, PANELS * ROWS);
        take(totals, PANELS * ROWS * TILE);
        take(scores, ROWS * SCORES);
        take(probabilities, ROWS * BLOCK_KV / 2);
        take(clean, OPT_CAUSAL ? BLOCK_KV * columns / 2 : 0);
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

// Sums (tiles 0 ... 3) of TALL x 2 tiles over `steps`: tiles of one step are `next_a` and `next_b` bytes after the last's,
// the second ones `second_a` and `second_b` after the first. With `sums` they go on from there.
static inline void multiply(const char* a, int64_t second_a, int64_t next_a, const char* b, int64_t second_b, int64_t next_b,
                            int64_t steps, float* sums, int64_t stride, bool fresh) {
    if (fresh) {
        tile_zero<0>(), tile_zero<1>();
        if (TALL == 2) tile_zero<2>(), tile_zero<3>();
    } else {
        load_sums<0>(sums, stride);
        if (TALL == 2) load_sums<2>(sums + TILE * stride, stride);
    }
    for (int64_t s = 0; s < steps; ++s, a += next_a, b += next_b) {
        tile_load<4>(a, TILE_ROW_BYTES);
        tile_load<6>(b, TILE_ROW_BYTES);
        tile_load<7>(b + second_b, TILE_ROW_BYTES);
        tile_multiply<0, 4, 6>();
        tile_multiply<1, 4, 7>();
        if (TALL == 2) {
            tile_load<5>(a + second_a, TILE_ROW_BYTES);
            tile_multiply<2, 5, 6>();
            tile_multiply<3, 5, 7>();
        }
    }
    store_sums<0>(sums, stride);
    if (TALL == 2) store_sums<2>(sums + TILE * stride, stride);
}

// A block of query rows of one head.
class Block {
    const Problem& at;
    const Scratch& own;
    int64_t row, rows, deep, columns;  // first row of the head, how many; steps and padded columns of d

    int64_t limit(int64_t r) const { return at.limit(min_of(row + r, row + rows - 1)); }
    // Of the keys from `begin` on, those that row r sees.
    int64_t seen(const Panel& p, int64_t r) const {
        return OPT_CAUSAL ? max_of(0, min_of(p.wide, limit(p.number * ROWS + r) - p.begin)) : p.clear;
    }

    // The panel's scores of 32 keys.
    void score(const Panel& p, int64_t step) const {
        multiply(own.queries + p.number * TALL * deep * TILE_BYTES, deep * TILE_BYTES, TILE_BYTES,
                 own.keys + (p.begin / TILE + 2 * step) * deep * TILE_BYTES, deep * TILE_BYTES, TILE_BYTES, deep,
                 own.scores + step * DEEP, SCORES, true);
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
        const char* values = (OPT_CAUSAL && p.spoilt ? own.clean : own.values + p.begin * columns * 2) + column / TILE * TILE_BYTES;
        multiply(own.probabilities, TILE_BYTES, TALL * TILE_BYTES, values, TILE_BYTES, columns / TILE * TILE_BYTES,
                 p.wide / DEEP, sums, columns, p.first);
        if (OPT_CAUSAL && p.spoilt && column + DEEP == columns) add_special(p);
    }

    // A copy of the panel's values in which those that are no numbers are 0 where not all rows see them: a probability
    // of 0 times such a value is a NaN.
    void clean(Panel& p) const {
        const int64_t begin = p.clear / DEEP, end = p.wide / DEEP;
        p.spoilt = false;
        for (int64_t s = begin; s < end; ++s) p.spoilt = p.spoilt || own.special[p.begin / DEEP + s];
        if (!p.spoilt) return;
        memcpy(own.clean, own.values + p.begin * columns * 2, size_t(p.wide * columns * 2));
        uint16_t* values = reinterpret_cast<uint16_t*>(own.clean);
        for (int64_t i = begin * DEEP * columns; i < p.wide * columns; ++i) {
            if ((values[i] & 0x7f80) == 0x7f80) values[i] = 0;
        }
    }

    // What `clean` took away, to the rows that see it.
    void add_special(const Panel& p) const {
        for (int64_t j = p.clear / DEEP * DEEP; j < p.wide; ++j) {
            if (!own.special[(p.begin + j) / DEEP]) continue;
            for (int64_t t = 0; t < at.d; ++t) {
                const int64_t tile = (p.begin + j) / DEEP * (columns / TILE) + t / TILE;
                const bfloat16* unit = reinterpret_cast<const bfloat16*>(own.values + tile * TILE_BYTES) + j % DEEP / 2 * DEEP;
                const bfloat16 value = unit[t % TILE * 2 + j % 2];
                if ((value.bits & 0x7f80) != 0x7f80) continue;
                for (int64_t r = 0; r < ROWS; ++r) {
                    if (seen(p, r) <= j) continue;
                    const char* of_row = own.probabilities + (j / DEEP * TALL + r / TILE) * TILE_BYTES + r % TILE * TILE_ROW_BYTES;
                    own.sums[(p.number * ROWS + r) * columns + t] +=
                        float(reinterpret_cast<const bfloat16*>(of_row)[j % DEEP]) * float(value);
                }
            }
        }
    }

    // Of 16 rows of the panel, from r on.
    void softmax(Panel& p, int64_t r) const {
        float* largest = own.largest + p.number * ROWS + r;
        __m512 found[TILE];
        for (int64_t i = 0; i < TILE; ++i) found[i] = largest_of_row(own.scores + (r + i) * SCORES, {seen(p, r + i), p.wide});
        const vec best = (vec)across_rows(found, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
        const vec before = load(largest), top = larger(before, best * splat(at.scale));
        const vec factors = exp2_negative(before - top);
        store(largest, top);
        store(p.factors + r, factors);
        p.moved = p.moved || _mm512_cmp_ps_mask((__m512)factors, _mm512_set1_ps(1.0f), _CMP_NEQ_UQ);
        const bool far = _mm512_cmp_ps_mask(_mm512_abs_ps((__m512)top), _mm512_set1_ps(1 << 14), _CMP_NLT_UQ) != 0;
        for (int64_t i = r; i < r + TILE; ++i) {
            char* to = own.probabilities + i / TILE * TILE_BYTES + i % TILE * TILE_ROW_BYTES;
            float* totals = own.totals + (p.number * ROWS + i) * TILE;
            const __m512 total = _mm512_mul_ps(_mm512_loadu_ps(totals), _mm512_set1_ps(p.factors[i]));
            const Seen row = {seen(p, i), p.wide};
            const float* scores = own.scores + i * SCORES;
            const float most = own.largest[p.number * ROWS + i];
            _mm512_storeu_ps(totals, far ? probabilities_of_row<true>(to, scores, row, at.scale, most, total)
                                         : probabilities_of_row<false>(to, scores, row, at.scale, most, total));
        }
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
            p.first = p.begin == 0, p.moved = false, p.spoilt = false;
            return true;
        }
    }

public:
    Block(const Problem& at, const Scratch& own, int64_t row, int64_t rows)
        : at(at), own(own), row(row), rows(rows), deep(ceil_div(at.d, DEEP)), columns(ceil_div(at.d, DEEP) * DEEP) {}

    void compute(int64_t head) const {
        const element* queries = at.Q + (at.first_row(head) + row) * at.d;
        const int64_t panels = ceil_div(rows, ROWS);
        for (int64_t r = 0; r < panels * ROWS; r += TILE) {
            pack_queries(own.queries + r / TILE * deep * TILE_BYTES, queries + r * at.d, max_of(0, min_of(TILE, rows - r)), at.d);
        }
        for (int64_t r = 0; r < panels * ROWS; ++r) own.largest[r] = LARGEST_OF_NONE;
        memset(own.totals, 0, size_t(panels * ROWS * TILE) * sizeof(float));
        int64_t end = OPT_CAUSAL ? 0 : at.kv;
        for (int64_t r = 0; OPT_CAUSAL && r < rows; ++r) end = max_of(end, limit(r));
        Panel p;
        for (bool more = find(p, end, true); more; more = find(p, end, false)) {
            for (int64_t step = 0; step < p.wide / DEEP; ++step) score(p, step);
            for (int64_t r = 0; r < ROWS; r += TILE) softmax(p, r);
            if (OPT_CAUSAL) clean(p);
            for (int64_t column = 0; column < columns; column += DEEP) add(p, column);
        }
        element* out = at.O + (at.first_row(head) + row) * at.d;
        for (int64_t r = 0; r < rows; ++r) {
            const float total = _mm512_reduce_add_ps(_mm512_loadu_ps(own.totals + r * TILE));
            finish_row(out + r * at.d, own.sums + r * columns, 1.0f / total, at.d);
        }
    }
};

static void pack_head(const Problem& at, int64_t head, const Scratch& own) {
    const int64_t deep = ceil_div(at.d, DEEP);
    const Cache keys = at.keys(head), values = at.values(head);
    for (int64_t j = 0; j < at.kv; j += DEEP) {
        for (int64_t i = j; i < j + DEEP; i += TILE) pack_keys(own.keys + i / TILE * deep * TILE_BYTES, keys, i, at.kv, at.d);
        own.special[j / DEEP] = pack_values(own.values + j * deep * DEEP * 2, values, j, at.kv, at.d);
    }
}

extern "C" int attention(const element* Q, const element* K, const element* V, const int32_t* block_table, element* O,
                         int64_t b, int64_t h, int64_t q, int64_t kv, int64_t d, float scale) {
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
        // Neighbours, so that hardly a head is packed by two threads.
        const Range mine = share(blocks, 1, TEAM_SIZE, TEAM_INDEX);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            const int64_t head = i / each, row = i % each * BLOCK_Q;
            if (i == mine.begin || row == 0) pack_head(at, head, own);
            Block(at, own, row, min_of(BLOCK_Q, at.rows() - row)).compute(head);
        }
    }
    return 0;
}
