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
