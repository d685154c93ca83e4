/*[tuner]
name = "attn_decode_ahead"
operator = "attention"
summary = "Few queries over a cache of its own layout, pages of transposed keys and their values: for workloads that are frozen."
dtypes = ["f32", "f16", "bf16"]
entry = "attention_ahead"
arguments = ["Q", "ahead", "O", "b", "h", "q", "kv", "room", "d", "scale"]
options = "operator"

[parameters]
PAGE = { values = [16, 32, 64, 128, 256], doc = "tokens of a page, whole vectors: its keys transposed, then its values" }
ROWS = { values = [1, 2, 4, 8], doc = "queries that pass over a page together" }
COLUMNS = { values = [1, 2, 4, 8], doc = "vectors of keys, or of values' columns, whose sums they hold" }
PREFETCH = { values = [0, 32, 128, 512], doc = "lines fetched ahead, into L2; 0: by the hardware alone" }
SPLIT_KV = { values = [1, 2, 4, 8, 16, 32, 64], doc = "parts of the keys that threads compute apart, and combine" }
threads = [1, 2, 4, 8, 16, 32, 64]

[let]
# A head has room for so many tokens; `kv` of them are there, which are fewer in a cache that grows.
room = "kv"
lanes = "vector_bytes // 4"
padded = "ceildiv(d, lanes) * lanes"
deep = "ceildiv(d, 2) * 2"
sums = "ROWS * COLUMNS"
wide = "COLUMNS * lanes"

[constraints]
whole_vectors = "PAGE % lanes == 0"
registers = "sums + COLUMNS + 1 <= vector_registers"
# 4 independent sums at least, where there are so many: loads bound a single query, not the latency of its sums.
latency = "sums >= 4 or COLUMNS == 1"
vectors_used = "wide <= PAGE and (COLUMNS == 1 or wide < 2 * padded)"
rows_used = "ROWS < 2 * rows or ROWS == 1"
page_used = "PAGE < 2 * kv or PAGE == 16"
# The rows' scores stay in L1, the page in L2 while all rows pass over it.
page_in_l2 = "PAGE * padded * 2 * element_bytes * 2 <= l2_bytes"
threads_on_cores = "threads <= cores"
# Parts are worth their combination where heads do not feed the threads.
split_needed = "SPLIT_KV == 1 or (SPLIT_KV * 64 <= kv and SPLIT_KV <= 4 * threads and b * kv_h < 4 * threads)"

[workspace]
ahead = "b * kv_h * ceildiv(room, PAGE) * PAGE * (deep + padded) * element_bytes"

[prepare]
entry = "lay_out"
arguments = ["K", "V", "ahead", "b", "kv_h", "kv", "d"]
constant = ["K", "V"]

[append]
entry = "append"
arguments = ["K", "V", "ahead", "b", "kv_h", "kv", "room", "d", "added"]
along = "kv"

[features]
page_bytes = "2 * PAGE * d * element_bytes"
cache_bytes = "2 * b * kv_h * kv * d * element_bytes"
passes_over_page = "ceildiv(rows, ROWS)"
*/
// Rung 4. A cache of keys and values that stays the same, or grows by a token at a time, need not lie as the framework left
// it. A page holds PAGE tokens of a head: its keys transposed, so that a vector is one element of neighbouring keys and a
// score takes no sum across a vector, and behind them its values. Page follows page, so a head is read as one stream. All
// query heads that share it pass over a page while that is near.
//
//     page: K[0][tokens] K[1][tokens] ... K[d - 1][tokens]   V[token 0][columns] V[token 1][columns] ...
//
// Where the processor multiplies words of two neighbouring bf16 (words.h), those of two elements of a key, or of two tokens of a
// column, lie together. `append` puts more tokens into their places and moves nothing.
#define HUGE_PAGES 0
#include <string.h>

#include "../common/arena.h"
#include "../common/team.h"
#include "problem.h"
#include "words.h"

// Where the tokens of a head lie, which has room for so many.
struct Pages {
    int64_t room, d, deep, padded;  // of keys, and of values

