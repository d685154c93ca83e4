// Weights as parts of bf16 in whole tiles of 1 KiB (amx_parts.h): a panel is DOWN tiles of 16 filters, a step of it a chunk
// of one tap's channels (amx_split_image.h):
//
//   step 0: part 0 of tile 0 ... tile DOWN-1, part 1 of the same tiles, part 2   step 1: ...
//
// Filters are a tile's rows for planes (NCHW), where they multiply pixels from the left, and its columns for NHWC.
#pragma once
#include "amx_split_image.h"

enum : int64_t { PART_BYTES = DOWN * TILE_BYTES, STEP_BYTES = PARTS * PART_BYTES };

struct Weights {
    const Layout& lay;
    const float* W;

    int64_t panels_of_group() const { return ceil_div(lay.at.outer, FILTERS); }
    int64_t panels() const { return OPT_GROUPS * panels_of_group(); }
    int64_t panel_bytes() const { return lay.steps * STEP_BYTES; }
    int64_t first_filter(int64_t panel) const {
        return panel / panels_of_group() * lay.at.outer + panel % panels_of_group() * FILTERS;
    }
    int64_t filters(int64_t panel) const { return min_of(FILTERS, lay.at.outer - panel % panels_of_group() * FILTERS); }

    // Returns whether a number of the panel has no parts.
    __attribute__((noinline)) bool pack(char* to, int64_t panel) const {
        Largest largest;
        for (int64_t chunk = 0; chunk < lay.chunks; ++chunk) {
            alignas(64) int32_t places[DEEP];
            find_places(places, chunk * DEEP);
            for (int64_t tap = 0; tap < lay.taps; ++tap, to += STEP_BYTES) {
                for (int64_t tile = 0; tile < DOWN; ++tile) {
                    const int64_t there = min_of(TILE, filters(panel) - tile * TILE);
                    const float* from = W + (first_filter(panel) + tile * TILE) * lay.at.taps() + first_of(tap);
                    pack_tile(to + tile * TILE_BYTES, from, there, chunk * DEEP, places, largest);
                }
            }
        }
        return largest.special();
    }

private:
    // Of a filter's first element for a tap.
    int64_t first_of(int64_t tap) const { return tap * (!OPT_NHWC ? WINDOWS ? lay.at.s : 1 : lay.elements); }
    // The elements of a tap are neighbours in memory.
    bool in_a_row() const { return OPT_NHWC || (lay.at.r == 1 && lay.at.s == 1); }

    // Elsewhere: how far from the first element of a tap the 32 of a chunk lie.
    void find_places(int32_t* to, int64_t e) const {
        const int64_t inner = lay.at.inner, next = lay.at.r * lay.at.s;
        for (int64_t i = 0; i < DEEP; ++i, ++e) to[i] = int32_t(WINDOWS ? e % inner * next + e / inner : e * next);
    }

    __m512 elements(const float* from, int64_t e, const int32_t* places) const {
        const __mmask16 there = first_lanes(lay.elements - e);
        if (in_a_row()) return _mm512_maskz_loadu_ps(there, from + e);
        return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, _mm512_load_si512(places), from, 4);
    }

    // The elements from e on of 16 filters, of which `there` exist.
    void pack_tile(char* to, const float* from, int64_t there, int64_t e, const int32_t* places,
                   Largest& largest) const {
        alignas(64) char rows[PARTS * TILE_BYTES];
        char* row = OPT_NHWC ? rows : to;
        for (int64_t i = 0; i < TILE; ++i, from += lay.at.taps(), row += TILE_ROW_BYTES) {
            __m512 low = _mm512_setzero_ps(), high = low;
            if (i < there) low = elements(from, e, places), high = elements(from, e + TILE, places + TILE);
            largest.see(low), largest.see(high);
            put_parts(row, OPT_NHWC ? int64_t(TILE_BYTES) : int64_t(PART_BYTES), low, high);
        }
        for (int64_t part = 0; OPT_NHWC && part < PARTS; ++part) {
            const char* from_part = rows + part * TILE_BYTES;
            transpose_units(to + part * PART_BYTES, [&](int64_t i) { return from_part + i * TILE_ROW_BYTES; });
        }
    }
};
