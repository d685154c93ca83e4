// Sums of a warpgroup's products (wgmma) to Y, through shared memory: [filter][pixel], or with NHWC [pixel][filter].
//
// A tile's pixels are those of a grid with borders (flat.cuh): what is not in Y is left out on the way.
#pragma once
#include "patches.cuh"

constexpr int HIGH = WF / 64;  // products of a warpgroup above each other
typedef Acc Sums[HIGH][WP / 8][4];

// Results of 16 bits that wait for no residual are finished first, and take half of the shared memory's time.
constexpr bool FINISHED = sizeof(Out) == 2 && !OPT_RESIDUAL;
template <bool> struct Staged { typedef Acc type; };
template <> struct Staged<true> { typedef Out type; };
typedef Staged<FINISHED>::type Line;
// Elements of a line: rows that are written at once begin in different banks.
constexpr int LINE_P = BP + 8, LINE_F = BF + (FINISHED ? 8 : 4);

// Four matrices of 8 rows of 16 bytes: lanes 8 i ... 8 i + 7 give the addresses of the rows of matrix i. TURN: transposed.
template <bool TURN>
__device__ __forceinline__ void store_matrices(unsigned row, const unsigned (&of)[4]) {
  if (TURN)
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(of[0]),
                 "r"(of[1]), "r"(of[2]), "r"(of[3])
                 : "memory");
  else
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(of[0]), "r"(of[1]),
                 "r"(of[2]), "r"(of[3])
                 : "memory");
}

// 16 filters from `line` of the block's tile on, of a warp's pixels from col0 on: finished, and laid out.
__device__ __forceinline__ void stage_finished(const Acc (&sum)[WP / 8][4], Line* lines, const Tile& tile,
                                               const Finish& finish, int line, int col0) {
  const int lane = threadIdx.x % 32, filter = tile.first_filter() + line + lane / 4, last = tile.of.k - 1;
  const Wide bias[2] = {OPT_BIAS ? finish.bias[min(filter, last)] : Wide(0),
                        OPT_BIAS ? finish.bias[min(filter + 8, last)] : Wide(0)};
  const Finish local{bias, nullptr, nullptr};
  // The matrices of a store: rows 0 ... 7 and 8 ... 15 of eight pixels, and of the next eight.
  const int down = lane / 8 % 2 * 8, across = lane / 16 * 8, within = lane % 8;
  const Line* const to = OPT_NHWC ? lines + (col0 + across + within) * LINE_F + line + down
                                  : lines + (line + down + within) * LINE_P + col0 + across;
  const unsigned at = unsigned(__cvta_generic_to_shared(to));
#pragma unroll
  for (int j = 0; j < WP / 8; j += 2) {
    unsigned four[4];
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const Acc* const two = sum[j + m / 2] + 2 * (m % 2);
      const Out done[2] = {local(two[0], m % 2, 0), local(two[1], m % 2, 0)};
      memcpy(&four[m], done, 4);
    }
    store_matrices<bool(OPT_NHWC)>(at + j * 8 * (OPT_NHWC ? LINE_F : 1) * 2, four);
  }
}

// The same of sums as they are.
__device__ __forceinline__ void stage_sums(const Acc (&sum)[WP / 8][4], Line* lines, int line, int col0) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < WP / 8; ++j)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = line + 8 * half + g, col = col0 + 8 * j + 2 * t;
      const Line two[2] = {Line(sum[j][2 * half]), Line(sum[j][2 * half + 1])};
      if (OPT_NHWC)
        lines[col * LINE_F + row] = two[0], lines[(col + 1) * LINE_F + row] = two[1];
      else
        store(lines + row * LINE_P + col, two);
    }
}

__device__ __forceinline__ Out finished(Line value, const Finish& finish, int filter, size_t place) {
  if constexpr (FINISHED)
    return value;
  else
    return finish(value, filter, place);
}