    Pages(int64_t room, int64_t d)
        : room(room), d(d), deep(ceil_div(d, 2) * 2), padded(ceil_div(d, LANES) * LANES) {}
    int64_t size() const { return PAGE * (deep + padded); }
    int64_t of_head() const { return ceil_div(room, PAGE) * size(); }

    // One token of the head whose pages begin at `head`.
    void put(element* head, int64_t token, const element* key, const element* value) const {
        element *keys = head + token / PAGE * size(), *values = keys + PAGE * deep;
        const int64_t place = token % PAGE;
        const auto of = [&](const element* row, int64_t t) { return t < d ? row[t] : element(0.0f); };
        for (int64_t t = 0; t < deep; ++t) keys[(t / PAIR * PAGE + place) * PAIR + t % PAIR] = of(key, t);
        for (int64_t t = 0; t < padded; ++t) values[(place / PAIR * padded + t) * PAIR + place % PAIR] = of(value, t);
    }
};

// What one thread, or one part of a head's keys, has computed: sums [rows][padded], the largest score [rows], and sums of
// probabilities [rows][LANES].
struct Found {
    float *sums, *largest, *totals;

    static int64_t size(int64_t rows, int64_t padded) { return rows * (padded + LANES) + ceil_div(rows, 16) * 16; }
    Found(float* at, int64_t rows, int64_t padded)
        : sums(at), largest(at + rows * (padded + LANES)), totals(at + rows * padded) {}
};

static inline void fetch_ahead(const element* at) {
    if (PREFETCH) __builtin_prefetch(reinterpret_cast<const char*>(at) + PREFETCH * 64, 0, 2);
}

// Vectors that begin a line: one prefetch each.
static inline bool begins_line(int64_t vector) { return vector * LANES * PAIR * int64_t(sizeof(element)) % 64 == 0; }

// One head of keys and its rows of queries.
class Head {
    const Problem& at;
    const Pages pages;
    const element* first;  // its pages
    const float* queries;  // [rows][steps of d]
    float* scores;         // [ROWS][PAGE]

    // Scores of R rows and C vectors of keys from vector c on.
    template <int R, int C>
    void score(const element* keys, int64_t row, int64_t c) const {
        vec sums[R][C] = {};
        const int64_t steps = ceil_div(at.d, PAIR);
        const float* query = queries + row * steps;
        keys += c * LANES * PAIR;
#pragma GCC unroll 1
        for (int64_t t = 0; t < steps; ++t) {
            vec key[C];
#pragma GCC unroll 8
            for (int v = 0; v < C; ++v) {
                const element* from = keys + (t * PAGE + v * LANES) * PAIR;
                if (begins_line(v)) fetch_ahead(from);
                key[v] = load_step(from);
            }
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const vec x = spread(query + r * steps + t);
#pragma GCC unroll 8
                for (int v = 0; v < C; ++v) sums[r][v] = multiply_add(x, key[v], sums[r][v]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
            for (int v = 0; v < C; ++v) {
                store(scores + r * PAGE + (c + v) * LANES, sums[r][v] * splat(score_factor(at.scale)));
            }
        }
    }

    // Scores of one row to probabilities; returns what was summed before is to be multiplied by.
    float softmax(float* s, int64_t seen, int64_t wide, float& largest, float* totals) const {
        for (int64_t j = seen; j < wide; ++j) s[j] = HIDDEN;
        vec found = splat(largest);
        for (int64_t j = 0; j < wide; j += LANES) found = larger(found, load(s + j));
        const float top = largest_across(found), factor = exp2_negative(splat(largest - top))[0];
        vec total = load(totals) * splat(factor);
        for (int64_t j = 0; j < wide; j += LANES) total += put_probabilities(s, j, load(s + j) - splat(top));
        store(totals, total);
        largest = top;
        return factor;
    }

    // C vectors of columns of R rows. All rows see the first `all` tokens; behind them each its own, since a probability of
    // 0 times a NaN is a NaN.
    template <int R, int C>
    void add(const element* values, const int64_t (&seen)[ROWS], int64_t all, int64_t column, float* sums,
             const float* factors) const {
        const int64_t padded = pages.padded;
        vec total[R][C];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
            for (int v = 0; v < C; ++v) total[r][v] = load(sums + r * padded + column + v * LANES) * splat(factors[r]);
        }
        values += column * PAIR;
#pragma GCC unroll 1
        for (int64_t j = 0; j < all / PAIR; ++j) {
            vec value[C];
#pragma GCC unroll 8
            for (int v = 0; v < C; ++v) {
                const element* from = values + (j * padded + v * LANES) * PAIR;
                if (begins_line(v)) fetch_ahead(from);
                value[v] = load_step(from);
            }
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const vec p = spread(scores + r * PAGE + j);
#pragma GCC unroll 8
                for (int v = 0; v < C; ++v) total[r][v] = multiply_add(p, value[v], total[r][v]);
            }
        }
        for (int r = 0; r < R; ++r) {
            for (int64_t j = all / PAIR; (OPT_CAUSAL || PAIR > 1) && j * PAIR < seen[r]; ++j) {
                const vec p = spread(scores + r * PAGE + j);
                for (int v = 0; v < C; ++v) {
                    const vec value = seen_of(load_step(values + (j * padded + v * LANES) * PAIR), seen[r] - j * PAIR);
                    total[r][v] = multiply_add(p, value, total[r][v]);
                }
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
            for (int v = 0; v < C; ++v) store(sums + r * padded + column + v * LANES, total[r][v]);
        }
    }

