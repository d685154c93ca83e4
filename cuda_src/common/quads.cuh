// Quads of lanes, 4 g ... 4 g + 3, which hold a row of a product's sums (mma_blocks.cuh).
#pragma once

// Of a and b each lane of a pair that is FAR apart keeps one: the lower lane gets the upper one's a for its b, which it
// gives away. `upper`: whether this lane is that one.
template <int FAR>
__device__ __forceinline__ void exchange(unsigned& a, unsigned& b, bool upper) {
  const unsigned got = __shfl_xor_sync(~0u, upper ? a : b, FAR);
  a = upper ? got : a;
  b = upper ? b : got;
}

// Four registers of each lane of a quad as the rows of a matrix, transposed: lane t has register t of all four.
//
//   lane 0   00 01 02 03        00 10 20 30
//   lane 1   10 11 12 13   ->   01 11 21 31
//   lane 2   20 21 22 23        02 12 22 32
//   lane 3   30 31 32 33        03 13 23 33
__device__ __forceinline__ void transpose_quad(unsigned (&row)[4], int lane) {
  exchange<2>(row[0], row[2], lane & 2);
  exchange<2>(row[1], row[3], lane & 2);
  exchange<1>(row[0], row[1], lane & 1);
  exchange<1>(row[2], row[3], lane & 1);
}
