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

// What tiles of more than a warp need; such tiles are not emulated.
template <unsigned N>
struct block_tile_memory {
  char reserved[8];
};
template <unsigned N>
CUDA_EMU_INLINE thread_block this_thread_block(block_tile_memory<N>&) { return {}; }

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

// Blocks that run at the same time and see each other's shared memory; one block where nothing is declared.
struct cluster_group {
  CUDA_EMU_INLINE void sync() { cuda_emulator::cuda_emu_barrier(cuda_emulator::BARRIER_CLUSTER, 0); }
  // In two halves: here a block arrives when it waits, which no right program can tell.
  struct arrival_token {};
  CUDA_EMU_INLINE arrival_token barrier_arrive() { cuda_emulator::cuda_emu_cluster_arrive(); return {}; }
  CUDA_EMU_INLINE void barrier_wait() { cuda_emulator::cuda_emu_cluster_wait(); }
  CUDA_EMU_INLINE void barrier_wait(arrival_token&&) { barrier_wait(); }
  CUDA_EMU_INLINE dim3 dim_blocks() {
    return dim3(cuda_emulator::cuda_emu_cluster_size(0), cuda_emulator::cuda_emu_cluster_size(1),
                cuda_emulator::cuda_emu_cluster_size(2));
  }
  CUDA_EMU_INLINE dim3 block_index() {
    return dim3(cuda_emulator::cuda_emu_cluster_place(0), cuda_emulator::cuda_emu_cluster_place(1),
                cuda_emulator::cuda_emu_cluster_place(2));
  }
  CUDA_EMU_INLINE unsigned num_blocks() { const dim3 d = dim_blocks(); return d.x * d.y * d.z; }
  CUDA_EMU_INLINE unsigned block_rank() {
    const dim3 d = dim_blocks(), at = block_index();
    return (at.z * d.y + at.y) * d.x + at.x;
  }
  CUDA_EMU_INLINE unsigned num_threads() { return num_blocks() * block_threads(); }
  CUDA_EMU_INLINE unsigned size() { return num_threads(); }
  CUDA_EMU_INLINE unsigned thread_rank() { return block_rank() * block_threads() + rank_in_block(); }
  template <class T>
  CUDA_EMU_INLINE T* map_shared_rank(T* pointer, int rank) {
    return (T*)cuda_emulator::cuda_emu_map_shared((const void*)pointer, unsigned(rank));
  }
};
CUDA_EMU_INLINE cluster_group this_cluster() { return {}; }

// A set of lanes of one warp; ranks follow lanes.
struct lane_group {
  unsigned mask = 0;

  lane_group() = default;
  CUDA_EMU_INLINE_MEMBER explicit lane_group(unsigned lanes) : mask(lanes) {}
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
    return cuda_emulator::shuffle_any(mask, value, lane_of(unsigned(rank) % size()));
  }
  template <class T>
  CUDA_EMU_INLINE_MEMBER T shfl_down(T value, unsigned delta) const {
    const unsigned to = thread_rank() + delta;
    return cuda_emulator::shuffle_any(mask, value, lane_of(to < size() ? to : thread_rank()));
  }
  template <class T>
  CUDA_EMU_INLINE_MEMBER T shfl_up(T value, unsigned delta) const {
    const unsigned rank = thread_rank();
    return cuda_emulator::shuffle_any(mask, value, lane_of(rank >= delta ? rank - delta : rank));
  }
  template <class T>
  CUDA_EMU_INLINE_MEMBER T shfl_xor(T value, unsigned bits) const {
    const unsigned to = thread_rank() ^ bits;
    return cuda_emulator::shuffle_any(mask, value, lane_of(to < size() ? to : thread_rank()));
  }
  CUDA_EMU_INLINE_MEMBER int any(int p) const { return __any_sync(mask, p); }
  CUDA_EMU_INLINE_MEMBER int all(int p) const { return __all_sync(mask, p); }
  CUDA_EMU_INLINE_MEMBER unsigned ballot(int p) const { return ranks(__ballot_sync(mask, p)); }
  template <class T>
  CUDA_EMU_INLINE_MEMBER unsigned match_any(T value) const { return ranks(__match_any_sync(mask, value)); }
};

