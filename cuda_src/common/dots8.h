// Sums of products of int8 operands, several neighbours in the depth at a time, exact in int32. A unit is 32 bits
// of each operand; one instruction multiplies a vector of units and adds up what belongs together.
//
// QUADS: four bytes a unit, by VNNI's instruction that wants one operand unsigned: x is stored as x + 128, by turning
// its highest bit, and every sum begins with -128 times the sum of the other operand, which is known when that is packed.
// Otherwise pairs widened to 16 bits. (AVX2's instruction for bytes, vpmaddubsw, saturates 255 * 127 * 2: it errs.)
#pragma once
#include "simd.h"

#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && VECTOR_BYTES == 32)
#define QUADS 1
#else
#define QUADS 0
#endif
enum : int64_t { GROUP = QUADS ? 4 : 2, EXTRA = QUADS };  // EXTRA: rows of a packed panel that hold what sums begin with

typedef short pairs __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t units __attribute__((vector_size(VECTOR_BYTES)));

// Clang's builtins are called otherwise, and otherwise again from version to version.
#if defined(__clang__) && defined(__SSE2__)
#include <immintrin.h>
#define SUM_QUADS_512(sums, x, w) (units)_mm512_dpbusd_epi32((__m512i)(sums), (__m512i)(x), (__m512i)(w))
#define SUM_QUADS_256(sums, x, w) (units)_mm256_dpbusd_avx_epi32((__m256i)(sums), (__m256i)(x), (__m256i)(w))
#define PAIRS_512(x, w) (units)_mm512_madd_epi16((__m512i)(x), (__m512i)(w))
#define PAIRS_256(x, w) (units)_mm256_madd_epi16((__m256i)(x), (__m256i)(w))
#define PAIRS_128(x, w) (units)_mm_madd_epi16((__m128i)(x), (__m128i)(w))
#else
#define SUM_QUADS_512(sums, x, w) __builtin_ia32_vpdpbusd_v16si(sums, x, w)
#define SUM_QUADS_256(sums, x, w) __builtin_ia32_vpdpbusd_v8si(sums, x, w)
#define PAIRS_512(x, w) __builtin_ia32_pmaddwd512_mask((pairs)(x), (pairs)(w), units{}, (unsigned short)0xFFFF)
#define PAIRS_256(x, w) __builtin_ia32_pmaddwd256((pairs)(x), (pairs)(w))
#define PAIRS_128(x, w) __builtin_ia32_pmaddwd128((pairs)(x), (pairs)(w))
#endif

// sums + the products of the units of x, which `unit_x` made, and those of w, of `unit_w`.
static inline units multiply_add(units x, units w, units sums) {
#if QUADS && VECTOR_BYTES == 64
    return SUM_QUADS_512(sums, x, w);
#elif QUADS
    return SUM_QUADS_256(sums, x, w);
#elif defined(__AVX512BW__)
    return sums + PAIRS_512(x, w);
#elif defined(__AVX2__) && VECTOR_BYTES == 32
    return sums + PAIRS_256(x, w);
#elif defined(__SSE2__) && VECTOR_BYTES == 16
    return sums + PAIRS_128(x, w);
#else
    return sums + (x << 16 >> 16) * (w << 16 >> 16) + (x >> 16) * (w >> 16);
#endif
}

// Of GROUP neighbours `stride` apart; those from `count` on are zeros.
static inline int32_t unit_w(const int8_t* from, int64_t stride, int64_t count) {
    uint32_t unit = 0;
    for (int64_t i = 0; i < GROUP && i < count; ++i) {
        if (QUADS) unit |= uint32_t(uint8_t(from[i * stride])) << 8 * i;
        else unit |= uint32_t(uint16_t(int16_t(from[i * stride]))) << 16 * i;
    }
    return int32_t(unit);
}

static inline int32_t shifted(int32_t unit) { return QUADS ? int32_t(uint32_t(unit) ^ 0x80808080u) : unit; }

static inline int32_t unit_x(const int8_t* from, int64_t stride, int64_t count) { return shifted(unit_w(from, stride, count)); }

// What a sum over these neighbours of w begins with; added up over the depth.
static inline int32_t first_of(const int8_t* from, int64_t stride, int64_t count) {
    int32_t total = 0;
    for (int64_t i = 0; QUADS && i < GROUP && i < count; ++i) total -= 128 * int32_t(from[i * stride]);
    return total;
}
