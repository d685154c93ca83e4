/*[tuner]
name = "attn_amx_split"
operator = "attention"
summary = "FlashAttention of f32 in tile registers (AMX): a number is three of bf16, a product six of theirs."
dtypes = ["f32"]
accuracy = "numbers below 2^-102 (2e-31) lose their low parts, below 2^-126 (1e-38) they count as zero"
requires = ["amx-tile", "amx-bf16", "avx512bf16", "avx512bw", "avx512dq"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "b", "h", "q", "kv", "d", "scale"]
options = "operator"
use = ["amx_panels"]

[parameters]
BETWEEN = { values = [true, false], doc = "probabilities between the products of the next panel's scores, or after them" }

[let]
# Scores and the parts of probabilities.
panel_bytes = "TALL * 16 * BLOCK_KV * (8 + 6)"

[features]
cache_bytes = "2 * BLOCK_KV * d * 6"
*/
// Rung 3. A tile instruction multiplies sixteen times as many pairs of bf16 as a vector instruction does of f32. A number
// of f32 is the sum of three of bf16, and six of the nine products of such sums err as f32 does (amx_split.h): so f32 takes
// six tile instructions for what sixteen vector instructions do. Probabilities are split as they are made, between the
// products of the next panel's scores: one after the other took 1.15 times as long for 384 keys, and as long for 128 (Xeon
// with AMX). What is no number has no parts: logits of such keys are computed one by one, and such values are added
// behind the others.
#include "amx_block.h"
#include "amx_split.h"

enum : int32_t { SPECIAL_KEY = 1, SPECIAL_VALUE = 2 };

// Memory of one thread.
struct Scratch {
    RowsKept rows;
    char *keys, *values;  // [tiles of 16 keys][part][steps of d], [tiles of 32 keys][part][tiles of 16 columns]
    int32_t* special;     // by 32 keys: whether a key or a value is no number
    char* queries;        // [PANELS][TALL][part][steps of d]
    float* scores[2];     // [ROWS][SCORES] of a panel, and of the next
    char* probabilities;  // [BLOCK_KV / 32][part][TALL] tiles

    int64_t place(Sum* base, int64_t kv, int64_t d) {
        const int64_t tokens = ceil_div(kv, DEEP) * DEEP, columns = ceil_div(d, DEEP) * DEEP;
        Parts parts = {base};
        parts.take(keys, PARTS * tokens * columns / 2);
        parts.take(values, PARTS * tokens * columns / 2);
        parts.take(special, tokens / DEEP);
        parts.take(queries, PARTS * PANELS * ROWS * columns / 2);
        rows.place(parts, columns);
        for (float*& each : scores) parts.take(each, ROWS * SCORES);
        parts.take(probabilities, PARTS * ROWS * BLOCK_KV / 2);
        return parts.used;
    }
};

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
    begin_sums(fresh ? nullptr : sums, stride);
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
    end_sums(sums, stride);
}

// A block of query rows of one head.
class Block : BlockOfRows {
    const Scratch& own;

    // The panel's scores of 32 keys.
    template <class Between>
    void score(const Panel& p, float* scores, int64_t step, Between&& between) const {
        const int64_t part = deep * TILE_BYTES, tile = PARTS * part;
        multiply({own.queries + p.number * TALL * tile, tile, part, TILE_BYTES},
                 {own.keys + (p.begin / TILE + 2 * step) * tile, tile, part, TILE_BYTES}, deep, scores + step * DEEP, SCORES,
                 true, between);
        if (own.special[p.begin / DEEP + step] & SPECIAL_KEY) score_special(p, scores, step * DEEP);
    }

    // Scores of those of 32 keys that have an element that is no number.
    void score_special(const Panel& p, float* scores, int64_t first) const {
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
                scores[(r - p.number * ROWS) * SCORES + j] = sum;
            }
        }
    }

    // The panel's probabilities times 32 columns of the values.
    void add(const Panel& p, int64_t column) const {
        const int64_t part = columns / TILE * TILE_BYTES;
        multiply({own.probabilities, TILE_BYTES, TALL * TILE_BYTES, PARTS * TALL * TILE_BYTES},
                 {own.values + p.begin / DEEP * PARTS * part + column / TILE * TILE_BYTES, TILE_BYTES, part, PARTS * part},
                 p.wide / DEEP, rescaled(p, column), columns, p.first, [] {});
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
                    own.rows.sums[(p.number * ROWS + r) * columns + t] += probability(j, r) * value[t];
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

    // Panel after panel that sees one of the first `end` keys: the largest of its scores; while tiles multiply the next one's
    // scores, its probabilities, a few rows between the products; then their products with the values.
    void pass(int64_t end) const {
        const auto make = [&](char* to, const float* scores, Seen row, float largest, __m512 total, bool far) {
            return far ? split_probabilities<true>(to, scores, row, at.scale, largest, total)
                       : split_probabilities<false>(to, scores, row, at.scale, largest, total);
        };
        Panel both[2];
        bool more = find(both[0], end, true);
        for (int64_t step = 0; step < both[0].wide / DEEP; ++step) score(both[0], own.scores[0], step, [] {});
        for (int64_t k = 0; more; k = 1 - k) {
            Panel &now = both[k], &next = both[1 - k];
            for (int64_t r = 0; r < ROWS; r += TILE) largest_of(now, own.scores[k], r);
            next = now;
            more = find(next, end, false);
            const int64_t places = next.wide / DEEP * deep * 6;
            int64_t done = 0, place = 0;
            auto between = [&]() __attribute__((always_inline)) {
                ++place;
                for (; BETWEEN && done * places < ROWS * place; ++done) {
                    probabilities(now, own.scores[k], done, own.probabilities, make);
                }
            };
            for (int64_t step = 0; more && step < next.wide / DEEP; ++step) score(next, own.scores[1 - k], step, between);
            for (; done < ROWS; ++done) probabilities(now, own.scores[k], done, own.probabilities, make);
            for (int64_t column = 0; column < columns; column += DEEP) add(now, column);
            add_special(now);
        }
    }

public:
    Block(const Problem& at, const Scratch& own, int64_t head, int64_t row, int64_t rows)
        : BlockOfRows(at, own.rows, head, row, rows), own(own) {}

    void compute() const {
        const float* queries = at.Q + (at.first_row(head) + row) * at.d;
        for (int64_t r = 0; r < ceil_div(rows, ROWS) * ROWS; r += TILE) {
            split_queries(own.queries + r / TILE * PARTS * deep * TILE_BYTES, queries + r * at.d,
                          max_of(0, min_of(TILE, rows - r)), at.d);
        }
        pass(begin());
        finish();
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
    // log2(e), since probabilities are powers of 2.
    const Problem at = {Q, K, V, block_table, O, b, h, q, kv, d, score_scale(scale, d) * 1.44269504f};
    return by_blocks<Scratch>(
        at, [&](int64_t head, const Scratch& own) { split_head(at, head, own); },
        [&](const Scratch& own, int64_t head, int64_t row, int64_t rows) { Block(at, own, head, row, rows).compute(); });
}
