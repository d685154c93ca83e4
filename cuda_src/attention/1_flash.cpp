/*[tuner]
name = "attn_flash"
operator = "attention"
summary = "FlashAttention: blocks of queries and keys, online softmax, vector exp; split over keys for decode."
dtypes = ["f32", "f16", "bf16"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "b", "h", "q", "kv", "d", "scale"]
options = "operator"

[parameters]
BLOCK_Q = { values = [4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256], doc = "query rows of a block: what one pass over the keys serves" }
BLOCK_KV = { values = [16, 32, 64, 128, 256, 512, 1024], doc = "keys between two rescalings" }
QUERIES = { values = [4, 8, 16, 24, 32, 48, 64], doc = "queries of the register tile of scores, whole vectors" }
KEYS = { values = [2, 3, 4, 5, 6, 8, 10, 12, 14, 16], doc = "keys of the register tile of scores" }
ROWS = { values = [2, 3, 4, 6, 8, 12, 16], doc = "queries of the register tile of the output" }
COLUMNS = { values = [4, 8, 16, 24, 32, 48, 64], doc = "columns of the register tile of the output, whole vectors" }
UNROLL = { values = [1, 2, 4, 8], doc = "steps of d, and of keys, in the bodies of the two products' loops" }
COPY_KV = { values = [false, true], doc = "copy each block of keys and values; what is widened or interleaved, pages and ragged d always are" }
DECODE_ROWS = { values = [1, 4, 8, 16], doc = "up to so many rows vectors run along d, as suits one query" }
DECODE_KEYS = { values = [2, 4, 8], doc = "keys whose scores such a row computes together" }
PREFETCH = { values = [0, 8, 16, 32, 64], doc = "tokens that decoding fetches ahead; 0: by the hardware alone" }
SPLIT_KV = { values = [1, 2, 4, 8, 16, 32, 64], doc = "parts of the keys that threads compute apart, and combine" }
threads = [1, 2, 4, 8, 16, 32, 64]

[let]
query_vectors = "QUERIES * 4 // vector_bytes"
column_vectors = "COLUMNS * 4 // vector_bytes"
one_query_vector = "QUERIES * 4 == vector_bytes"
output_sums = "ROWS * column_vectors"
panel_bytes = "BLOCK_KV * QUERIES * 4"
# Over the keys, by the queries that share them.
passes = "ceildiv(rows, BLOCK_Q)"
decodes = "DECODE_ROWS >= rows"

[constraints]
whole_vectors = "QUERIES * 4 % vector_bytes == 0 and COLUMNS * 4 % vector_bytes == 0"
# Sums, a row of queries (or of values) and one key (or one probability).
score_registers = "(KEYS + 1) * query_vectors + 1 <= vector_registers"
output_registers = "(ROWS + 1) * column_vectors + 1 <= vector_registers"
# 8 independent sums keep two FMA pipes of latency 4 busy.
score_latency = "KEYS * query_vectors >= 8"
output_latency = "output_sums >= 8"
whole_tiles = "BLOCK_Q % QUERIES == 0 and QUERIES % ROWS == 0"
columns_used = "COLUMNS < 2 * d or COLUMNS * 4 == vector_bytes"
# Each score is written, read and written, read: the panel and the keys' tile stay in L1.
scores_in_l1 = "panel_bytes + KEYS * d * 4 <= l1d_bytes"
# The block of keys and values serves all its queries, whose panels and sums stay beside it.
block_in_l2 = "(2 * BLOCK_KV + 2 * BLOCK_Q) * d * 4 <= l2_bytes"
queries_used = "BLOCK_Q < 2 * rows or BLOCK_Q == QUERIES"
tile_used = "QUERIES < 2 * rows or one_query_vector"
keys_used = "BLOCK_KV < 2 * kv or BLOCK_KV == 16"
# What a workload does not run has one value only.
decode_alone = """
  not decodes or (one_query_vector and KEYS == 8 and output_sums == 8 and UNROLL == 1 and not COPY_KV
    and COLUMNS * 4 == (2 * vector_bytes if vector_bytes < 4 * d else vector_bytes))"""
tiles_alone = "decodes or (DECODE_KEYS == 4 and PREFETCH == 0)"
decode_rows = "DECODE_ROWS == 4 or rows <= 16"
threads_on_cores = "threads <= cores"
# Parts are worth their combination where blocks and heads do not feed the threads.
split_needed = """
  SPLIT_KV == 1 or (SPLIT_KV * 64 <= kv and SPLIT_KV <= 4 * threads and b * kv_h * passes < 4 * threads)"""

[features]
score_tile = "KEYS * QUERIES"
output_tile = "ROWS * COLUMNS"
panel_bytes = "panel_bytes"
cache_bytes = "2 * BLOCK_KV * d * 4"
passes_over_cache = "passes"
*/
// Rung 1. The scores never leave the cache: a block of keys is multiplied by a block of queries, the softmax is
// taken of what has been seen so far, and when a larger score turns up, the sums are rescaled (Dao et al.,
// FlashAttention, NeurIPS 2022; Dao, FlashAttention-2, 2023). Both products run in register tiles, exp is a
// polynomial (exp2.h, exp2_bf16.h). Products of bf16 take words of two neighbours where the processor has an
// instruction for them (VDPBF16PS, words.h); f16, and bf16 elsewhere, are widened to f32. Where there are fewer
// blocks than threads, the keys are cut into parts and their results combined (Dao et al., Flash-Decoding, 2023).
// Blocks that a causal mask hides are not computed.
#define HUGE_PAGES 0
#include <string.h>

