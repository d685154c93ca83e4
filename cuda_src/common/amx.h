// Intel's tile registers (AMX): eight of them, each of 16 rows of 64 bytes, and one instruction that multiplies two
// tiles and adds the product, 16 x 16, to a third (Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 2, TDPBF16PS, TDPBSSD and TDPBUSD).
//
// In C = A * B the tile of A has 16 rows of 16 units, that of B 16 units of 16 columns. A unit is 4 bytes of neighbours
// in k, two bf16 or four int8, so a tile is 32 or 64 elements deep. Assembler text in place of intrinsics: those take
// literal register numbers only.
#pragma once
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum : int64_t { TILE = 16, TILE_UNITS = TILE * TILE, TILE_ROW_BYTES = 64 };

#if AMX_EMULATED
#include "amx_emulated.h"
#elif !defined(__AMX_TILE__)
#error "tile registers: the compiler has no -mamx-tile, or was not given it"
#else
// Linux gives a process the tiles' 8 KiB of state when it asks for them (arch_prctl(2), ARCH_REQ_XCOMP_PERM).
static inline bool may_use_tiles() {
    static const bool granted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    return granted;
}

// The calling thread's eight tiles, the first `count` of them with `rows` rows, while this lives; its state is small
// again afterwards, which makes it quick to save.
struct Tiles {
    explicit Tiles(int64_t rows = TILE, int count = 8) {
        struct __attribute__((packed, aligned(64))) {
            uint8_t palette, start, unused[14];
            uint16_t row_bytes[16];
            uint8_t rows[16];
        } shape = {1, 0, {}, {}, {}};
        for (int t = 0; t < 8; ++t) {
            shape.row_bytes[t] = TILE_ROW_BYTES;
            shape.rows[t] = uint8_t(t < count ? rows : TILE);
        }
        asm volatile("ldtilecfg %0" ::"m"(shape));
    }
    Tiles(const Tiles&) = delete;
    ~Tiles() { asm volatile("tilerelease"); }
};

// Rows are `stride` bytes apart.
template <int T>
static inline __attribute__((always_inline)) void tile_load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
}

template <int T>
static inline __attribute__((always_inline)) void tile_store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
}

template <int T>
static inline __attribute__((always_inline)) void tile_zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
}

// Tile C of the sums takes the product of tiles A and B, bf16 or int8.
template <int C, int A, int B>
static inline __attribute__((always_inline)) void tile_multiply() {
#if DTYPE_INT8
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
#else
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
#endif
}

// As `tile_multiply`, the bytes of A without a sign.
template <int C, int A, int B>
static inline __attribute__((always_inline)) void tile_multiply_unsigned() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}
#endif