// [filter][pixel] to Y, MANY neighbours of an image at a time.
template <int MANY>
__device__ __forceinline__ void write_plane(const Line* from, size_t place, const Tile& tile, const Finish& finish,
                                            Out* Y) {
  const int warp = threadIdx.x / 32, filters = tile.filters();
#pragma unroll 8
  for (int f = warp; f < filters; f += THREADS / 32) {
    const size_t index = place + size_t(f) * (SIZE_P * SIZE_Q);
    Out run[MANY];
#pragma unroll
    for (int e = 0; e < MANY; ++e)
      run[e] = finished(from[f * LINE_P + e], finish, tile.first_filter() + f, index + e);
    store(Y + index, run);
  }
}
__device__ __forceinline__ void write_planes(const Line* lines, const Tile& tile, const Finish& finish, Out* Y) {
  constexpr int PIXELS = SIZE_P * SIZE_Q, BY = SIZE_Q % 2 == 0 ? 2 : 1;
  const Sizes& of = tile.of;
  const Flat flat(tile.pixel0, GRID_HIGH, GRID_WIDE);
  const int first = flat.before(0, of.n, of.p, of.q), last = flat.before(BP, of.n, of.p, of.q);
  const bool aligned = reinterpret_cast<size_t>(Y) % (BY * sizeof(Out)) == 0;
  for (int pixel = first / BY * BY + threadIdx.x % 32 * BY; pixel < last; pixel += 32 * BY) {
    const int image = pixel / PIXELS, within = pixel - image * PIXELS, y = within / of.q;
    const Line* const from = lines + flat.number(image, y, within - y * of.q);
    const size_t place = (size_t(image) * of.k + tile.first_filter()) * PIXELS + within;
    if (BY == 2 && aligned && pixel >= first && pixel + 1 < last) {
      write_plane<BY>(from, place, tile, finish, Y);
    } else {
#pragma unroll 1
      for (int e = 0; e < BY; ++e)
        if (pixel + e >= first && pixel + e < last) write_plane<1>(from + e, place + e, tile, finish, Y);
    }
  }
}

// [pixel][filter] to Y, 16 bytes at a time.
__device__ __forceinline__ void write_pixels(const Line* lines, const Tile& tile, const Finish& finish, Out* Y) {
  const Sizes& of = tile.of;
  constexpr int MANY = VECTOR_OF<Out>, RUNS = BF / MANY, HELD = VECTOR_OF<Line> < MANY ? VECTOR_OF<Line> : MANY;
  const Flat flat(tile.pixel0, GRID_HIGH, GRID_WIDE);
  const int filter0 = tile.first_filter(), filters = tile.filters();
  const bool aligned = of.group_k() % MANY == 0 && reinterpret_cast<size_t>(Y) % 16 == 0;
#pragma unroll 4
  for (int n = threadIdx.x; n < BP * RUNS; n += THREADS) {
    const int row = n / RUNS, f = n % RUNS * MANY;
    const Flat::Pixel pixel = flat.at(row);
    if (pixel.image >= of.n || pixel.y >= of.p || pixel.x >= of.q || f >= filters) continue;
    const size_t index = ((size_t(pixel.image) * of.p + pixel.y) * of.q + pixel.x) * of.k + filter0 + f;
    const Line* const from = lines + row * LINE_F + f;
    if (aligned) {
      Out result[MANY];
#pragma unroll
      for (int e = 0; e < MANY; e += HELD) {
        Line held[HELD];
        load(held, from + e);
#pragma unroll
        for (int m = 0; m < HELD; ++m) result[e + m] = finished(held[m], finish, filter0 + f + e + m, index + e + m);
      }
      store(Y + index, result);
    } else {
      for (int e = 0; e < MANY && f + e < filters; ++e) Y[index + e] = finished(from[e], finish, filter0 + f + e, index + e);
    }
  }
}

// A warpgroup's sums, which begin at row0 and col0 of the block's tile, to Y. `lines`: the tiles' memory, which nobody
// reads any more.
__device__ __forceinline__ void write_sums(const Sums& sum, unsigned char* lines, const Tile& tile, const Finish& finish,
                                           Out* Y, int row0, int col0) {
  Line* const to = reinterpret_cast<Line*>(lines);
#pragma unroll
  for (int i = 0; i < HIGH; ++i) {
    const int line = row0 + 64 * i + threadIdx.x / 32 % 4 * 16;
    if constexpr (FINISHED)
      stage_finished(sum[i], to, tile, finish, line, col0);
    else
      stage_sums(sum[i], to, line, col0);
  }
  __syncthreads();
  if (OPT_NHWC)
    write_pixels(to, tile, finish, Y);
  else
    write_planes(to, tile, finish, Y);
}