    template <int R>
    void pass(const element* keys, int64_t begin, int64_t n, int64_t row, const Found& to) const {
        // Vectors behind that of the last token are not read.
        const int64_t key_vectors = ceil_div(n, LANES);
        int64_t c = 0;
        for (; c + COLUMNS <= key_vectors; c += COLUMNS) score<R, COLUMNS>(keys, row, c);
        for (; c < key_vectors; ++c) score<R, 1>(keys, row, c);
        float factors[ROWS];
        int64_t seen[ROWS], all = n;
        for (int r = 0; r < R; ++r) {
            seen[r] = max_of(0, min_of(n, at.limit(row + r) - begin));
            all = min_of(all, seen[r]);
            factors[r] = softmax(scores + r * PAGE, seen[r], key_vectors * LANES, to.largest[row + r], to.totals + (row + r) * LANES);
        }
        const int64_t vectors = pages.padded / LANES;
        float* sums = to.sums + row * pages.padded;
        const element* values = keys + PAGE * pages.deep;
        for (c = 0; c + COLUMNS <= vectors; c += COLUMNS) add<R, COLUMNS>(values, seen, all, c * LANES, sums, factors);
        for (; c < vectors; ++c) add<R, 1>(values, seen, all, c * LANES, sums, factors);
    }

public:
    Head(const Problem& at, const Pages& pages, const element* ahead, int64_t head, float* queries, float* scores)
        : at(at), pages(pages), first(ahead + head * pages.of_head()), queries(queries), scores(scores) {
        const int64_t steps = ceil_div(at.d, PAIR);
        for (int64_t r = 0; r < at.rows(); ++r) {
            put_query(queries + r * steps, at.Q + (at.first_row(head) + r) * at.d, at.d, at.scale);
        }
    }

    void run(Range range, const Found& to) const {
        const int64_t rows = at.rows();
        for (int64_t r = 0; r < rows; ++r) to.largest[r] = LARGEST_OF_NONE;
        memset(to.sums, 0, size_t(rows * (pages.padded + LANES)) * sizeof(float));
        for (int64_t begin = range.begin; begin < range.end; begin += PAGE) {
            const element* page = first + begin / PAGE * pages.size();
            const int64_t n = min_of(PAGE, range.end - begin);
            int64_t row = 0;
            for (; row + ROWS <= rows; row += ROWS) pass<ROWS>(page, begin, n, row, to);
            for (; row < rows; ++row) pass<1>(page, begin, n, row, to);
        }
    }
};

