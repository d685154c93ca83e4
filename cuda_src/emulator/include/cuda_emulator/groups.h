// Cooperative groups: the block, tiles of a warp, converged threads, and the grid.
#pragma once
#include "integers.h"
#include "pipeline.h"
#include "sync.h"

namespace cooperative_groups {

CUDA_EMU_INLINE unsigned rank_in_block() {
  return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}
CUDA_EMU_INLINE unsigned block_threads() { return blockDim.x * blockDim.y * blockDim.z; }

struct thread_block {
  CUDA_EMU_INLINE void sync() { __syncthreads(); }
  CUDA_EMU_INLINE unsigned thread_rank() { return rank_in_block(); }
  CUDA_EMU_INLINE unsigned size() { return block_threads(); }
  CUDA_EMU_INLINE unsigned num_threads() { return block_threads(); }
  CUDA_EMU_INLINE dim3 group_index() { return dim3(blockIdx); }
  CUDA_EMU_INLINE dim3 thread_index() { return dim3(threadIdx); }
  CUDA_EMU_INLINE dim3 group_dim() { return blockDim; }
  CUDA_EMU_INLINE dim3 dim_threads() { return blockDim; }
};
CUDA_EMU_INLINE thread_block this_thread_block() { return {}; }

struct grid_group {
  CUDA_EMU_INLINE void sync() { cuda_emulator::cuda_emu_barrier(cuda_emulator::BARRIER_GRID, 0); }
  CUDA_EMU_INLINE bool is_valid() { return true; }
  CUDA_EMU_INLINE unsigned long long block_rank() {
    return ((unsigned long long)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  }
  CUDA_EMU_INLINE unsigned long long num_blocks() { return (unsigned long long)gridDim.x * gridDim.y * gridDim.z; }
  CUDA_EMU_INLINE unsigned long long thread_rank() { return block_rank() * block_threads() + rank_in_block(); }
  CUDA_EMU_INLINE unsigned long long size() { return num_blocks() * block_threads(); }
  CUDA_EMU_INLINE unsigned long long num_threads() { return size(); }
};
CUDA_EMU_INLINE grid_group this_grid() { return {}; }

// A set of lanes of one warp; ranks follow lanes.
struct lane_group {
  unsigned mask = 0;

