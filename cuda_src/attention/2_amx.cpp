/*[tuner]
name = "attn_amx"
operator = "attention"
summary = "FlashAttention in tile registers (AMX): both products of bf16, with the softmax of one block between them."
dtypes = ["bf16"]
requires = ["amx-tile", "amx-bf16", "avx512bf16", "avx512bw", "avx512dq"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "b", "h", "q", "kv", "d", "scale"]
options = "operator"
use = ["amx_panels"]

[let]
# Scores and probabilities.
panel_bytes = "TALL * 16 * BLOCK_KV * (4 + 2)"

[features]
cache_bytes = "2 * BLOCK_KV * d * 2"
*/
// Rung 2. A tile instruction multiplies 8192 pairs of bf16, sixteen times what a vector instruction does, so the softmax
// takes longer than either product. Panel after panel (TALL * 16 queries by BLOCK_KV keys) has its scores multiplied,
// their softmax taken and its probabilities multiplied by the values. Keys and values of a head are packed into tiles
// once, by the thread that reads them. Products are added in f32; denormals count as zero. Tried: the products of the
// next and the last panel a few tiles at a time during a softmax, which took as long, within 2% (Xeon with AMX).
#include "amx_block.h"

// Memory of one thread.
struct Scratch {
    RowsKept rows;
    char *keys, *values;  // [tiles of 16 keys][steps of d], [tiles of 32 keys][tiles of 16 columns]
    int32_t* special;     // by 32 keys: whether a value is no number
    char* queries;        // [PANELS][TALL][steps of d]
    float* scores;        // [ROWS][SCORES]
    char* probabilities;  // [BLOCK_KV / 32][TALL] tiles
    char* clean;          // values of one block of keys, without those that are no numbers

    int64_t place(Sum* base, int64_t kv, int64_t d) {
        const int64_t tokens = ceil_div(kv, DEEP) * DEEP, columns = ceil_div(d, DEEP) * DEEP;
        Parts parts = {base};
        parts.take(keys, tokens * columns / 2);
        parts.take(values, tokens * columns / 2);
        parts.take(special, tokens / DEEP);
        parts.take(queries, PANELS * ROWS * columns / 2);
        rows.place(parts, columns);
        parts.take(scores, ROWS * SCORES);
        parts.take(probabilities, ROWS * BLOCK_KV / 2);
        parts.take(clean, OPT_CAUSAL ? BLOCK_KV * columns / 2 : 0);
        return parts.used;
    }
};

// Sums (tiles 0 ... 3) of TALL x 2 tiles over `steps`: tiles of one step are `next_a` and `next_b` bytes after the last's,
// the second ones `second_a` and `second_b` after the first. With `sums` they go on from there.
static inline void multiply(const char* a, int64_t second_a, int64_t next_a, const char* b, int64_t second_b, int64_t next_b,
                            int64_t steps, float* sums, int64_t stride, bool fresh) {
    begin_sums(fresh ? nullptr : sums, stride);
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
    end_sums(sums, stride);
}

// A block of query rows of one head.
class Block : BlockOfRows {
    const Scratch& own;

    // The panel's scores of 32 keys.
    void score(const Panel& p, int64_t step) const {
        multiply(own.queries + p.number * TALL * deep * TILE_BYTES, deep * TILE_BYTES, TILE_BYTES,
                 own.keys + (p.begin / TILE + 2 * step) * deep * TILE_BYTES, deep * TILE_BYTES, TILE_BYTES, deep,
                 own.scores + step * DEEP, SCORES, true);
    }

    // The panel's probabilities times 32 columns of the values.
    void add(const Panel& p, int64_t column, bool spoilt) const {
        float* sums = rescaled(p, column);
        const char* values = (spoilt ? own.clean : own.values + p.begin * columns * 2) + column / TILE * TILE_BYTES;
        multiply(own.probabilities, TILE_BYTES, TALL * TILE_BYTES, values, TILE_BYTES, columns / TILE * TILE_BYTES,
                 p.wide / DEEP, sums, columns, p.first);
        if (spoilt && column + DEEP == columns) add_special(p);
    }

    // A copy of the panel's values in which those that are no numbers are 0 where not all rows see them: a probability
    // of 0 times such a value is a NaN. Returns whether there are any.
    bool clean(const Panel& p) const {
        const int64_t begin = p.clear / DEEP, end = p.wide / DEEP;
        bool spoilt = false;
        for (int64_t s = begin; s < end; ++s) spoilt = spoilt || own.special[p.begin / DEEP + s];
        if (!spoilt) return false;
        memcpy(own.clean, own.values + p.begin * columns * 2, size_t(p.wide * columns * 2));
        uint16_t* values = reinterpret_cast<uint16_t*>(own.clean);
        for (int64_t i = begin * DEEP * columns; i < p.wide * columns; ++i) {
            if ((values[i] & 0x7f80) == 0x7f80) values[i] = 0;
        }
        return true;
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
                    own.rows.sums[(p.number * ROWS + r) * columns + t] +=
                        float(reinterpret_cast<const bfloat16*>(of_row)[j % DEEP]) * float(value);
                }
            }
        }
    }

public:
    Block(const Problem& at, const Scratch& own, int64_t head, int64_t row, int64_t rows)
        : BlockOfRows(at, own.rows, head, row, rows), own(own) {}

    void compute() const {
        const element* queries = at.Q + (at.first_row(head) + row) * at.d;
        for (int64_t r = 0; r < ceil_div(rows, ROWS) * ROWS; r += TILE) {
            pack_queries(own.queries + r / TILE * deep * TILE_BYTES, queries + r * at.d, max_of(0, min_of(TILE, rows - r)), at.d);
        }
        const int64_t end = begin();
        const auto make = [&](char* to, const float* scores, Seen row, float largest, __m512 total, bool far) {
            return far ? probabilities_of_row<true>(to, scores, row, at.scale, largest, total)
                       : probabilities_of_row<false>(to, scores, row, at.scale, largest, total);
        };
        Panel p;
        for (bool more = find(p, end, true); more; more = find(p, end, false)) {
            for (int64_t step = 0; step < p.wide / DEEP; ++step) score(p, step);
            for (int64_t r = 0; r < ROWS; r += TILE) largest_of(p, own.scores, r);
            for (int64_t r = 0; r < ROWS; ++r) probabilities(p, own.scores, r, own.probabilities, make);
            const bool spoilt = OPT_CAUSAL && clean(p);
            for (int64_t column = 0; column < columns; column += DEEP) add(p, column, spoilt);
        }
        finish();
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
    // log2(e), since probabilities are powers of 2.
    const Problem at = {Q, K, V, block_table, O, b, h, q, kv, d, score_scale(scale, d) * 1.44269504f};
    return by_blocks<Scratch>(
        at, [&](int64_t head, const Scratch& own) { pack_head(at, head, own); },
        [&](const Scratch& own, int64_t head, int64_t row, int64_t rows) { Block(at, own, head, row, rows).compute(); });
}
