// What a warpgroup has of its 64 rows of queries in registers: scores of a tile of keys, their powers, the sums. Lanes
// hold them as wgmma_chain.cuh says: a lane pairs of columns of rows g and g + 8, so that a row is in four lanes.
//
// The exponent is made by one fused operation, score * factor - shift, with shift = largest * factor: of all scores of a
// row it differs from the exact one by the same rounding error, which drops out when the row is divided by its total.
// That holds while the error is small beside 1; rows of larger shifts are left to careful(), as are those with sums
// that are infinite or NaN.
#pragma once
#include "../common/mma.cuh"
#include "../common/panels.cuh"
#include "../common/quads.cuh"
#include "../common/wgmma_chain.cuh"
#include "careful.cuh"

constexpr float LARGEST_SHIFT = 1048576.0f;  // 2^20, of which rounding takes 2^-4 at most
constexpr float LEAST_SHIFT = -1e38f;        // of no keys: finite, and so is its difference from any other

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// QTile, KTile, VTile: the panels that operands lie in. KEYS: of a tile. DEPTH: the head dimension in whole panels.
// GROWTH: powers of two that a row's largest score may grow by before its sums are brought to another scale. With 0
// they are for every tile; with more hardly ever after the first, and powers are up to 2^GROWTH.
template <typename QTile, typename KTile, typename VTile, int KEYS, int DEPTH, int GROWTH>
struct WarpgroupRows {
  float sum[DEPTH / 8][4], score[KEYS / 8][4];
  unsigned power[KEYS / 16][4];
  float largest[2], shift[2], total[2][2], rescale[2];  // of rows g and g + 8; a total is of even and odd columns

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      largest[half] = LARGEST_OF_NONE, shift[half] = LEAST_SHIFT;
      total[half][0] = total[half][1] = 0;
    }