#include "../common/arena.h"
#include "../common/team.h"
#include "softmax.h"
#if DOTS16
#include "decode_words.h"
#else
#include "decode_vectors.h"
#endif

enum : int64_t { AHEAD = 32 };  // keys from one that is read to one that is asked for

template <int N>
struct Size {
    enum { value = N };
};

// Memory of one thread.
struct Scratch {
    float *panels;         // Q [BLOCK_Q / QUERIES][d][QUERIES], or [rows][padded] for decoding
    float *scores;         // [BLOCK_KV][QUERIES], or [DECODE_CHUNK][BLOCK_KV]
    float *keys, *values;  // [BLOCK_KV][padded]
    float *wide;           // [BLOCK_Q][d]: rows of a narrow Q
    float *factors;        // [QUERIES]
    float *limits;         // [BLOCK_Q] as integers: keys that a row sees
    Partial own;

    static int64_t lines(int64_t count) { return ceil_div(count, 16) * 16; }

    // Lays the parts out from `base` on where there is one; returns how many floats they take.
    int64_t place(float* base, int64_t padded) {
        const int64_t rows = max_of(BLOCK_Q, DECODE_ROWS);
        int64_t used = 0;
        auto take = [&](float*& part, int64_t count) {
            part = base ? base + used : nullptr;
            used += lines(count);
        };
        take(panels, rows * padded);
        take(scores, BLOCK_KV * max_of(QUERIES, DECODE_CHUNK));
        take(keys, BLOCK_KV * padded);
        take(values, BLOCK_KV * padded);
        take(wide, BLOCK_Q * padded);
        take(factors, QUERIES);
        take(limits, BLOCK_Q);
        take(own.sums, rows * padded);
        take(own.largest, rows);
        take(own.totals, rows);
        return used;
    }
};

