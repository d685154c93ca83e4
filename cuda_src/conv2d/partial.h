// Parts of vectors: loads and stores of the first lanes, where what the others would touch is left alone, and every
// second element.
#pragma once
#include <string.h>

#include "../common/simd.h"

// The first `count` floats at p, zeros behind them; `count` may be above LANES or below 0.
static inline vec load_part(const float* p, int64_t count) {
    if (count >= LANES) return load(p);
    vec v = {};
#if defined(__AVX512F__)
    if (count > 0) v = __builtin_ia32_loadups512_mask(p, v, (unsigned short)((1u << count) - 1));
#else
    if (count > 0) memcpy(&v, p, size_t(count) * sizeof(float));
#endif
    return v;
}

static inline void store_part(float* p, vec v, int64_t count) {
    if (count >= LANES) return store(p, v);
    if (count <= 0) return;
#if defined(__AVX512F__)
    __builtin_ia32_storeups512_mask(p, v, (unsigned short)((1u << count) - 1));
#else
    memcpy(p, &v, size_t(count) * sizeof(float));
#endif
}

#if DTYPE_F16 || DTYPE_BF16
// As above, of halves.
static inline vec load_part(const Input* p, int64_t count) {
    if (count >= LANES) return load(p);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    const bits16 some = load_16(p, uint16_t((1u << max_of(count, 0)) - 1));
    return load(reinterpret_cast<const Input*>(&some));
#else
    Input part[LANES] = {};
    if (count > 0) memcpy(part, p, size_t(count) * sizeof *p);
    return load(part);
#endif
}

static inline void store_part(Output* p, vec v, int64_t count) {
    if (count >= LANES) return store(p, v);
    Output part[LANES];
    store(part, v);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    bits16 some;
    memcpy(&some, part, sizeof some);
    store_16(p, some, uint16_t((1u << max_of(count, 0)) - 1));
#else
    if (count > 0) memcpy(p, part, size_t(count) * sizeof *p);
#endif
}
#endif

typedef int32_t pick_lanes __attribute__((vector_size(VECTOR_BYTES)));

// Every second element of two vectors side by side, from the first or from the second on.
static inline vec every_second(vec a, vec b, int first = 0) {
    vec picked;
#if defined(__clang__)
    for (int l = 0; l < LANES; ++l) {
        const int i = 2 * l + first;
        picked[l] = i < LANES ? a[i] : b[i - LANES];
    }
#else
    pick_lanes pick;
    for (int l = 0; l < LANES; ++l) pick[l] = 2 * l + first;
    picked = __builtin_shuffle(a, b, pick);
#endif
    return picked;
}
