// The element type of a workload's dtype, and where the tokens of a cache lie.
// The macros DTYPE_*, OPT_CAUSAL, OPT_KV_HEADS, OPT_PAGED, OPT_PAGE_SIZE come from the workload.
#pragma once
#include <stdint.h>

#if defined(DTYPE_F16)
typedef _Float16 element;
#elif defined(DTYPE_BF16)
#include "../common/bfloat16.h"
typedef bfloat16 element;
#else
typedef float element;
#endif

// K or V of one sequence and one of its heads.
struct Cache {
    const element* first;  // of the head: its token 0, or of page 0
    const int32_t* table;  // the sequence's pages
    int64_t stride;        // elements from a token to the next, within a page

    const element* operator[](int64_t token) const {
        if (!OPT_PAGED) return first + token * stride;
        return first + (table[token / OPT_PAGE_SIZE] * int64_t(OPT_PAGE_SIZE) + token % OPT_PAGE_SIZE) * stride;
    }
};

// [b, heads, kv, d], or [pages, page_size, heads, d].
static inline Cache cache_of(const element* values, const int32_t* block_table, int64_t b, int64_t head,
                             int64_t heads, int64_t kv, int64_t d) {
    if (!OPT_PAGED) return {values + (b * heads + head) * kv * d, nullptr, d};
    return {values + head * d, block_table + b * ((kv + OPT_PAGE_SIZE - 1) / OPT_PAGE_SIZE), heads * d};
}

// Keys that query i of q sees: the mask is aligned at the bottom right.
static inline int64_t visible(int64_t i, int64_t q, int64_t kv) { return OPT_CAUSAL ? i + 1 + kv - q : kv; }

// The factor of the scores; 0 stands for 1/sqrt(d).
static inline float score_scale(float scale, int64_t d) {
    return scale != 0.0f ? scale : float(1.0 / __builtin_sqrt(double(d)));
}
