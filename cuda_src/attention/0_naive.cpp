/*[tuner]
name = "attn_naive"
operator = "attention"
summary = "One query after the other in the order of the formula, one thread: what everything is compared with."
dtypes = ["f32", "f16", "bf16"]
entry = "attention"
arguments = ["Q", "K", "V", "block_table", "O", "b", "h", "q", "kv", "d", "scale"]
options = "operator"
*/
// Rung 0. The scores of one query, their largest, the exponentials, the weighted sum of values. Every product
// of a score is one of a chain of dependent additions, every key and value is read anew for every query, and
// exp is the C library's.
#include <math.h>
#include <stdlib.h>

#include "types.h"

extern "C" int attention(const element* Q, const element* K, const element* V, const int32_t* block_table, element* O,
                         int64_t b, int64_t h, int64_t q, int64_t kv, int64_t d, float scale) {
    const int64_t heads = OPT_KV_HEADS ? OPT_KV_HEADS : h;
    float* scores = static_cast<float*>(malloc(size_t(kv + d) * sizeof(float)));
    if (!scores) return 1;
    float* sums = scores + kv;
    scale = score_scale(scale, d);
    for (int64_t row = 0; row < b * h * q; ++row) {
        const int64_t sequence = row / q / h, head = row / q % h / (h / heads), seen = visible(row % q, q, kv);
        const Cache keys = cache_of(K, block_table, sequence, head, heads, kv, d);
        const Cache values = cache_of(V, block_table, sequence, head, heads, kv, d);
        const element* query = Q + row * d;
        float largest = -INFINITY, total = 0;
        for (int64_t j = 0; j < seen; ++j) {
            const element* key = keys[j];
            float sum = 0;
            for (int64_t t = 0; t < d; ++t) sum += float(query[t]) * float(key[t]);
            scores[j] = sum * scale;
            if (!(scores[j] <= largest)) largest = scores[j];  // a NaN stays one
        }
        for (int64_t t = 0; t < d; ++t) sums[t] = 0;
        for (int64_t j = 0; j < seen; ++j) {
            const float p = expf(scores[j] - largest);
            const element* value = values[j];
            total += p;
            for (int64_t t = 0; t < d; ++t) sums[t] += p * float(value[t]);
        }
        for (int64_t t = 0; t < d; ++t) O[row * d + t] = element(sums[t] / total);
    }
    free(scores);
    return 0;
}
