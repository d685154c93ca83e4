// Elements of the caller's tensors as f32 vectors, and back.
#pragma once
#include "../common/simd.h"
#include "types.h"

static inline void widen(float* to, const element* from, int64_t count) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) store(to + i, load(from + i));
    for (; i < count; ++i) to[i] = float(from[i]);
}

// A finished row of O: sums times 1 / the sum of probabilities.
static inline void finish_row(element* to, const float* sums, float factor, int64_t count) {
    int64_t i = 0;
#if !defined(DTYPE_F16)
    for (; i + LANES <= count; i += LANES) store(to + i, load(sums + i) * splat(factor));
#endif
    for (; i < count; ++i) to[i] = element(sums[i] * factor);
}
