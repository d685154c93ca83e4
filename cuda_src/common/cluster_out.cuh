// Sums of a tile that the blocks of a cluster have, each of its own part of the depth, added and written to the output.
//
// Each block leaves its sums in its own shared memory, as rows of f32 or int32. After a barrier of the cluster each of
// PARTS blocks adds up every so manieth row, from the memory of all of them and in the order of the parts: the result
// does not depend on who came when. Nothing of it goes through L2, all blocks add, and no workspace is needed.
//
//   PARTS = 4   row 0   part 0 + part 1 + part 2 + part 3   by block 0
//               row 1   likewise                            by block 1
//               ...
//               row 4                                       by block 0
#pragma once
#include "blocks_out.cuh"
#include "bulk.cuh"

// Elements from one row of left sums to the next. The gap of 8 puts rows that are written at once into different banks.
template <int COLS>
constexpr int LEFT_STRIDE = COLS + 8;

// What lies at the same place of the shared memory of another block of the cluster.
template <typename T>
__device__ __forceinline__ const T* in_block(const T* here, int rank) {
  unsigned long long there;
  asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(here), "r"(rank));
  return reinterpret_cast<const T*>(there);
}

// A warp's sums, laid out as in wgmma.cuh, to its 16 rows of the block's tile; `to` is where those begin.
template <int STRIDE, typename Acc, int COUNT_N>
__device__ __forceinline__ void leave_sums(Acc* to, const Acc (&sum)[COUNT_N][4], int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int j = 0; j < COUNT_N; ++j) {
      const Acc two[2] = {sum[j][2 * half], sum[j][2 * half + 1]};
      store(to + (lane / 4 + 8 * half) * STRIDE + 8 * j + lane % 4 * 2, two);
    }
}

// Part `part`'s rows of a tile of ROWS x COLS, the sums of all parts, to the output, by THREADS threads of the block.
//
// left: the tile of this block; that of part i lies at the same place of block first_rank + i * RANKS. row0, col0: of
// the tile in the output, which has `rows` and `cols`. `aligned`, place, finish: as of write_blocks.
template <int PARTS, int RANKS, int ROWS, int COLS, int THREADS, typename Acc, typename Out, typename Place,
          typename Finish>
__device__ __forceinline__ void write_parts(const Acc* left, int first_rank, int part, Out* to, int row0, int col0,
                                            int rows, int cols, int thread, bool aligned, const Place& place,
                                            const Finish& finish) {
  // Runs of four, and so many at once that eight loads are on their way.
  constexpr int RUN = 4, RUNS = COLS / RUN, AT_ONCE = PARTS < 8 ? 8 / PARTS : 1;
  const Acc* of[PARTS];
#pragma unroll
  for (int i = 0; i < PARTS; ++i) of[i] = in_block(left, first_rank + i * RANKS);
  const int end = min(ROWS, rows - row0);
#pragma unroll 1
  for (int first = thread; part + first / RUNS * PARTS < end; first += AT_ONCE * THREADS) {
    Acc sum[AT_ONCE][RUN] = {};
#pragma unroll
    for (int i = 0; i < PARTS; ++i)
#pragma unroll
      for (int j = 0; j < AT_ONCE; ++j) {
        const int number = first + j * THREADS, r = part + number / RUNS * PARTS, c = number % RUNS * RUN;
        if (r >= end || col0 + c >= cols) continue;
        Acc four[RUN];
        load(four, of[i] + r * LEFT_STRIDE<COLS> + c);
#pragma unroll
        for (int e = 0; e < RUN; ++e) sum[j][e] += four[e];
      }
#pragma unroll
    for (int j = 0; j < AT_ONCE; ++j) {
      const int number = first + j * THREADS, r = part + number / RUNS * PARTS;
      const int row = row0 + r, col = col0 + number % RUNS * RUN;
      if (r < end && col < cols)
        write_run(sum[j], to, place(row, col), row, col, cols, aligned, place, finish);
    }
  }
}