template <unsigned N, class Parent = void>
struct thread_block_tile : lane_group {
  static_assert(N <= 32, "the emulator has tiles of 1, 2, 4, 8, 16 and 32 threads");
  thread_block_tile() = default;
  // A tile of any parent is one of none (Programming Guide, "Thread Block Tile": the parent may be left out).
  template <class Other>
  CUDA_EMU_INLINE_MEMBER thread_block_tile(const thread_block_tile<N, Other>& other) : lane_group(other.mask) {}
  CUDA_EMU_INLINE_MEMBER explicit thread_block_tile(unsigned lanes) : lane_group(lanes) {}
  static constexpr unsigned size() { return N; }
  static constexpr unsigned num_threads() { return N; }
  CUDA_EMU_INLINE unsigned meta_group_rank() { return rank_in_block() / N; }
  CUDA_EMU_INLINE unsigned meta_group_size() { return (block_threads() + N - 1) / N; }
};
template <unsigned N, class Parent>
CUDA_EMU_INLINE thread_block_tile<N, Parent> tiled_partition(const Parent&) {
  return thread_block_tile<N, Parent>(unsigned(((1ull << N) - 1) << cuda_emulator::cuda_emu_lane() / N * N));
}

struct coalesced_group : lane_group {
  coalesced_group() = default;
  CUDA_EMU_INLINE_MEMBER coalesced_group(const lane_group& lanes) : lane_group(lanes.mask) {}
  CUDA_EMU_INLINE_MEMBER explicit coalesced_group(unsigned lanes) : lane_group(lanes) {}
  CUDA_EMU_INLINE_MEMBER unsigned meta_group_rank() const { return 0; }
  CUDA_EMU_INLINE_MEMBER unsigned meta_group_size() const { return 1; }
};
CUDA_EMU_INLINE coalesced_group coalesced_threads() { return coalesced_group(__activemask()); }
// Lanes of one label, and of one answer.
template <class Group, class T>
CUDA_EMU_INLINE coalesced_group labeled_partition(const Group& group, T label) {
  return coalesced_group(__match_any_sync(group.mask, label));
}
template <class Group>
CUDA_EMU_INLINE coalesced_group binary_partition(const Group& group, bool side) {
  const unsigned yes = __ballot_sync(group.mask, side);
  return coalesced_group(side ? yes : group.mask & ~yes);
}

// A group whose kind is known when it runs: a block, or lanes of a warp.
struct thread_group {
  CUDA_EMU_INLINE_MEMBER thread_group(const thread_block&) {}
  CUDA_EMU_INLINE_MEMBER thread_group(const lane_group& group) : lanes(group.mask), is_block(false) {}
  CUDA_EMU_INLINE_MEMBER void sync() const { is_block ? __syncthreads() : lanes.sync(); }
  CUDA_EMU_INLINE_MEMBER unsigned size() const { return is_block ? block_threads() : lanes.size(); }
  CUDA_EMU_INLINE_MEMBER unsigned num_threads() const { return size(); }
  CUDA_EMU_INLINE_MEMBER unsigned thread_rank() const { return is_block ? rank_in_block() : lanes.thread_rank(); }

  lane_group lanes;
  bool is_block = true;
};
CUDA_EMU_INLINE thread_group tiled_partition(const thread_group&, unsigned size) {
  return lane_group(unsigned(((1ull << size) - 1) << cuda_emulator::cuda_emu_lane() / size * size));
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
template <class Group, class T>
CUDA_EMU_INLINE T reduce(const Group& group, T value) { return reduce(group, value, plus<T>()); }

// ---- cooperative_groups/scan.h
template <class Group, class T, class Op>
CUDA_EMU_INLINE T inclusive_scan(const Group& group, T value, Op op) {
  const auto all = cuda_emulator::gather_all(group.mask, value, cuda_emulator::WARP_GATHER);
  const unsigned until = (2u << cuda_emulator::cuda_emu_lane()) - 1;
  return cuda_emulator::fold<T>(all, [op](T a, T b) -> T { return op(a, b); }, until);
}
template <class Group, class T>
CUDA_EMU_INLINE T inclusive_scan(const Group& group, T value) { return inclusive_scan(group, value, plus<T>()); }
template <class Group, class T, class Op>
CUDA_EMU_INLINE T exclusive_scan(const Group& group, T value, Op op) {
  const auto all = cuda_emulator::gather_all(group.mask, value, cuda_emulator::WARP_GATHER);
  const unsigned before = (1u << cuda_emulator::cuda_emu_lane()) - 1;
  if (!(all.lanes & before)) return T{};
  return cuda_emulator::fold<T>(all, [op](T a, T b) -> T { return op(a, b); }, before);
}
template <class Group, class T>
CUDA_EMU_INLINE T exclusive_scan(const Group& group, T value) { return exclusive_scan(group, value, plus<T>()); }
}  // namespace cooperative_groups
