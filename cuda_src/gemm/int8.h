// int8 operands: pairs of neighbours in k are widened to 16 bits and lie in one 32-bit unit, so that one
// instruction multiplies both and adds the two products to a 32-bit sum. Twice the rate of float, and exact:
// 2 * 2^14 fits, where the instruction for quadruples of bytes wants one operand unsigned.
#pragma once
#include "../common/simd.h"

typedef short pairs __attribute__((vector_size(VECTOR_BYTES)));

// Products of 16-bit neighbours, added two and two, of vectors of so many bits; SUM_PAIRS adds them to `sums`.
#if defined(__clang__) && defined(__SSE2__)
#include <immintrin.h>  // its builtins are called otherwise, and otherwise again from version to version
#define SUM_PAIRS_512(sums, a, b) (vec)_mm512_dpwssd_epi32((__m512i)(sums), (__m512i)(a), (__m512i)(b))
#define SUM_PAIRS_256(sums, a, b) (vec)_mm256_dpwssd_avx_epi32((__m256i)(sums), (__m256i)(a), (__m256i)(b))
#define PAIRS_512(a, b) (vec)_mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#define PAIRS_256(a, b) (vec)_mm256_madd_epi16((__m256i)(a), (__m256i)(b))
#define PAIRS_128(a, b) (vec)_mm_madd_epi16((__m128i)(a), (__m128i)(b))
#else
#define SUM_PAIRS_512(sums, a, b) __builtin_ia32_vpdpwssd_v16si(sums, a, b)
#define SUM_PAIRS_256(sums, a, b) __builtin_ia32_vpdpwssd_v8si(sums, a, b)
#define PAIRS_512(a, b) __builtin_ia32_pmaddwd512_mask((pairs)(a), (pairs)(b), vec{}, (unsigned short)0xFFFF)
#define PAIRS_256(a, b) __builtin_ia32_pmaddwd256((pairs)(a), (pairs)(b))
#define PAIRS_128(a, b) __builtin_ia32_pmaddwd128((pairs)(a), (pairs)(b))
#endif

static inline vec multiply_add(vec a, vec b, vec sums) {
#if defined(__AVX512VNNI__)
    return SUM_PAIRS_512(sums, a, b);
#elif defined(__AVX512BW__)
    return sums + PAIRS_512(a, b);
#elif defined(__AVXVNNI__) && VECTOR_BYTES == 32
    return SUM_PAIRS_256(sums, a, b);
#elif defined(__AVX2__) && VECTOR_BYTES == 32
    return sums + PAIRS_256(a, b);
#elif defined(__SSE2__) && VECTOR_BYTES == 16
    return sums + PAIRS_128(a, b);
#else
    return sums + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

static inline int32_t pair_of(int8_t low, int8_t high) {
    return int32_t(uint32_t(uint16_t(int16_t(low))) | uint32_t(uint16_t(int16_t(high))) << 16);
}

// As in pack.h, `depth` and `p` counting elements, two to a unit: element (i, p) is source[p * stride + i].
template <int W>
static void pack_rows(int32_t* packed, const int8_t* source, int64_t stride, int64_t width, int64_t depth) {
    static const int8_t zeros[W] = {};
    for (int64_t i = 0; i < width; i += W) {
        const int64_t inside = min_of(W, width - i);
        for (int64_t p = 0; p < depth; p += 2, packed += W) {
            const int8_t* low = source + p * stride + i;
            const int8_t* high = p + 1 < depth ? low + stride : zeros;
            if (inside == W) {
                for (int r = 0; r < W; ++r) packed[r] = pair_of(low[r], high[r]);
            } else {
                for (int r = 0; r < W; ++r) packed[r] = r < inside ? pair_of(low[r], high[r]) : 0;
            }
        }
    }
}

// Element (i, p) is source[i * stride + p].
template <int W>
static void pack_transposed(int32_t* packed, const int8_t* source, int64_t stride, int64_t width, int64_t depth) {
    for (int64_t i = 0; i < width; i += W) {
        const int64_t inside = min_of(W, width - i);
        for (int64_t p = 0; p < depth; p += 2, packed += W) {
            for (int64_t r = 0; r < W; ++r) {
                const int8_t* at = source + (i + r) * stride + p;
                packed[r] = r < inside ? pair_of(at[0], p + 1 < depth ? at[1] : 0) : 0;
            }
        }
    }
}
