// What a kernel built for the emulator calls, and what the runtime defines: nothing else crosses between them.
//
// Every function here that can be the subject of a finding takes its place in the source from its own return
// address, so callers in these headers are always inlined into the kernel and tail calls are switched off.
#pragma once
#include <cstddef>
#include <cstdint>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return uint3{x, y, z}; }
};

#pragma GCC visibility push(hidden)

// Written by the scheduler whenever another thread continues; constant as far as that thread can see.
#ifndef CUDA_EMULATOR_RUNTIME
extern const uint3 threadIdx, blockIdx;
extern const dim3 blockDim, gridDim;
#endif

namespace cuda_emulator {

enum BarrierKind : int { BARRIER_PLAIN, BARRIER_COUNT, BARRIER_AND, BARRIER_OR, BARRIER_GRID, BARRIER_CLUSTER };
// What mma.sync multiplies and adds up.
enum MmaType : uint8_t { MMA_F16, MMA_BF16, MMA_TF32, MMA_E4M3, MMA_E5M2, MMA_S8, MMA_U8, MMA_S4, MMA_U4, MMA_F64,
                         MMA_F32, MMA_S32 };
struct MmaShape {
  uint8_t m, n, k;
  MmaType a, b, c, d;
  bool saturate;
};
// wgmma.mma_async of 64 rows: what a warp's lanes give of it.
struct WgmmaShape {
  uint16_t n;
  uint8_t element_bytes;
  MmaType a, b, d;
  bool saturate;
};
struct WgmmaCall {
  void* const* sums;  // registers, by their addresses: they change when somebody waits
  unsigned count;
  unsigned long long a, b;  // descriptors
  const uint32_t* a_registers;  // in place of `a`, or null
  bool scale_d;
  int scale_a, scale_b;
  bool outer_a, outer_b;  // whether the outer dimension is the contiguous one
  const WgmmaShape* shape;
};
// Lanes meet only in operations of one kind: a shuffle does not answer a vote.
enum WarpKind : int { WARP_SYNC = 1, WARP_SHUFFLE, WARP_VOTE, WARP_MATCH, WARP_REDUCE, WARP_GATHER,
                      // Those of a whole warp: a lane that is missing is a defect.
                      WARP_MMA, WARP_LDMATRIX, WARP_STMATRIX, WARP_WGMMA, WARP_WGMMA_FENCE, WARP_WGMMA_COMMIT,
                      WARP_WGMMA_WAIT };

extern "C" {
// Waits for all threads of the block that still run; the result is that of the kind.
int cuda_emu_barrier(int kind, int predicate);

// Waits until every running lane of `mask` has come with the same mask and kind; the last one calls `complete`
// with the arguments of all 32 lanes (null where a lane takes no part), then all continue.
void cuda_emu_warp(unsigned mask, int kind, void* argument, void (*complete)(void** arguments, unsigned lanes));

// bar.sync (waits) and bar.arrive of barrier `number`, 0 to 15, for so many threads.
void cuda_emu_named_barrier(unsigned number, unsigned threads, int waits);

// The cluster that the block belongs to: its blocks along an axis (0 to 2), and the block's own place in it.
unsigned cuda_emu_cluster_size(int axis);
unsigned cuda_emu_cluster_place(int axis);
// What lies at the same place of the shared memory of the cluster's block of this rank.
void* cuda_emu_map_shared(const void* pointer, unsigned rank);
// The rank of the block whose shared memory a pointer is into.
unsigned cuda_emu_cluster_rank(const void* pointer);
// The window of the cluster's shared memory, as instructions with .shared::cluster take it: the block's own from 0 on,
// that of rank r from (r + 1) 2^24 on.
void* cuda_emu_cluster_pointer(uint32_t address);
uint32_t cuda_emu_cluster_address(const void* pointer);
// The cluster's barrier in two halves. A block arrives when it waits, which no right program can tell.
void cuda_emu_cluster_arrive(void);
void cuda_emu_cluster_wait(void);

// The window of shared memory: addresses of 32 bits from 0, as instructions with .shared take them.
void* cuda_emu_shared_pointer(uint32_t address);
uint32_t cuda_emu_shared_address(const void* pointer);
int cuda_emu_is_shared(const void* pointer);

// ldmatrix and stmatrix: `count` matrices of 8x8 elements of 2 bytes; a lane's row begins at `row` in the window.
void cuda_emu_ldmatrix(uint32_t* registers, unsigned count, int transposed, uint32_t row);
void cuda_emu_stmatrix(const uint32_t* registers, unsigned count, int transposed, uint32_t row);
// mma.sync on a lane's registers, as the instruction lists them.
void cuda_emu_mma(void* d, const void* a, const void* b, const void* c, const MmaShape* shape);

// wgmma: products that run on until they are waited for; and fence.proxy.async.
void cuda_emu_wgmma(const WgmmaCall* call);
void cuda_emu_wgmma_fence(void);
void cuda_emu_wgmma_commit(void);
void cuda_emu_wgmma_wait(unsigned batches_left);
void cuda_emu_proxy_fence(void);

// mbarriers and boxes of tensors; addresses are in the window of the cluster. A wait looks once, and gives 0 where the
// phase of this parity has not ended. A copy brings a box or, with offsets, the pixels under a tap of windows.
void cuda_emu_mbarrier_init(uint32_t address, uint32_t arrivals);
void cuda_emu_mbarrier_arrive(uint32_t address, uint32_t count, uint32_t bytes);
int cuda_emu_mbarrier_wait(uint32_t address, uint32_t parity);
void cuda_emu_bulk_tensor(uint32_t to, const void* map, const int* start, int rank, const int* offsets, uint32_t barrier,
                          int ranks);

// The lane whose value a shuffle asks for takes no part in it.
void cuda_emu_absent_lane(unsigned mask, unsigned source);

// A matrix of wmma begins here and its rows lie so many bytes apart; both must be multiples of an alignment.
void cuda_emu_matrix(const void* first, unsigned alignment, size_t leading_bytes, unsigned leading_alignment);
// How wmma reads memory is the hardware's own affair: between these two calls no bank conflicts are counted.
void cuda_emu_banks_watched(int watched);

unsigned cuda_emu_lane(void);
unsigned cuda_emu_active_mask(void);  // the lanes that come to this same call while none other can go on

// An atomic operation on `size` bytes is about to happen (`writes` 2: a store, which reads nothing); also a chance for others, since it may be a spin.
void cuda_emu_atomic(const void* address, unsigned size, int writes);
void cuda_emu_fence(int device_wide);
extern uint64_t cuda_emu_changes;  // atomics that changed what they found: a spinning thread's do not
// One turn of a loop that waits for another thread.
void cuda_emu_spin(void);
[[noreturn]] void cuda_emu_trap(void);
unsigned long long cuda_emu_clock(void);

// Asynchronous copies. `owner` null is the thread's own queue of cp.async groups; otherwise a pipeline or
// barrier object in shared memory. The bytes move as late as the model allows: when they are waited for.
void cuda_emu_async_copy(void* to, const void* from, unsigned size, unsigned zero_fill, const void* owner);
void cuda_emu_async_commit(const void* owner);
void cuda_emu_async_wait(unsigned groups_left);
void cuda_emu_async_complete(const void* owner, unsigned long long group);

// Synchronization through an object (cuda::barrier, cuda::pipeline): what happened before a release of it
// happens before what follows an acquire of it.
void cuda_emu_release(const void* object);
void cuda_emu_acquire(const void* object);
}
}  // namespace cuda_emulator
#pragma GCC visibility pop