#pragma unroll
    for (int j = 0; j < DEPTH / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[j][e] = 0;
  }

  // Issues the scores' products; operands are bytes of shared memory.
  __device__ __forceinline__ void multiply_keys(unsigned queries, unsigned keys) {
    const unsigned long long a = describe(queries, QTile::NEXT_PANEL), b = describe(keys, KTile::NEXT_PANEL);
    wgmma_fence();
    Chain<Element, KEYS>::template begin<false>(score, a, b);
#pragma unroll
    for (int t = 1; t < DEPTH / 16; ++t)
      Chain<Element, KEYS>::template begin<true>(score, a + (QTile::offset(0, t) >> 4), b + (KTile::offset(0, t) >> 4));
    wgmma_commit();
  }

  // Issues the sums' products, of the powers that `pack` left.
  __device__ __forceinline__ void multiply_values(unsigned values) {
    const unsigned long long b = describe(values, VTile::NEXT_PANEL);
    arrived(sum);
    held(power);
    wgmma_fence();
#pragma unroll
    for (int t = 0; t < KEYS / 16; ++t) Chain<Element, DEPTH>::follow(sum, power[t], b + (VTile::offset(0, t) >> 4));
    wgmma_commit();
  }

  // Scores to powers, which stay in `score`: those before may still be multiplied. `whole`: all rows see all keys of
  // the tile; `seen`: how many, of rows g and g + 8.
  __device__ __forceinline__ void soften(float factor, bool whole, const int (&seen)[2], int lane) {
    if (!whole) {
#pragma unroll
      for (int j = 0; j < KEYS / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (j * 8 + lane % 4 * 2 + e % 2 >= seen[e / 2]) score[j][e] = hidden();
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float even = largest[half], odd = LARGEST_OF_NONE;
#pragma unroll
      for (int j = 0; j < KEYS / 8; ++j)
        even = fmaxf(even, score[j][2 * half]), odd = fmaxf(odd, score[j][2 * half + 1]);
      largest[half] = largest_of<4>(fmaxf(even, odd));
      const float reached = fmaxf(largest[half] * factor, LEAST_SHIFT);
      const float next = GROWTH > 0 && reached - shift[half] <= GROWTH ? shift[half] : reached;
      rescale[half] = power_of_two(shift[half] - next);
      shift[half] = next;
      total[half][0] *= rescale[half], total[half][1] *= rescale[half];
#pragma unroll
      for (int j = 0; j < KEYS / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& value = score[j][2 * half + e];
          value = power_of_two(fmaf(value, factor, -next));
          total[half][e] += value;
        }
    }
    arrived(score);
    // Never taken: a branch, so that the compiler has computed the powers by here. It would bring the wait for the
    // products that run meanwhile forward, to before the powers.
    if (total[1][1] < 0) __nanosleep(1);
  }

  // Powers to the first factor of the next product, and sums to their scale: when no product runs.
  __device__ __forceinline__ void pack() {
    if (GROWTH == 0 || __any_sync(~0u, rescale[0] != 1.0f || rescale[1] != 1.0f)) {
#pragma unroll
      for (int j = 0; j < DEPTH / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[j][e] *= rescale[e / 2];
    }
#pragma unroll
    for (int j = 0; j < KEYS / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        power[j / 2][j % 2 * 2 + half] = Narrow<Element>::pack(score[j][2 * half], score[j][2 * half + 1]);
  }

  // Four bits for each of eight rows, g or g + 8, that are left to careful().
  __device__ __forceinline__ unsigned special(int half) const {
    float nothing = fmaf(total[half][0], 0.0f, total[half][1] * 0.0f);  // a NaN as soon as anything is not finite
#pragma unroll
    for (int j = 0; j < DEPTH / 8; ++j)
      nothing = fmaf(sum[j][2 * half], 0.0f, fmaf(sum[j][2 * half + 1], 0.0f, nothing));
    return __ballot_sync(~0u, nothing != 0 || fabsf(shift[half]) > LARGEST_SHIFT);
  }
  // What these rows' sums are multiplied by.
  __device__ __forceinline__ float share(int half) const {
    return 1.0f / sum_of<4>(total[half][0] + total[half][1]);
  }
  // Two neighbouring results: columns 8 j + 2 t and the next.
  __device__ __forceinline__ unsigned pair(int j, int half, float share) const {
    return Narrow<Element>::pack(sum[j][2 * half] * share, sum[j][2 * half + 1] * share);
  }

  // Results of eight rows to a patch laid out as QTile.
  __device__ __forceinline__ void put(Element* patch, int warp, int half, int lane) const {
    const float factor = share(half);
    const int row = warp * 16 + half * 8 + lane / 4;
#pragma unroll
    for (int j = 0; j < DEPTH / 8; ++j)
      *reinterpret_cast<unsigned*>(patch + QTile::place(row, j) + lane % 4 * 2) = pair(j, half, factor);
  }

  // A warp's sixteen rows to O, whose first is the warpgroup's, by way of shared memory, so that 16 bytes are stored at
  // a time. rows: how many there are. anew(row): writes one that is left to careful().
  template <bool ALIGNED, typename Anew>
  __device__ __forceinline__ void write(Element* patch, Element* O, int rows, int warp, int lane,
                                        const Anew& anew) const {
    const unsigned left[2] = {special(0), special(1)};
    put(patch, warp, 0, lane);
    put(patch, warp, 1, lane);
    __syncwarp();
    constexpr int PIECES = DEPTH / VECTOR;
    const int first = warp * 16;
#pragma unroll 4
    for (int i = lane; i < 16 * PIECES; i += 32) {
      const int row = first + i / PIECES, piece = i % PIECES, col = piece * VECTOR;
      if (row >= rows) break;
      if (among(left, i / PIECES)) continue;
      const Element* const from = patch + QTile::place(row, piece);
      Element* const to = O + size_t(row) * HEAD + col;
      if (!ALIGNED)
        for (int e = 0; e < VECTOR && col + e < HEAD; ++e) to[e] = from[e];
      else if (col < HEAD)
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    }
    write_left(left, rows, warp, anew);
  }

  // The same without shared memory: of four products of eight columns each lane of a quad gets one as a whole. HEAD is
  // a multiple of eight. `aligned`: whether O begins on 16 bytes.
  template <typename Anew>
  __device__ __forceinline__ void write_by_quads(Element* O, int rows, int warp, int lane, bool aligned,
                                                 const Anew& anew) const {
    const unsigned left[2] = {special(0), special(1)};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float factor = share(half);
      const int within = half * 8 + lane / 4, row = warp * 16 + within;
      const bool own = row < rows && !among(left, within);
#pragma unroll
      for (int j = 0; j < DEPTH / 8; j += 4) {
        unsigned piece[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) piece[k] = pair(j + k, half, factor);
        transpose_quad(piece, lane);
        const int col = (j + lane % 4) * 8;
        if (!own || col >= HEAD) continue;
        Element* const to = O + size_t(row) * HEAD + col;
        if (aligned) {
          *reinterpret_cast<uint4*>(to) = make_uint4(piece[0], piece[1], piece[2], piece[3]);
          continue;
        }
        Element results[8];
        memcpy(results, piece, sizeof piece);
#pragma unroll
        for (int e = 0; e < 8; ++e) to[e] = results[e];
      }
    }
    write_left(left, rows, warp, anew);
  }

 private:
  // Whether a warp's row is one of those that `special` found.
  static __device__ __forceinline__ bool among(const unsigned (&left)[2], int row) {
    return ((row < 8 ? left[0] : left[1]) >> row % 8 * 4 & 15) != 0;
  }
  template <typename Anew>
  static __device__ __forceinline__ void write_left(const unsigned (&left)[2], int rows, int warp, const Anew& anew) {
    for (int r = 0; (left[0] | left[1]) != 0 && r < 16 && warp * 16 + r < rows; ++r)
      if (among(left, r)) anew(warp * 16 + r);
  }
};
