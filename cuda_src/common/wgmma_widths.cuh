// Products of a warpgroup (wgmma.cuh) of more widths: N = 80, 96, 112, 144, 160, 176, 208, 224, 240 columns.
//
// A grid of blocks that fills its last wave wants tiles of other widths than powers of two: 25,088 pixels are 131 tiles
// of 192, and a GPU has 132 SMs.
#pragma once
#include "wgmma.cuh"

#define WGMMA_WIDTH(n, count, a, b, c, d)                         \
  WGMMA_16(__half, n, count, a, b, c, d, "f32.f16.f16");          \
  WGMMA_16(__nv_bfloat16, n, count, a, b, c, d, "f32.bf16.bf16"); \
  WGMMA_8(signed char, int, n, count, a, b, "s32.s8.s8", "+r", "")
WGMMA_WIDTH(80, 40, 40, 41, 42, 43);
WGMMA_WIDTH(96, 48, 48, 49, 50, 51);
WGMMA_WIDTH(112, 56, 56, 57, 58, 59);
WGMMA_WIDTH(144, 72, 72, 73, 74, 75);
WGMMA_WIDTH(160, 80, 80, 81, 82, 83);
WGMMA_WIDTH(176, 88, 88, 89, 90, 91);
WGMMA_WIDTH(208, 104, 104, 105, 106, 107);
WGMMA_WIDTH(224, 112, 112, 113, 114, 115);
WGMMA_WIDTH(240, 120, 120, 121, 122, 123);
#undef WGMMA_WIDTH
