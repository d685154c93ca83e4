// Vectors over the right edge of D: lanes beyond it are neither read nor written.
//
//     const Lanes inside = first_lanes(3);     x x x - - - - -     of a vector of eight
//     load_first(p, inside)                    p0 p1 p2 0 0 0 0 0
//
// AVX and AVX-512 have masked loads and stores of 32 bits, AVX-512 of 16 bits too, and masked stores of what it narrows to 8.
// MASKS: the target has those of D's elements and of sums.
#pragma once
#include "epilogue.h"

#define NARROW_D (DTYPE_F16 || DTYPE_BF16 || REQUANTIZED)
#if defined(__AVX512BW__) && defined(__AVX512VL__) && !REQUANTIZED
#define MASKS_OF_16 (DTYPE_F16 || DTYPE_BF16)
#else
#define MASKS_OF_16 0
#endif

#if defined(__AVX512F__) && (!NARROW_D || MASKS_OF_16 || REQUANTIZED)
#define MASKS 1
typedef uint16_t Lanes;
static inline Lanes first_lanes(int64_t count) { return Lanes((1u << count) - 1); }
#if DTYPE_INT8
static inline vec load_first(const Sum* p, Lanes inside) { return (vec)__builtin_ia32_loaddqusi512_mask(p, vec{}, inside); }
static inline void store_first(Sum* p, vec v, Lanes inside) { __builtin_ia32_storedqusi512_mask(p, v, inside); }
#if REQUANTIZED
#if defined(__clang__)
#define STORE_8(p, v, inside) _mm512_mask_cvtsepi32_storeu_epi8(p, inside, (__m512i)(v))
#else
#define STORE_8(p, v, inside) __builtin_ia32_pmovsdb512mem_mask(reinterpret_cast<sixteen_bytes*>(p), v, inside)
#endif
static inline void store_first(int8_t* p, vec v, Lanes inside) { STORE_8(p, v, inside); }
static inline floats load_first(const float* p, Lanes inside) {
    return (floats)__builtin_ia32_loadups512_mask(p, floats{}, inside);
}
#endif
#else
static inline vec load_first(const Sum* p, Lanes inside) { return (vec)__builtin_ia32_loadups512_mask(p, vec{}, inside); }
static inline void store_first(Sum* p, vec v, Lanes inside) { __builtin_ia32_storeups512_mask(p, v, inside); }
#endif
#if MASKS_OF_16
// By way of an array, which the compiler keeps in a register: conversions are from memory and to it.
static inline vec load_first(const Output* p, Lanes inside) {
    const bits16 bits = load_16(p, inside);
    Output row[LANES];
    __builtin_memcpy(row, &bits, sizeof row);
    return load(row);
}

static inline void store_first(Output* p, vec v, Lanes inside) {
    Output row[LANES];
    store(row, v);
    bits16 bits;
    __builtin_memcpy(&bits, row, sizeof bits);
    store_16(p, bits, inside);
}
#endif

#elif (defined(__AVX2__) || defined(__AVX__) && !DTYPE_INT8) && !NARROW_D
#define MASKS 1
typedef int32_t Lanes __attribute__((vector_size(VECTOR_BYTES)));
static inline Lanes first_lanes(int64_t count) { return Lanes{0, 1, 2, 3, 4, 5, 6, 7} < Lanes{} + int32_t(count); }
static inline const vec* vector_at(const Sum* p) { return reinterpret_cast<const vec*>(p); }
static inline vec* vector_at(Sum* p) { return reinterpret_cast<vec*>(p); }
#if DTYPE_INT8
static inline vec load_first(const Sum* p, Lanes inside) { return __builtin_ia32_maskloadd256(vector_at(p), inside); }
static inline void store_first(Sum* p, vec v, Lanes inside) { __builtin_ia32_maskstored256(vector_at(p), inside, v); }
#else
static inline vec load_first(const Sum* p, Lanes inside) { return __builtin_ia32_maskloadps256(vector_at(p), inside); }
static inline void store_first(Sum* p, vec v, Lanes inside) { __builtin_ia32_maskstoreps256(vector_at(p), inside, v); }
#endif

#else
#define MASKS 0
typedef int Lanes;
static inline Lanes first_lanes(int64_t count) { return Lanes(count); }
#endif

#if MASKS
// The epilogue of columns j ... of row i, those inside.
static inline vec finished(const Epilogue& epilogue, vec sum, int64_t i, int64_t j, Lanes inside) {
    vec value = OPT_ALPHA == 1.0f ? sum : splat(epilogue.alpha) * sum;
    if (OPT_BETA != 0.0f) value += splat(epilogue.beta) * load_first(epilogue.C + i * epilogue.n + j, inside);
    if (OPT_BIAS) value += load_first(epilogue.bias + j, inside);
    value = activated(value);
#if REQUANTIZED
    const floats by = OPT_SCALE_CHANNEL ? load_first(epilogue.scale + j, inside) : floats{} + *epilogue.scale;
    return rescale(value, by, OPT_ZERO_POINTS ? epilogue.zero[1] : 0);  // `store_first` clamps
#endif
    return value;
}
#endif
