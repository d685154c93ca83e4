// In which order blocks take the tiles of an output.
#pragma once

// Tile of block `block` where tiles are visited GROUP rows at a time, down before across: blocks that run
// together then share rows of A and columns of B in L2. GROUP = 1 is row by row. Four by four tiles, GROUP = 2:
//
//    0  2  4  6
//    1  3  5  7
//    8 10 12 14
//    9 11 13 15
template <int GROUP>
__device__ __forceinline__ void grouped_tile(int block, int tiles_m, int tiles_n, int& tile_m, int& tile_n) {
  const int first = block / (GROUP * tiles_n) * GROUP;
  const int rows = min(GROUP, tiles_m - first);
  const int within = block % (GROUP * tiles_n);
  tile_m = first + within % rows;
  tile_n = within / rows;
}
