// Packing: panels of W rows (or columns) of an operand, laid out in the order the microkernel reads them:
// packed[p * W + i] for p in 0 ... depth-1, as float whatever the operand is. Short panels are filled with
// zeros to W.
#pragma once
#include <stddef.h>

#include "simd.h"

typedef float vec4 __attribute__((vector_size(16)));
typedef float vec4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t pick4 __attribute__((vector_size(16)));

static inline void copy(float* to, const float* from, int count) {
    __builtin_memcpy(to, from, size_t(count) * sizeof(float));
}

template <class Source>
static inline void copy(float* to, const Source* from, int count) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) store(to + i, load(from + i));
    for (; i < count; ++i) to[i] = float(from[i]);
}

// All panels of `width` neighbours: element (i, p) is source[p * stride + i]. Eight rows of the source at a
// time through all panels: the rows are read from end to end, as prefetchers and pages like it, and of each
// panel whole lines are written.
template <int W, class Source>
static void pack_rows(float* packed, const Source* source, int64_t stride, int64_t width, int64_t depth) {
    for (int64_t begin = 0; begin < depth; begin += 8) {
        const int64_t end = min_of(begin + 8, depth);
        int64_t i = 0;
        for (; i + W <= width; i += W) {
            for (int64_t p = begin; p < end; ++p) {
                copy(packed + i * depth + p * W, source + p * stride + i, W);
            }
        }
        if (i == width) continue;
        for (int64_t p = begin; p < end; ++p) {
            for (int64_t r = 0; r < W; ++r) {
                packed[i * depth + p * W + r] = i + r < width ? float(source[p * stride + i + r]) : 0.0f;
            }
        }
    }
}

static inline vec4 load4(const float* p) { return *reinterpret_cast<const vec4_unaligned*>(p); }

template <class Source>
static inline vec4 load4(const Source* p) {
    return vec4{float(p[0]), float(p[1]), float(p[2]), float(p[3])};
}

static inline void store4(float* p, vec4 v) { *reinterpret_cast<vec4_unaligned*>(p) = v; }

// Lanes of the concatenation of two vectors; GCC and Clang spell it differently.
#if defined(__clang__)
#define PICK4(a, b, w, x, y, z) __builtin_shufflevector(a, b, w, x, y, z)
#else
#define PICK4(a, b, w, x, y, z) __builtin_shuffle(a, b, pick4{w, x, y, z})
#endif

// Four halves at a time: one by one they take four conversions and three insertions. Eight bytes become the lower part of a
// register, and it them; as a part of a variable they would pass through memory.
#if DTYPE_F16 || DTYPE_BF16
typedef long long quads2 __attribute__((vector_size(16)));
static inline quads2 eight_bytes(const void* p) {
    long long bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return quads2{bits, 0};
}

static inline void store_eight_bytes(void* p, quads2 bits) {
    const long long low = bits[0];
    __builtin_memcpy(p, &low, sizeof low);
}
#endif

#if DTYPE_F16 && defined(__F16C__)
static inline vec4 load4(const _Float16* p) {
#if defined(__clang__)
    return (vec4)_mm_cvtph_ps((__m128i)eight_bytes(p));
#else
    return __builtin_ia32_vcvtph2ps((half8)eight_bytes(p));
#endif
}

static inline void store4(_Float16* p, vec4 v) {
#if defined(__clang__)
    store_eight_bytes(p, (quads2)_mm_cvtps_ph((__m128)v, NEAREST_EVEN));
#else
    store_eight_bytes(p, (quads2)__builtin_ia32_vcvtps2ph(v, NEAREST_EVEN));
#endif
}
#elif DTYPE_F16
static inline void store4(_Float16* p, vec4 v) {
    for (int i = 0; i < 4; ++i) p[i] = _Float16(v[i]);
}
#elif DTYPE_BF16
typedef uint16_t halves8 __attribute__((vector_size(16)));
typedef uint32_t words4 __attribute__((vector_size(16)));

// A half is the upper one of its word.
static inline vec4 load4(const bfloat16* p) {
    const halves8 bits = (halves8)eight_bytes(p);
#if defined(__clang__)
    return (vec4)__builtin_shufflevector(halves8{}, bits, 0, 8, 1, 9, 2, 10, 3, 11);
#else
    return (vec4)__builtin_shuffle(halves8{}, bits, halves8{0, 8, 1, 9, 2, 10, 3, 11});
#endif
}

static inline void store4(bfloat16* p, vec4 v) {
    const halves8 bits = (halves8)upper_half<words4>((words4)v, v != v);
#if defined(__clang__)
    store_eight_bytes(p, (quads2)__builtin_shufflevector(bits, bits, 0, 2, 4, 6, 0, 2, 4, 6));
#else
    store_eight_bytes(p, (quads2)__builtin_shuffle(bits, halves8{0, 2, 4, 6, 0, 2, 4, 6}));
#endif
}
#endif

template <class Target, class Source>
static inline void transpose4(Target* to, int64_t to_stride, const Source* from, int64_t from_stride) {
    vec4 a = load4(from), b = load4(from + from_stride);
    vec4 c = load4(from + 2 * from_stride), d = load4(from + 3 * from_stride);
    vec4 ab_low = PICK4(a, b, 0, 4, 1, 5), ab_high = PICK4(a, b, 2, 6, 3, 7);
    vec4 cd_low = PICK4(c, d, 0, 4, 1, 5), cd_high = PICK4(c, d, 2, 6, 3, 7);
    store4(to, PICK4(ab_low, cd_low, 0, 1, 4, 5));
    store4(to + to_stride, PICK4(ab_low, cd_low, 2, 3, 6, 7));
    store4(to + 2 * to_stride, PICK4(ab_high, cd_high, 0, 1, 4, 5));
    store4(to + 3 * to_stride, PICK4(ab_high, cd_high, 2, 3, 6, 7));
}

// What is packed as floats may be words of other types (quadruples of int8, pairs of bf16), which are read as such later.
typedef float __attribute__((may_alias)) word;
static inline float value_at(const float* p) { return *reinterpret_cast<const word*>(p); }
template <class Source>
static inline float value_at(const Source* p) { return float(*p); }

// One panel of `width` rows, at most W: element (i, p) is source[i * stride + p * STEP], a transposition in blocks
// of 4 x 4. Sixteen steps of p at a time: rows whose stride is a power of two fall into one set of the cache,
// and each line has to be used up before it is evicted. STEP is 1 unless a value is several of the source.
template <int W, class Source, int STEP = 1>
static void pack_columns(float* packed, const Source* source, int64_t stride, int64_t width, int64_t depth) {
    int64_t p = 0;
    if (W >= 4 && width == W) {
        for (; p + 16 <= depth; p += 16) {
            for (int64_t step = 0; step < W; step += 4) {
                const int64_t i = min_of(step, W - 4);  // the last block overlaps the one before
                for (int64_t q = p; q < p + 16; q += 4) {
                    transpose4(packed + q * W + i, W, source + i * stride + q * STEP, stride);
                }
            }
        }
    }
    word* to = reinterpret_cast<word*>(packed);
    for (; p < depth; ++p) {
        for (int64_t i = 0; i < W; ++i) to[p * W + i] = i < width ? value_at(source + i * stride + p * STEP) : 0.0f;
    }
}

// All panels of `width` rows in all.
template <int W, class Source>
static void pack_transposed(float* packed, const Source* source, int64_t stride, int64_t width, int64_t depth) {
    for (int64_t i = 0; i < width; i += W) {
        pack_columns<W>(packed + i * depth, source + i * stride, stride, min_of(W, width - i), depth);
    }
}
