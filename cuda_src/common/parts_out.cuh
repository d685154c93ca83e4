// Sums of a tile that several blocks have, each of its own part of the depth, added and written to the output.
//
// Each block leaves its sums in a workspace, as rows of f32 or int32, and counts itself. When all PARTS are there, each
// adds up one row in PARTS of all of them, in the order of the parts: the result does not depend on who came when.
// The last to come could do it alone, but it would read PARTS tiles through one SM, 1 MB at 128 x 128 x 16.
//
//   PARTS = 4   row 0   part 0 + part 1 + part 2 + part 3   by block 0
//               row 1   likewise                            by block 1
//               ...
//               row 4                                       by block 0
//
// So blocks wait for others, which have to run: the launch has no more blocks than the GPU has SMs, and parts of a tile
// are neighbours. SMs may be taken by another kernel all the same. So a block that has waited for long gives up its
// rows, and the last to come adds them up too.
#pragma once
#include "blocks_out.cuh"

// How many times a block looks at the count: about 0.2 ms. Tests want it shorter.
#ifndef PATIENCE_WITH_PARTS
#define PATIENCE_WITH_PARTS 256
#endif

// What blocks know of the parts of one tile; all zero before and after a call.
struct PartsOfTile {
  // Low 16 bits: how many parts are there. High 16 bits: one for each part whose rows were given up. In one word, so
  // that either the last to come sees that rows were given up, or who gives them up sees that all are there.
  unsigned state;
  unsigned gone;  // how many blocks look at `state` no more

  static __device__ __forceinline__ int there(unsigned state) { return state & 0xffff; }
};

// The workspace, laid out as [tile][part][row][column], and what is known of each tile.
template <typename Acc>
struct Parts {
  Acc* sums;
  PartsOfTile* tiles;
};

// Counts this block's part, whose sums all threads have left before a barrier, and waits for the others. By one thread.
// Returns the parts whose rows the block is to add up, a bit each.
template <int PARTS>
__device__ __forceinline__ unsigned meet_parts(PartsOfTile* tile, int part) {
  static_assert(PARTS <= 16, "`state` has a bit for each");
  __threadfence();  // the part, all threads' of it, is seen by whoever sees the count
  const unsigned own = 1u << part, before = atomicAdd(&tile->state, 1);
  unsigned rows_of = own;
  if (tile->there(before) == PARTS - 1) {
    rows_of |= before >> 16;
  } else {
    int looks = 0;
    const volatile unsigned* const state = &tile->state;
    while (tile->there(*state) < PARTS && ++looks < PATIENCE_WITH_PARTS) __nanosleep(20);
    if (looks == PATIENCE_WITH_PARTS && tile->there(atomicOr(&tile->state, own << 16)) < PARTS) rows_of = 0;
  }
  __threadfence();
  return rows_of;
}

// A warp's sums, laid out as in wgmma.cuh, to its 16 rows of the block's part; `to` is where those begin. Only what the
// output has: `rows` from there on, columns from col0 up to `cols`.
template <int STRIDE, typename Acc, int COUNT_N>
__device__ __forceinline__ void leave_sums(Acc* to, const Acc (&sum)[COUNT_N][4], int lane, int rows, int col0,
                                           int cols) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    if (row >= rows) continue;
#pragma unroll
    for (int j = 0; j < COUNT_N; ++j) {
      // Eight columns at a time: the four lanes' 32 bytes of a row are one access of memory.
      if (col0 + 8 * j >= cols) continue;
      const Acc two[2] = {sum[j][2 * half], sum[j][2 * half + 1]};
      store(to + row * STRIDE + 8 * j + lane % 4 * 2, two);
    }
  }
}

// Part `part`'s rows of a tile of ROWS x COLS, the sums of all parts, to the output, by THREADS threads of the block.
//
// from: part 0 of the tile. row0, col0: of the tile in the output, which has `rows` and `cols`. `aligned`, place, finish:
// as of write_blocks.
template <int PARTS, int ROWS, int COLS, int THREADS, typename Acc, typename Out, typename Place, typename Finish>
__device__ __forceinline__ void write_parts(const Acc* from, int part, Out* to, int row0, int col0, int rows, int cols,
                                            int thread, bool aligned, const Place& place, const Finish& finish) {
  // Runs of four, and so many at once that eight loads or more are on their way.
  constexpr int RUN = 4, RUNS = COLS / RUN, AT_ONCE = (7 + PARTS) / PARTS;
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
        // Past the first-level cache, which other blocks' stores do not reach.
        const uint4 word = __ldcg(reinterpret_cast<const uint4*>(from + (i * ROWS + r) * COLS + c));
        Acc four[RUN];
        memcpy(four, &word, sizeof(word));
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

// Leaves a block's sums of a tile and writes its share of the tile's rows. By the THREADS threads that have the sums,
// which meet at the barrier `barrier` and have `word` in shared memory; leave(to) stores a thread's sums of the tile at
// `to`, of rows COLS apart. The others: as of write_parts.
template <int PARTS, int ROWS, int COLS, int THREADS, typename Acc, typename Out, typename Leave, typename Place,
          typename Finish>
__device__ __forceinline__ void add_parts(const Parts<Acc>& parts, int tile, int part, unsigned* word, int barrier,
                                          const Leave& leave, Out* to, int row0, int col0, int rows, int cols,
                                          int thread, bool aligned, const Place& place, const Finish& finish) {
  constexpr size_t SIZE = size_t(ROWS) * COLS;
  Acc* const sums = parts.sums + tile * (PARTS * SIZE);
  PartsOfTile* const known = parts.tiles + tile;
  leave(sums + part * SIZE);
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(THREADS) : "memory");
  unsigned gone = 0;
  if (thread == 0) {
    *word = meet_parts<PARTS>(known, part);
    gone = atomicAdd(&known->gone, 1) + 1;
  }
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(THREADS) : "memory");
#pragma unroll 1
  for (unsigned left = *word; left != 0; left &= left - 1)
    write_parts<PARTS, ROWS, COLS, THREADS>(sums, __ffs(left) - 1, to, row0, col0, rows, cols, thread, aligned, place,
                                            finish);
  // The last one leaves zeros for the next call.
  if (gone == PARTS) atomicExch(&known->state, 0), atomicExch(&known->gone, 0);
}