  CUDA_EMU_INLINE_MEMBER void sync() const { __syncwarp(mask); }
  CUDA_EMU_INLINE_MEMBER unsigned size() const { return unsigned(__popc(mask)); }
  CUDA_EMU_INLINE_MEMBER unsigned num_threads() const { return size(); }
  CUDA_EMU_INLINE_MEMBER unsigned thread_rank() const {
    return unsigned(__popc(mask & ((1u << cuda_emulator::cuda_emu_lane()) - 1)));
  }
  CUDA_EMU_INLINE_MEMBER int lane_of(unsigned rank) const {
    unsigned left = mask;
    while (rank-- && left) left &= left - 1;
    return left ? __builtin_ctz(left) : int(cuda_emulator::cuda_emu_lane());
  }
  CUDA_EMU_INLINE_MEMBER unsigned ranks(unsigned lanes) const {
    unsigned result = 0, rank = 0;
    for (int lane = 0; lane < 32; ++lane) {
      if (mask >> lane & 1) result |= (lanes >> lane & 1u) << rank++;
    }
    return result;
  }
  template <class T>
  CUDA_EMU_INLINE_MEMBER T shfl(T value, int rank) const {
    return cuda_emulator::shuffle(mask, value, lane_of(unsigned(rank) % size()));
  }
  template <class T>
  CUDA_EMU_INLINE_MEMBER T shfl_down(T value, unsigned delta) const {
    const unsigned to = thread_rank() + delta;
    return cuda_emulator::shuffle(mask, value, lane_of(to < size() ? to : thread_rank()));
  }
  template <class T>
  CUDA_EMU_INLINE_MEMBER T shfl_up(T value, unsigned delta) const {
    const unsigned rank = thread_rank();
    return cuda_emulator::shuffle(mask, value, lane_of(rank >= delta ? rank - delta : rank));
  }
  template <class T>
  CUDA_EMU_INLINE_MEMBER T shfl_xor(T value, unsigned bits) const {
    const unsigned to = thread_rank() ^ bits;
    return cuda_emulator::shuffle(mask, value, lane_of(to < size() ? to : thread_rank()));
  }
  CUDA_EMU_INLINE_MEMBER int any(int p) const { return __any_sync(mask, p); }
  CUDA_EMU_INLINE_MEMBER int all(int p) const { return __all_sync(mask, p); }
  CUDA_EMU_INLINE_MEMBER unsigned ballot(int p) const { return ranks(__ballot_sync(mask, p)); }
  template <class T>
  CUDA_EMU_INLINE_MEMBER unsigned match_any(T value) const { return ranks(__match_any_sync(mask, value)); }
};

template <unsigned N, class Parent = void>
struct thread_block_tile : lane_group {
  static_assert(N <= 32 && (N & (N - 1)) == 0, "the emulator has tiles of 1, 2, 4, 8, 16 and 32 threads");
  CUDA_EMU_INLINE unsigned meta_group_rank() { return rank_in_block() / N; }
  CUDA_EMU_INLINE unsigned meta_group_size() { return (block_threads() + N - 1) / N; }
};
template <unsigned N, class Parent>
CUDA_EMU_INLINE thread_block_tile<N, Parent> tiled_partition(const Parent&) {
  thread_block_tile<N, Parent> tile;
  const unsigned first = cuda_emulator::cuda_emu_lane() / N * N;
  tile.mask = unsigned(((1ull << N) - 1) << first);
  return tile;
}

struct coalesced_group : lane_group {};
CUDA_EMU_INLINE coalesced_group coalesced_threads() {
  coalesced_group group;
  group.mask = __activemask();
  return group;
}

template <class Group>
CUDA_EMU_INLINE void sync(const Group& group) { group.sync(); }

// ---- cooperative_groups/memcpy_async.h
template <class Group, class T, class Size>
CUDA_EMU_INLINE void memcpy_async(const Group& group, T* to, const T* from, Size bytes) {
  cuda_emulator::async_share(unsigned(group.thread_rank()), unsigned(group.size()), to, from, size_t(bytes), nullptr);
  cuda_emulator::cuda_emu_async_commit(nullptr);
}
// The form with layouts: counted in elements, the smaller count wins.
template <class Group, class T, class To, class From>
CUDA_EMU_INLINE void memcpy_async(const Group& group, T* to, To to_count, const T* from, From from_count) {
  const size_t a = size_t(to_count), b = size_t(from_count);
  memcpy_async(group, to, from, (a < b ? a : b) * sizeof(T));
}
template <class Group>
CUDA_EMU_INLINE void wait(const Group& group) {
  cuda_emulator::cuda_emu_async_wait(0);
  group.sync();
}
template <unsigned Stages, class Group>
CUDA_EMU_INLINE void wait_prior(const Group& group) {
  cuda_emulator::cuda_emu_async_wait(Stages);
  group.sync();
}

// ---- cooperative_groups/reduce.h
template <class T>
struct plus { T operator()(T a, T b) const { return a + b; } };
template <class T>
struct less { T operator()(T a, T b) const { return b < a ? b : a; } };
template <class T>
struct greater { T operator()(T a, T b) const { return a < b ? b : a; } };
template <class T>
struct bit_and { T operator()(T a, T b) const { return a & b; } };
template <class T>
struct bit_or { T operator()(T a, T b) const { return a | b; } };
template <class T>
struct bit_xor { T operator()(T a, T b) const { return a ^ b; } };
template <class Group, class T, class Op>
CUDA_EMU_INLINE T reduce(const Group& group, T value, Op op) {
  const auto all = cuda_emulator::gather_all(group.mask, value, cuda_emulator::WARP_GATHER);
  return cuda_emulator::fold<T>(all, [op](T a, T b) -> T { return op(a, b); });
}
}  // namespace cooperative_groups
