// Sums of products of bf16 operands, two neighbours in the depth at a time, in f32: a word holds two bf16, the one with the
// lower index in its lower half, and an instruction (VDPBF16PS of AVX512_BF16) adds the products of sixteen words to sixteen
// sums. It rounds to nearest even whatever the mode is; denormals count as zero, of operands, products and sums.
//
//     rows of B             words of rows p and p + 1, a vector      sums of one row of A, whose word is (a_p, a_p+1)
//     p      b0 b1 b2 ...   (b0 c0) (b1 c1) (b2 c2) ...              s0 += a_p b0 + a_p+1 c0,  s1 += a_p b1 + a_p+1 c1, ...
//     p + 1  c0 c1 c2 ...
//
// DOTS16: the target has it, and operands are bf16. Where it is 0 only single words are here, of bf16. Vectors of words are of
// type `vec`, as packed panels are of floats: no arithmetic but this is done on them.
#pragma once
#include "simd.h"

#if DTYPE_BF16 && defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define DOTS16 1
#else
#define DOTS16 0
#endif

#if DTYPE_BF16
// Two neighbours in memory, at any address of an element, as a word.
static inline uint32_t word_at(const bfloat16* from) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

static inline uint32_t word_of(bfloat16 first) { return first.bits; }  // and zero: the end of an odd depth
static inline uint32_t word_of(bfloat16 first, bfloat16 second) { return first.bits | uint32_t(second.bits) << 16; }

static inline vec splat_word(uint32_t word) { return (vec)(bits32{} + word); }
#endif

#if DOTS16
typedef uint16_t halves32 __attribute__((vector_size(64)));

// Clang's builtin wants its own type, GCC's from version 13 on too; both spell shuffles differently.
#if defined(__clang__)
#include <immintrin.h>
#define SUM_WORDS(sums, a, b) (vec)_mm512_dpbf16_ps((__m512)(sums), (__m512bh)(a), (__m512bh)(b))
#define PICK(Type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define LOAD_32(from, mask) (halves32)_mm512_maskz_loadu_epi16(mask, from)
#else
#if __GNUC__ >= 13
typedef __bf16 brains32 __attribute__((vector_size(64)));
#else
typedef short brains32 __attribute__((vector_size(64)));
#endif
#define SUM_WORDS(sums, a, b) __builtin_ia32_dpbf16ps_v16sf(sums, (brains32)(a), (brains32)(b))
#define PICK(Type, a, b, ...) __builtin_shuffle(a, b, Type{__VA_ARGS__})
typedef short shorts32 __attribute__((vector_size(64)));
#define LOAD_32(from, mask) \
    (halves32) __builtin_ia32_loaddquhi512_mask(reinterpret_cast<const short*>(from), shorts32{}, mask)
#endif

// sums + the products of the words of a and those of b.
static inline vec dot_pairs(vec a, vec b, vec sums) { return SUM_WORDS(sums, a, b); }

// 32 neighbours in memory: sixteen words.
static inline vec load_words(const bfloat16* from) {
    vec words;
    __builtin_memcpy(&words, from, sizeof words);
    return words;
}

// 32 or 16 neighbours; with a mask, as `load_16` of simd.h.
static inline halves32 load_32(const bfloat16* from) { return (halves32)load_words(from); }
static inline halves32 load_32(const bfloat16* from, uint32_t mask) { return LOAD_32(from, mask); }

static inline bits16 load_16(const bfloat16* from) {
    bits16 halves;
    __builtin_memcpy(&halves, from, sizeof halves);
    return halves;
}

// The mask of the first so many of 32.
static inline uint32_t first_of_32(int64_t count) { return count >= 32 ? ~uint32_t(0) : (uint32_t(1) << count) - 1; }

// Words of sixteen columns of two rows; of one row and zeros: the end of an odd depth.
static inline vec row_of_words(bits16 first) { return (vec)widened(first); }

static inline vec row_of_words(bits16 first, bits16 second) {
    return (vec)((bits32)row_of_words(first) | widened(second) << 16);
}

// Words of 32 columns of two rows: `left` of the first sixteen. Half as many instructions as for sixteen twice.
static inline void rows_of_words(halves32 first, halves32 second, vec& left, vec& right) {
    left = (vec)PICK(halves32, first, second, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39,
                     8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);
    right = (vec)PICK(halves32, first, second, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                      24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63);
}

static inline void rows_of_words(const bfloat16* first, const bfloat16* second, vec& left, vec& right) {
    rows_of_words(load_32(first), load_32(second), left, right);
}

// Sixteen vectors of sixteen words become columns, in place: two steps exchange words within 16 bytes, two such pieces.
static inline __attribute__((always_inline)) void transpose_words(vec (&rows)[16]) {
#define LOW_WORDS(a, b) PICK(bits32, a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH_WORDS(a, b) PICK(bits32, a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW_PAIRS(a, b) PICK(bits32, a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH_PAIRS(a, b) PICK(bits32, a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define EVEN_PIECES(a, b) PICK(bits32, a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define ODD_PIECES(a, b) PICK(bits32, a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
    vec four[16], eight[16];  // four[4 * g + c]: of rows 4 * g ..., columns c, c + 4, c + 8, c + 12
#pragma GCC unroll 4
    for (int g = 0; g < 16; g += 4) {
        const vec ab_low = LOW_WORDS(rows[g], rows[g + 1]), ab_high = HIGH_WORDS(rows[g], rows[g + 1]);
        const vec cd_low = LOW_WORDS(rows[g + 2], rows[g + 3]), cd_high = HIGH_WORDS(rows[g + 2], rows[g + 3]);
        four[g] = LOW_PAIRS(ab_low, cd_low), four[g + 1] = HIGH_PAIRS(ab_low, cd_low);
        four[g + 2] = LOW_PAIRS(ab_high, cd_high), four[g + 3] = HIGH_PAIRS(ab_high, cd_high);
    }
    // eight[8 * h + c] and [8 * h + 4 + c]: of rows 8 * h ..., columns c and c + 8; c + 4 and c + 12.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
#pragma GCC unroll 2
        for (int h = 0; h < 16; h += 8) {
            eight[h + c] = EVEN_PIECES(four[h + c], four[h + 4 + c]);
            eight[h + 4 + c] = ODD_PIECES(four[h + c], four[h + 4 + c]);
        }
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        rows[c] = EVEN_PIECES(eight[c], eight[8 + c]), rows[8 + c] = ODD_PIECES(eight[c], eight[8 + c]);
        rows[4 + c] = EVEN_PIECES(eight[4 + c], eight[12 + c]), rows[12 + c] = ODD_PIECES(eight[4 + c], eight[12 + c]);
    }
#undef LOW_WORDS
#undef HIGH_WORDS
#undef LOW_PAIRS
#undef HIGH_PAIRS
#undef EVEN_PIECES
#undef ODD_PIECES
}
#endif
