// Units of four rows of bytes (dots8.h), sixteen columns at a time, by two permutations: of words between the quarters of a
// register, a quarter holding a row's sixteen bytes, and of bytes within them.
//
//   rows   a b c d e ...      units   [a f k p] [b g l q] [c h m r] ...
//          f g h i j ...
//          k l m n o ...      INTERLEAVED: the target has the instructions, AVX512BW and VL beside VNNI.
//          p q r s t ...
#pragma once
#include "dots8.h"

#if QUADS && VECTOR_BYTES == 64 && defined(__AVX512BW__) && defined(__AVX512VL__)
#define INTERLEAVED 1
typedef char bytes16 __attribute__((vector_size(16)));
typedef char bytes64 __attribute__((vector_size(64)));

#if defined(__clang__)
#define SOME_BYTES(from, mask) (bytes16)_mm_maskz_loadu_epi8(mask, from)
#define WITH_QUARTER(all, quarter, place) (units)_mm512_inserti32x4((__m512i)(all), (__m128i)(quarter), place)
#define FIRST_QUARTER(quarter) (units)_mm512_castsi128_si512((__m128i)(quarter))
#define WORDS_OF_QUARTERS(all) \
    (bytes64) __builtin_shufflevector(all, all, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
#define BYTES_IN_QUARTERS(all, order) (units)_mm512_shuffle_epi8((__m512i)(all), (__m512i)(order))
#else
typedef int32_t words4 __attribute__((vector_size(16)));
#define SOME_BYTES(from, mask) \
    (bytes16) __builtin_ia32_loaddquqi128_mask(reinterpret_cast<const char*>(from), bytes16{}, mask)
#define WITH_QUARTER(all, quarter, place) \
    (units) __builtin_ia32_inserti32x4_mask(all, (words4)(quarter), place, units{}, (unsigned short)0xFFFF)
#define FIRST_QUARTER(quarter) (units) __builtin_ia32_si512_si((words4)(quarter))
#define WORDS_OF_QUARTERS(all) \
    (bytes64) __builtin_shuffle(all, units{0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15})
#define BYTES_IN_QUARTERS(all, order) (units) __builtin_ia32_pshufb512_mask(all, order, bytes64{}, ~0ull)
#endif

static inline bytes16 sixteen_bytes_at(const int8_t* from) {
    bytes16 bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return bytes;
}

static inline units interleaved(bytes16 first, bytes16 second, bytes16 third, bytes16 fourth) {
    units four = FIRST_QUARTER(first);
    four = WITH_QUARTER(four, second, 1);
    four = WITH_QUARTER(four, third, 2);
    four = WITH_QUARTER(four, fourth, 3);
    const units quarter = {0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703};
    units order;
    for (int lane = 0; lane < LANES; ++lane) order[lane] = quarter[lane % 4];
    return BYTES_IN_QUARTERS(WORDS_OF_QUARTERS(four), (bytes64)order);
}

// Of four rows `stride` apart.
static inline units interleaved(const int8_t* from, int64_t stride) {
    return interleaved(sixteen_bytes_at(from), sixteen_bytes_at(from + stride), sixteen_bytes_at(from + 2 * stride),
                       sixteen_bytes_at(from + 3 * stride));
}

// Of the first `rows` of them, and of those columns whose bits are set; others are zeros, and are not read.
static inline units interleaved(const int8_t* from, int64_t stride, int64_t rows, uint16_t inside) {
    auto row = [&](int64_t i) {
        const bool there = i < rows;
        return SOME_BYTES(there ? from + i * stride : from, uint16_t(there ? inside : 0));
    };
    return interleaved(row(0), row(1), row(2), row(3));
}
#else
#define INTERLEAVED 0
#endif
