// The tile registers of amx.h in memory, for tests on processors without them: the same sums, roundings and zeros,
// about a hundred times slower. Only they define AMX_EMULATED.
// What the instructions do is from the manual that amx.h names: TDPBF16PS adds the even and the odd products of a row
// apart by FMA, then both to the sum, with numbers below 2^-126 as zero, in what it reads and in what it writes.
#pragma once
#include <immintrin.h>
#include <string.h>

struct EmulatedTiles {
    alignas(64) uint8_t bytes[8][TILE][TILE_ROW_BYTES];
    int64_t rows[8];
};

static thread_local EmulatedTiles emulated_tiles;

static inline bool may_use_tiles() { return true; }

struct Tiles {
    explicit Tiles(int64_t rows = TILE, int count = 8) {
        memset(&emulated_tiles, 0, sizeof emulated_tiles);
        for (int t = 0; t < 8; ++t) emulated_tiles.rows[t] = t < count ? rows : TILE;
    }
    Tiles(const Tiles&) = delete;
    // What a kernel read from tiles that it gave back would be seen.
    ~Tiles() { memset(&emulated_tiles, 0xff, sizeof emulated_tiles.bytes); }
};

template <int T>
static inline void tile_load(const void* from, int64_t stride) {
    memset(emulated_tiles.bytes[T], 0, sizeof emulated_tiles.bytes[T]);
    for (int64_t r = 0; r < emulated_tiles.rows[T]; ++r) {
        memcpy(emulated_tiles.bytes[T][r], static_cast<const char*>(from) + r * stride, TILE_ROW_BYTES);
    }
}

template <int T>
static inline void tile_store(void* to, int64_t stride) {
    for (int64_t r = 0; r < emulated_tiles.rows[T]; ++r) {
        memcpy(static_cast<char*>(to) + r * stride, emulated_tiles.bytes[T][r], TILE_ROW_BYTES);
    }
}

template <int T>
static inline void tile_zero() {
    memset(emulated_tiles.bytes[T], 0, sizeof emulated_tiles.bytes[T]);
}

#if DTYPE_INT8
template <typename Byte>  // of A
static __attribute__((noinline)) void emulated_product(int c, int a, int b) {
    for (int64_t i = 0; i < emulated_tiles.rows[c]; ++i) {
        __m512i sums = _mm512_load_si512(emulated_tiles.bytes[c][i]);
        const Byte* row = reinterpret_cast<const Byte*>(emulated_tiles.bytes[a][i]);
        for (int64_t p = 0; p < TILE; ++p, row += 4) {
            const __m512i with = _mm512_load_si512(emulated_tiles.bytes[b][p]);
            for (int q = 0; q < 4; ++q) {
                const __m512i column = _mm512_srai_epi32(_mm512_sll_epi32(with, _mm_cvtsi32_si128(24 - 8 * q)), 24);
                sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(_mm512_set1_epi32(row[q]), column));
            }
        }
        _mm512_store_si512(emulated_tiles.bytes[c][i], sums);
    }
}

template <int C, int A, int B>
static inline void tile_multiply() {
    emulated_product<int8_t>(C, A, B);
}

template <int C, int A, int B>
static inline void tile_multiply_unsigned() {
    emulated_product<uint8_t>(C, A, B);
}
#else
static __attribute__((noinline)) void emulated_product(int c, int a, int b) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);  // flush to zero, denormals are zero
    asm volatile("" ::: "memory");
    const __m512i upper = _mm512_set1_epi32(int(0xffff0000));
    for (int64_t i = 0; i < emulated_tiles.rows[c]; ++i) {
        const __m512i units = _mm512_load_si512(emulated_tiles.bytes[a][i]);
        alignas(64) float low[TILE], high[TILE];
        _mm512_store_si512(low, _mm512_slli_epi32(units, 16));
        _mm512_store_si512(high, _mm512_and_si512(units, upper));
        __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
        for (int64_t p = 0; p < TILE; ++p) {
            const __m512i with = _mm512_load_si512(emulated_tiles.bytes[b][p]);
            even = _mm512_fmadd_ps(_mm512_set1_ps(low[p]), _mm512_castsi512_ps(_mm512_slli_epi32(with, 16)), even);
            odd = _mm512_fmadd_ps(_mm512_set1_ps(high[p]), _mm512_castsi512_ps(_mm512_and_si512(with, upper)), odd);
        }
        float* sums = reinterpret_cast<float*>(emulated_tiles.bytes[c][i]);
        _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums), _mm512_add_ps(even, odd)));
    }
    asm volatile("" ::: "memory");
    _mm_setcsr(before);
}

template <int C, int A, int B>
static inline void tile_multiply() {
    emulated_product(C, A, B);
}
#endif
