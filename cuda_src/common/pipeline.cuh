// Tiles on their way through a ring of slots in shared memory, while an earlier one is used.
//
//   SLOTS = 3        slot 0     slot 1     slot 2     in use     under way
//   before           tile 0     tile 1     -          -          0, 1
//   step of tile 0   tile 0     tile 1     tile 2     0          1, 2
//   step of tile 1   tile 3     tile 1     tile 2     1          2, 3
#pragma once
#include <cuda_pipeline.h>

// Calls use(slot) for the tiles first ... last - 1, with SLOTS - 1 later ones under way meanwhile.
//
// stages: shared memory for SLOTS times STAGE elements; a slot is a pointer to the first of STAGE. start(tile, slot)
// begins the copies of a tile into a slot. One barrier a tile: it says that this tile is there for all threads and
// that all are done with the one before, whose slot the next copy takes. A block may call it again for other tiles
// after a barrier of its own.
template <int SLOTS, int STAGE, typename T, typename Start, typename Use>
__device__ __forceinline__ void ring(T* stages, int first, int last, const Start& start, const Use& use) {
  const auto begin = [&](int tile, T* slot) {
    if (tile < last) start(tile, slot);
    // Committed even when empty, so that "all but the last SLOTS - 2 groups" always means the tile at hand.
    __pipeline_commit();
  };
  for (int i = 0; i < SLOTS - 1; ++i) begin(first + i, stages + i * STAGE);
  int slot = 0, free_slot = SLOTS - 1;
  for (int tile = first; tile < last; ++tile) {
    __pipeline_wait_prior(SLOTS - 2);
    __syncthreads();
    begin(tile + SLOTS - 1, stages + free_slot * STAGE);
    use(stages + slot * STAGE);
    free_slot = slot;
    slot = slot + 1 == SLOTS ? 0 : slot + 1;
  }
}

// The same with registers that are one step ahead: a tile is used in STEPS steps (an even number), and while step s is
// computed, what step s + 1 needs is on its way from shared memory, at a tile's last step from the next tile.
//
//   STEPS = 2   tile 0: load(0, 1) use(0) | wait, load(1, 0) use(1)   tile 1: load(1, 1) use(0) | ...
//
// load(slot, step, buffer) brings a step of a slot into buffer 0 or 1 of the registers; use(buffer) computes with it.
template <int SLOTS, int STAGE, int STEPS, typename T, typename Start, typename Load, typename Use>
__device__ __forceinline__ void ring_ahead(T* stages, int first, int last, const Start& start, const Load& load,
                                           const Use& use) {
  static_assert(STEPS % 2 == 0, "a tile begins with buffer 0");
  for (int i = 0; i < SLOTS - 1; ++i) {
    if (first + i < last) start(first + i, stages + i * STAGE);
    __pipeline_commit();
  }
  __pipeline_wait_prior(SLOTS - 2);
  __syncthreads();
  if (first < last) load(stages, 0, 0);
  int slot = 0, free_slot = SLOTS - 1;
  for (int tile = first; tile < last; ++tile) {
    const T* const here = stages + slot * STAGE;
    const int next = slot + 1 == SLOTS ? 0 : slot + 1;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      if (step + 1 < STEPS) {
        load(here, step + 1, (step + 1) % 2);
      } else {
        // Past the barrier every thread has read all of this tile, and the next one is there for all.
        __pipeline_wait_prior(SLOTS - 2);
        __syncthreads();
        if (tile + 1 < last) load(stages + next * STAGE, 0, 0);
      }
      if (step == 0) {
        if (tile + SLOTS - 1 < last) start(tile + SLOTS - 1, stages + free_slot * STAGE);
        __pipeline_commit();
      }
      use(step % 2);
    }
    free_slot = slot;
    slot = next;
  }
}
