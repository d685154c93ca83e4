// Tiles of filters for products (wgmma): [filter][128 bytes of channels of one tap], swizzled (panels.cuh).
//
// NHWC's filters hold their channels together, and so do those of one tap. NCHW's others, [filter][channel][tap], are
// turned first, by WORKERS blocks together at the start of the launch, into workspace that all then read:
// [tap][filter][channel]. A call has to do so anew, since weights may have changed.
//
// Blocks wait for others, which have to run: the first WORKERS blocks turn, no more than the GPU has SMs, and GPUs
// start blocks in the order of their numbers. Nobody promises that, and SMs may be taken by another kernel. So a block that
// has waited for long turns all filters itself, into the same place: the values are the same.
#pragma once
#include "patches.cuh"

constexpr bool TURNED = !OPT_NHWC && TAPS > 1;
constexpr int FILTER_BYTES = BF * 128;                                // of a tile
constexpr int PIECES_C = (SIZE_C / OPT_GROUPS + PIECE - 1) / PIECE;   // of a turned filter's channels
constexpr int PATIENCE = 1 << 16;                                     // looks at `state`: tens of milliseconds

// One of `shares` shares of all filters.
__device__ __forceinline__ void turn_share(const Sizes& of, const In* W, In* turned, int share, int shares) {
  for (int i = share * THREADS + threadIdx.x; i < of.k * PIECES_C * TAPS; i += shares * THREADS) {
    const int tap = i % TAPS, piece = i / TAPS % PIECES_C, filter = i / TAPS / PIECES_C, channel = piece * PIECE;
    In held[PIECE];
#pragma unroll
    for (int e = 0; e < PIECE; ++e)
      held[e] = channel + e < of.group_c() ? W[(size_t(filter) * of.group_c() + channel + e) * TAPS + tap] : In(0);
    store(turned + ((size_t(tap) * of.k + filter) * PIECES_C + piece) * PIECE, held);
  }
  __threadfence();
  __syncthreads();
}

// `state`: how many workers are done, how many blocks wait no longer; both 0 before and after a call.
__device__ __forceinline__ void turn_filters(const Sizes& of, const In* W, In* turned, int* state) {
  const int blocks = gridDim.x * gridDim.y, block = blockIdx.y * gridDim.x + blockIdx.x, workers = min(WORKERS, blocks);
  if (block >= workers) return;
  turn_share(of, W, turned, block, workers);
  if (threadIdx.x == 0) atomicAdd(state, 1);
}

__device__ __forceinline__ void wait_for_turned(const Sizes& of, const In* W, In* turned, int* state) {
  int looks = 0;
  if (threadIdx.x == 0) {
    const int blocks = gridDim.x * gridDim.y;
    while (atomicAdd(state, 0) < min(WORKERS, blocks) && ++looks < PATIENCE) __nanosleep(20);
    __threadfence();
    // The last one leaves zeros for the next call: all workers were done before they waited.
    if (atomicAdd(state + 1, 1) == blocks - 1) atomicExch(state, 0), atomicExch(state + 1, 0);
  }
  if (__syncthreads_or(looks == PATIENCE)) turn_share(of, W, turned, 0, 1);
}

// A tile of a block's filters, of the channels from channel0 on under one tap.
template <bool ALIGNED>
__device__ __forceinline__ void fetch_filters(unsigned char* to, const Tile& tile, const In* W, const In* turned,
                                              int channel0, int tap) {
  constexpr int STEP = THREADS / 8;
  const Sizes& of = tile.of;
  const int row0 = threadIdx.x / 8, piece = threadIdx.x % 8, channel = channel0 + piece * PIECE, filters = tile.filters();
  const size_t filter = tile.first_filter() + row0;
  const In* const from = TURNED ? turned + (size_t(tap) * of.k + filter) * PIECES_C * PIECE + channel
                                : W + (filter * TAPS + tap) * of.group_c() + channel;
  const size_t stride = size_t(STEP) * (TURNED ? PIECES_C * PIECE : TAPS * of.group_c());
  unsigned char* const row = to + row0 * 128 + (piece ^ row0 % 8) * 16;
#pragma unroll
  for (int i = 0; i < (BF + STEP - 1) / STEP; ++i) {
    if (BF % STEP != 0 && row0 + i * STEP >= BF) break;
    const bool inside = channel < of.group_c() && row0 + i * STEP < filters;
    static_assert(STEP % 8 == 0, "all of a thread's rows are swizzled alike");
    if constexpr (ALIGNED || TURNED) {
      copy_piece_async(row + i * STEP * 128, inside ? from + i * stride : (TURNED ? turned : W), inside);
    } else {
      In held[PIECE];
#pragma unroll
      for (int e = 0; e < PIECE; ++e) held[e] = inside && channel + e < of.group_c() ? from[i * stride + e] : In(0);
      store(reinterpret_cast<In*>(row + i * STEP * 128), held);
    }
  }
}