// Rows row ... row + rows - 1 of one head over the keys of `range`, to `to`.
static void tiled(const Problem& at, int64_t head, int64_t row, int64_t rows, Range range, const Scratch& own,
                  const Partial& to) {
    const int64_t d = at.d, steps = ceil_div(d, PAIR), padded = at.padded(), panels = ceil_div(rows, QUERIES);
    pack_queries(own.panels, at.Q + (at.first_row(head) + row) * d, rows, d, at.scale, own.wide);
    int32_t* all_limits = reinterpret_cast<int32_t*>(own.limits);
    for (int64_t i = 0; i < panels * QUERIES; ++i) {
        all_limits[i] = int32_t(at.limit(min_of(row + i, row + rows - 1)));
    }
    const Cache keys = at.keys(head), values = at.values(head);
    for (int64_t begin = range.begin; begin < range.end; begin += BLOCK_KV) {
        const int64_t most = min_of(BLOCK_KV, range.end - begin);
        const Tokens<Operand> k = keys_of(keys, begin, most, d, padded, own.keys);
        Tokens<float> v = {};
        // Of keys that are read in place a row is read by and by with its neighbours: nothing but this asks for them early.
        const int64_t ahead = static_cast<const void*>(k.first) == own.keys ? BLOCK_KV : AHEAD;
        for (int64_t g = 0; g < panels; ++g) {
            const int32_t* limits = all_limits + g * QUERIES;
            int64_t n = most, clear = most;  // keys that some row sees, that all rows see
            if (OPT_CAUSAL) {
                int64_t last = 0;
                for (int64_t i = 0; i < QUERIES; ++i) {
                    last = max_of(last, limits[i]);
                    clear = min_of(clear, limits[i] - begin);
                }
                n = min_of(most, last - begin);
                if (n <= 0) continue;
            }
            const float* panel = own.panels + g * QUERIES * steps;
            vec found[QV];
            for (int i = 0; i < QV; ++i) found[i] = splat(HIDDEN);
            auto score = [&](auto size, int64_t j) __attribute__((always_inline)) {
                if (!v.first) {
                    fetch(keys, begin + j + ahead, decltype(size)::value, d);
                    fetch(values, begin + j, decltype(size)::value, d);
                }
                score_tile<decltype(size)::value>(k.first + j * k.stride, k.stride, panel, steps, own.scores + j * QUERIES,
                                                  found, j + decltype(size)::value > clear, int32_t(begin + j), limits);
            };
            // The last tile begins early enough to be whole: computing a score twice changes nothing.
            if (n >= KEYS) for (int64_t j = 0; j < n; j += KEYS) score(Size<KEYS>(), min_of(j, n - KEYS));
            else for (int64_t j = 0; j < n; ++j) score(Size<1>(), j);
            if (!v.first) v = values_of(values, begin, most, d, padded, own.values);
            float* top = to.largest + g * QUERIES;
            softmax_panel(own.scores, n, found, top, to.totals + g * QUERIES, own.factors, at.scale);
            for (int64_t r = 0; r < QUERIES; r += ROWS) {
                float* sums = to.sums + (g * QUERIES + r) * padded;
                const Seen seen(n, n <= clear, limits + r, int32_t(begin));
                output_rows(padded / LANES, own.scores + r, seen, v.first, v.stride, sums, padded, own.factors + r,
                            begin == range.begin);
            }
        }
    }
}

static void decoded(const Problem& at, int64_t head, int64_t rows, Range range, const Scratch& own, const Partial& to) {
    const int64_t padded = at.padded();
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t t = 0; t < padded; ++t) own.panels[r * padded + t] = to.sums[r * padded + t] = 0;
        put_query(own.panels + r * padded, at.Q + (at.first_row(head) + r) * at.d, at.d, at.scale);
    }
    Decode(at, own.panels, own.scores, at.keys(head), at.values(head)).run(range, rows, to);
}

// The blocks of rows of all heads, each over `parts` parts of the keys it sees.
struct Blocks {
    const Problem& at;
    int64_t rows, height, count, parts;
    bool decode;
    float* partials;  // of all blocks and parts, where there is more than one part

    Blocks(const Problem& at)
        : at(at), rows(at.rows()), height(min_of(BLOCK_Q, ceil_div(at.rows(), QUERIES) * QUERIES)), count(),
          parts(min_of(SPLIT_KV, ceil_div(at.kv, BLOCK_KV))), decode(at.rows() <= DECODE_ROWS), partials(nullptr) {
        if (decode) height = rows;
        count = at.b * at.heads() * ceil_div(rows, height);
    }

    int64_t partial_size() const { return Scratch::lines(height * at.padded()) + 2 * Scratch::lines(height); }
    int64_t shared_size() const { return parts > 1 ? count * parts * partial_size() : 0; }

    Partial partial(int64_t item, int64_t part) const {
        float* sums = partials + (item * parts + part) * partial_size();
        float* largest = sums + Scratch::lines(height * at.padded());
        return {sums, largest, largest + Scratch::lines(height)};
    }