// The parts of a head, each relative to a largest score of its own, into the first; parts begin with `size` floats each.
static void combine(const Problem& at, float* parts_of_head, int64_t size, int64_t parts) {
    const int64_t rows = at.rows(), padded = at.padded();
    const Found to(parts_of_head, rows, padded);
    for (int64_t part = 1; part < parts; ++part) {
        const Found from(parts_of_head + part * size, rows, padded);
        const int64_t begin = share(at.kv, PAGE, parts, part).begin;
        for (int64_t r = 0; r < rows; ++r) {
            if (at.limit(r) <= begin) continue;  // sees no key of the part
            const float top = from.largest[r] <= to.largest[r] ? to.largest[r] : from.largest[r];
            const vec old = exp2_negative(splat(to.largest[r] - top)), add = exp2_negative(splat(from.largest[r] - top));
            auto take = [&](float* sum, const float* other) { store(sum, load(sum) * old + load(other) * add); };
            for (int64_t t = 0; t < padded; t += LANES) take(to.sums + r * padded + t, from.sums + r * padded + t);
            take(to.totals + r * LANES, from.totals + r * LANES);
            to.largest[r] = top;
        }
    }
}

static void finish(const Problem& at, int64_t head, const Found& from) {
    for (int64_t r = 0; r < at.rows(); ++r) {
        const float total = sum_across(load(from.totals + r * LANES));
        finish_row(at.O + (at.first_row(head) + r) * at.d, from.sums + r * at.padded(), 1.0f / total, at.d);
    }
}

// Tokens of each head, K and V [b, kv_h, added, d], behind the `kv` that are there; `room` holds them all.
extern "C" int append(const element* K, const element* V, element* ahead, int64_t b, int64_t kv_h, int64_t kv, int64_t room,
                      int64_t d, int64_t added) {
    const Pages pages(room, d);
    for (int64_t head = 0; head < b * kv_h; ++head) {
        for (int64_t j = 0; j < added; ++j) {
            const int64_t at = (head * added + j) * d;
            pages.put(ahead + head * pages.of_head(), kv + j, K + at, V + at);
        }
    }
    return 0;
}

extern "C" int lay_out(const element* K, const element* V, element* ahead, int64_t b, int64_t kv_h, int64_t kv, int64_t d) {
    return append(K, V, ahead, b, kv_h, 0, kv, d, kv);
}

extern "C" int attention_ahead(const element* Q, const element* ahead, element* O, int64_t b, int64_t h, int64_t q, int64_t kv,
                               int64_t room, int64_t d, float scale) {
    static thread_local Arena arena;
    // log2(e), since probabilities are powers of 2.
    const Problem at = {Q, nullptr, nullptr, nullptr, O, b, h, q, kv, d, score_scale(scale, d) * 1.44269504f};
    const Pages pages(room, d);
    const int64_t rows = at.rows(), heads = b * at.heads(), parts = min_of(SPLIT_KV, ceil_div(kv, PAGE));
    const int64_t found = ceil_div(Found::size(rows, at.padded()), 16) * 16, scores = ROWS * PAGE;
    const int64_t own = scores + ceil_div(rows * d, 16) * 16;
    // Of each thread, then of each head and part; one part alone needs no place of its own.
    float* memory = arena.reserve((own + found) * threads + (parts > 1 ? heads * parts * found : 0));
    if (!memory) return 1;
    float* const apart = memory + (own + found) * threads;
    const int64_t work = heads * parts;
    BY_TEAM {
        float* mine = memory + TEAM_INDEX * (own + found);
        const Range items = share(work, 1, TEAM_SIZE, TEAM_INDEX);
        for (int64_t i = items.begin; i < items.end; ++i) {
            const Found to(parts > 1 ? apart + i * found : mine + own, rows, at.padded());
            Head(at, pages, ahead, i / parts, mine + scores, mine).run(share(kv, PAGE, parts, i % parts), to);
            if (parts == 1) finish(at, i, to);
        }
        if (parts > 1) {
            wait_for_team();
            const Range whole = share(heads, 1, TEAM_SIZE, TEAM_INDEX);
            for (int64_t head = whole.begin; head < whole.end; ++head) {
                combine(at, apart + head * parts * found, found, parts);
                finish(at, head, Found(apart + head * parts * found, rows, at.padded()));
            }
        }
    }
    return 0;
}
