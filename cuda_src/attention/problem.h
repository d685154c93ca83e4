// One attention as work items: a block of query rows of one head of keys, over one part of its keys.
#pragma once
#include "../common/simd.h"
#include "types.h"

// A score that is not there: below any that is, however negative. The largest score of none is finite, since the
// difference of two infinities would be a NaN: so a row that sees nothing yet has probabilities of 0.
static const float HIDDEN = -__builtin_inff(), LARGEST_OF_NONE = -3.402823466e38f;

struct Problem {
    const element *Q, *K, *V;
    const int32_t* block_table;
    element* O;
    int64_t b, h, q, kv, d;
    float scale;  // of the scores, as exponents of 2

    int64_t heads() const { return OPT_KV_HEADS ? OPT_KV_HEADS : h; }
    // Query heads that share keys lie one after the other: their queries are rows of one matrix.
    int64_t rows() const { return h / heads() * q; }
    int64_t first_row(int64_t head) const { return head * rows(); }  // head: of all sequences
    int64_t padded() const { return ceil_div(d, LANES) * LANES; }
    int64_t limit(int64_t row) const { return visible(row % q, q, kv); }
    Cache keys(int64_t head) const { return cache_of(K, block_table, head / heads(), head % heads(), heads(), kv, d); }
    Cache values(int64_t head) const { return cache_of(V, block_table, head / heads(), head % heads(), heads(), kv, d); }
};

// What a block has computed of its rows: unnormalised sums [rows][padded], and by row the largest score and
// the sum of probabilities. Memory of the caller.
struct Partial {
    float *sums, *largest, *totals;
};
