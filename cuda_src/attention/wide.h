// Elements of the caller's tensors as f32 vectors, and back.
#pragma once
#include <string.h>

#include "../gemm/simd.h"
#include "types.h"

#if defined(DTYPE_F16)
typedef short halves __attribute__((vector_size(VECTOR_BYTES / 2)));

static inline vec load_wide(const element* p) {
#if defined(__AVX512F__) && !defined(__clang__)
    halves h;
    memcpy(&h, p, sizeof h);
    return __builtin_ia32_vcvtph2ps512_mask(h, vec{}, -1, 4);
#elif defined(__F16C__) && defined(__AVX__) && !defined(__clang__)
    halves h;
    memcpy(&h, p, sizeof h);
    return __builtin_ia32_vcvtph2ps256(h);
#else
    vec v;
    for (int i = 0; i < LANES; ++i) v[i] = float(p[i]);
    return v;
#endif
}
#else
static inline vec load_wide(const element* p) { return load(p); }
#endif

static inline void widen(float* to, const element* from, int64_t count) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) store(to + i, load_wide(from + i));
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