    int64_t head(int64_t item) const { return item / ceil_div(rows, height); }
    // The last rows first: under a causal mask they see the most keys, and the longest work is best begun first.
    int64_t first(int64_t item) const {
        const int64_t each = ceil_div(rows, height);
        return (each - 1 - item % each) * height;
    }
    int64_t size(int64_t item) const { return min_of(height, rows - first(item)); }

    // Of those that some row of the block sees.
    Range keys(int64_t item, int64_t part) const {
        int64_t seen = 0;
        for (int64_t r = 0; r < size(item); ++r) seen = max_of(seen, at.limit(first(item) + r));
        return share(seen, BLOCK_KV, parts, part);
    }

    void compute(int64_t item, int64_t part, const Scratch& own) const {
        const Partial to = parts > 1 ? partial(item, part) : own.own;
        const int64_t begin = first(item), n = size(item);
        for (int64_t r = 0; r < height; ++r) to.largest[r] = LARGEST_OF_NONE, to.totals[r] = 0;
        const Range range = keys(item, part);
        if (decode) decoded(at, head(item), n, range, own, to);
        else tiled(at, head(item), begin, n, range, own, to);
        if (parts == 1) finish(item, to);
    }

    void finish(int64_t item, const Partial& from) const {
        element* out = at.O + (at.first_row(head(item)) + first(item)) * at.d;
        for (int64_t r = 0; r < size(item); ++r) {
            finish_row(out + r * at.d, from.sums + r * at.padded(), 1.0f / from.totals[r], at.d);
        }
    }

    // The parts of a block, each relative to a largest score of its own, into the first.
    void combine(int64_t item) const {
        const int64_t padded = at.padded();
        const Partial to = partial(item, 0);
        for (int64_t part = 1; part < parts; ++part) {
            const Partial from = partial(item, part);
            const Range here = keys(item, part);
            for (int64_t r = 0; r < size(item); ++r) {
                // A row that sees no key of the part: its sums were not written.
                if (min_of(at.limit(first(item) + r), here.end) <= here.begin) continue;
                if (here.begin == 0) {  // the parts before had no keys
                    memcpy(to.sums + r * padded, from.sums + r * padded, size_t(padded) * sizeof(float));
                    to.totals[r] = from.totals[r], to.largest[r] = from.largest[r];
                    continue;
                }
                const float top = from.largest[r] <= to.largest[r] ? to.largest[r] : from.largest[r];
                const float old = exp2_negative(splat(to.largest[r] - top))[0];
                const float add = exp2_negative(splat(from.largest[r] - top))[0];
                for (int64_t t = 0; t < padded; t += LANES) {
                    float* sum = to.sums + r * padded + t;
                    store(sum, load(sum) * splat(old) + load(from.sums + r * padded + t) * splat(add));
                }
                to.totals[r] = to.totals[r] * old + from.totals[r] * add;
                to.largest[r] = top;
            }
        }
        finish(item, to);
    }
};

extern "C" int attention(const element* Q, const element* K, const element* V, const int32_t* block_table, element* O,
                         int64_t b, int64_t h, int64_t q, int64_t kv, int64_t d, float scale) {
    static thread_local Arena arena;
    // log2(e), since probabilities are powers of 2.
    const Problem at = {Q, K, V, block_table, O, b, h, q, kv, d, score_scale(scale, d) * 1.44269504f};
    Blocks blocks(at);
    Scratch scratch;
    const int64_t one = scratch.place(nullptr, at.padded());
    float* memory = arena.reserve(one * threads + blocks.shared_size());
    if (!memory) return 1;
    blocks.partials = memory + one * threads;
    const int64_t work = blocks.count * blocks.parts;
#if threads > 1
#pragma omp parallel num_threads(threads) firstprivate(scratch)
    {
        scratch.place(memory + omp_get_thread_num() * one, at.padded());
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < work; ++i) blocks.compute(i / blocks.parts, i % blocks.parts, scratch);
        if (blocks.parts > 1) {
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < blocks.count; ++i) blocks.combine(i);
        }
    }
#else
    scratch.place(memory, at.padded());
    for (int64_t i = 0; i < work; ++i) blocks.compute(i / blocks.parts, i % blocks.parts, scratch);
    if (blocks.parts > 1) {
        for (int64_t i = 0; i < blocks.count; ++i) blocks.combine(i);
    }
#endif
    return 0;
}
