// Vectors as wide as the target's registers, by GCC's vector extensions: the same text serves SSE, AVX2,
// AVX-512 and NEON, and compiles ten times faster than with <immintrin.h>.
#pragma once
#include "range.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

// Input: of A and B. Addend: of C and bias. Output: of D. Sum: in which products are added up and the epilogue computed.
// A kernel that computes int8 in f32, as convolutions do, defines INT8_IN_F32.
#if DTYPE_INT8 && !INT8_IN_F32
typedef int8_t Input;
typedef int32_t Addend, Sum;
#if OPT_SCALE_TENSOR || OPT_SCALE_CHANNEL
typedef int8_t Output;
#else
typedef int32_t Output;
#endif
#elif DTYPE_F16
typedef _Float16 Input, Addend, Output;
typedef float Sum;
#elif DTYPE_BF16
#include "bfloat16.h"
typedef bfloat16 Input, Addend, Output;
typedef float Sum;
#else
typedef float Input, Addend, Output, Sum;
#endif

typedef Sum vec __attribute__((vector_size(VECTOR_BYTES)));
// In the caller's memory a vector begins at any element.
typedef Sum vec_unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

enum { LANES = VECTOR_BYTES / 4 };

static inline vec load(const Sum* p) { return *reinterpret_cast<const vec_unaligned*>(p); }

static inline void store(Sum* p, vec v) { *reinterpret_cast<vec_unaligned*>(p) = v; }

#if DTYPE_F16 || DTYPE_BF16
typedef uint16_t bits16 __attribute__((vector_size(VECTOR_BYTES / 2)));

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#if defined(__clang__)
#include <immintrin.h>  // its builtins want other types
#define LOAD_16(from, mask) _mm256_maskz_loadu_epi16(mask, from)
#define STORE_16(to, bits, mask) _mm256_mask_storeu_epi16(to, mask, (__m256i)(bits))
#else
typedef short shorts16 __attribute__((vector_size(32)));
#define LOAD_16(from, mask) __builtin_ia32_loaddquhi256_mask(static_cast<const short*>(from), shorts16{}, mask)
#define STORE_16(to, bits, mask) __builtin_ia32_storedquhi256_mask(static_cast<short*>(to), (shorts16)(bits), mask)
#endif
// Of sixteen neighbours those whose bits are set, others as zeros: no more is read, or written.
static inline bits16 load_16(const void* from, uint16_t mask) { return (bits16)LOAD_16(from, mask); }
static inline void store_16(void* to, bits16 bits, uint16_t mask) { STORE_16(to, bits, mask); }
#endif
#endif

#if DTYPE_F16
#include "half.h"
#elif DTYPE_BF16
#if defined(__AVX512BF16__) && defined(__clang__)
#include <immintrin.h>
#endif
typedef uint32_t bits32 __attribute__((vector_size(VECTOR_BYTES)));

// Each as a word whose upper half is 0. GCC's conversion makes two vectors and puts them together, five instructions for one.
static inline bits32 widened(bits16 halves) {
#if defined(__AVX512F__) && !defined(__clang__)
    typedef short shorts __attribute__((vector_size(32)));
    typedef int ints __attribute__((vector_size(64)));
    return (bits32)__builtin_ia32_pmovzxwd512_mask((shorts)halves, ints{}, (unsigned short)0xFFFF);
#else
    return __builtin_convertvector(halves, bits32);
#endif
}

static inline vec load(const bfloat16* p) {
    bits16 halves;
    __builtin_memcpy(&halves, p, sizeof halves);
    return (vec)(widened(halves) << 16);
}

// Rounded to nearest even: by one instruction where there is one, which makes zeros of denormals. Single elements (bfloat16.h)
// keep theirs.
static inline bits16 rounded(vec v) {
#if defined(__AVX512BF16__) && defined(__clang__)
    return (bits16)_mm512_cvtneps_pbh((__m512)v);
#elif defined(__AVX512BF16__)
    return (bits16)__builtin_ia32_cvtneps2bf16_v16sf(v);
#else
    return __builtin_convertvector(upper_half<bits32>((bits32)v, v != v), bits16);
#endif
}

static inline void store(bfloat16* p, vec v) {
    const bits16 halves = rounded(v);
    __builtin_memcpy(p, &halves, sizeof halves);
}
#endif

// x - 0 is x for every x, -0 and NaN included, so the compiler drops the subtraction (0 + x it may not drop).
static inline vec splat(Sum x) { return x - vec{}; }

// Keeps a value in a register: without it the compiler may fold a broadcast into every instruction that uses
// it, and so load it again each time.
static inline vec in_register(vec v) {
#if defined(__AVX512F__)
    asm("" : "+v"(v));
#elif defined(__x86_64__)
    asm("" : "+x"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
    return v;
}

static inline Sum sum(vec v) {
    Sum total = 0;
    for (int i = 0; i < LANES; ++i) total += v[i];
    return total;
}
