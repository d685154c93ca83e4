// AMX: registers of 16 rows of 64 bytes. A row of the first operand is 64 bytes of one pixel's window, 64 being a chunk
// of 16 units; one of the second 16 output channels' weights for one unit; the result is 16 pixels x 16 channels.
// The configuration's macros N (16 or 32 channels) and TILES (1 or 2 pieces of 16 pixels) are defined before this.
#pragma once
#include <immintrin.h>

#include "../common/amx.h"

#if DTYPE_BF16
#define AMX_DOT tile_multiply
#else
static_assert(QUADS, "units of four bytes");
#define AMX_DOT tile_multiply_unsigned
#endif
static_assert(TILES <= 2 && N <= 32, "four registers of sums, two of pixels, two of weights");

// sums[i] [16][N], int32 or the bits of f32, of the pieces that begin at x[i], their pixels `step` units apart. `weights` are [taps][N], `taps` a
// multiple of 16, and behind them what every sum begins with.
static __attribute__((noinline)) void amx_tiles(const int32_t* const (&x)[TILES], int64_t step, const int32_t* offsets,
                                                const int32_t* weights, int64_t taps, int32_t (&sums)[TILES][16 * N]) {
    const int32_t* first = weights + taps * N;
    const int64_t line = N * 4, pixel = step * 4;
    // A stride of 0 reads the same row sixteen times.
    tile_load<0>(first, 0);
    if (N > 16) tile_load<1>(first + 16, 0);
#if TILES > 1
    tile_load<2>(first, 0);
    if (N > 16) tile_load<3>(first + 16, 0);
#endif
    for (int64_t chunk = 0; chunk * CHUNK < taps; ++chunk, weights += CHUNK * N) {
        tile_load<4>(x[0] + offsets[chunk], pixel);
        tile_load<6>(weights, line);
        AMX_DOT<0, 4, 6>();
#if TILES > 1
        tile_load<5>(x[1] + offsets[chunk], pixel);
        AMX_DOT<2, 5, 6>();
#endif
        if (N == 16) continue;
        tile_load<7>(weights + 16, line);
        AMX_DOT<1, 4, 7>();
#if TILES > 1
        AMX_DOT<3, 5, 7>();
#endif
    }
    tile_store<0>(sums[0], line);
    if (N > 16) tile_store<1>(sums[0] + 16, line);
#if TILES > 1
    tile_store<2>(sums[1], line);
    if (N > 16) tile_store<3>(sums[1] + 16, line);
#endif
}
