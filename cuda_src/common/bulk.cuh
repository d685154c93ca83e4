// Tiles that the copy engine of Hopper fetches by itself (TMA, sm_90): one thread asks, an mbarrier counts the bytes.
//
// What is fetched is a box of a tensor of up to three dimensions, the contiguous one first. Where the tensor lies, its
// sizes and the box are in a tensor map, which the host makes before the launch and passes as an argument
// ([maps] in the kernel's declaration). What lies outside of the tensor arrives as zeros and counts as bytes too.
//
// By a map with windows it is the pixels under one tap of a convolution ("im2col", PTX ISA 5.5.4): the copy goes from
// window to window, along rows, from row to row and from image to image, and takes of each the pixel so far across and
// down from where the window stands. Windows are those of the output, so a tile of a convolution is any so many
// neighbours of the output, whatever the images' size, and borders are zeros.
//
//   4 x 4, 3 x 3, pad 1, tap (0, 2):   0 1 2 3      windows from output (1, 1) on
//                                      4 5 6 7      output (1, 1)  (1, 2)  (1, 3)  (2, 0)  (2, 1)
//                                      ...          pixel  2       3       zeros   5       6
//
// An mbarrier is at a phase, which ends when all expected arrivals and all expected bytes are there (PTX ISA
// 9.7.13.15). Who waits names the parity of the phase that he wants to have ended: in a ring of slots it changes with
// each turn.
//
//   ring of 3    fetched into   0  1  2  0  1  2  0     who fetches waits until `empty` of the slot has ended,
//                parity         0  0  0  1  1  1  0     who reads until `full` has
#pragma once

// What cuTensorMapEncodeTiled fills.
struct __align__(64) TensorMap {
  unsigned long long opaque[16];
};

// Addresses are those of shared memory, 32 bits: barriers are 8 bytes each, on a boundary of 8.
__device__ __forceinline__ void barrier_init(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// What `barrier_init` wrote is there for other blocks of the cluster and for the copy engine, after a barrier.
__device__ __forceinline__ void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// One arrival; the phase also waits for this many bytes.
__device__ __forceinline__ void arrive_expecting(unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// The barrier at the same place of another block of the cluster. What `.release.cluster` would order beside, this
// thread's loads and stores of all memory, nobody asks for here, and it would take longer than a tile.
__device__ __forceinline__ void arrive_at(unsigned barrier, int rank) {
  unsigned there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(barrier), "r"(rank));
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(there) : "memory");
}
// Until the phase of this parity has ended.
__device__ __forceinline__ void await(unsigned barrier, int parity) {
  unsigned ended = 0;
  do {
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
        : "=r"(ended)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (!ended);
}

// Where a ring of slots stands after so many tiles: the slot, and the parity of its phase.
template <int SLOTS>
struct Ring {
  int slot, parity;
  __device__ __forceinline__ explicit Ring(int tiles) : slot(tiles % SLOTS), parity(tiles / SLOTS % 2) {}
  __device__ __forceinline__ void next() {
    if (++slot == SLOTS) slot = 0, parity ^= 1;
  }
};

__device__ __forceinline__ void prefetch_map(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// The box whose first element is (x, y, z) to shared memory; its bytes are counted by `barrier`.
__device__ __forceinline__ void fetch_box(unsigned to, const TensorMap* map, int x, int y, int z, unsigned barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::
          "r"(to), "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
      : "memory");
}
// The same for all blocks of the cluster that `ranks` has a bit for: to the same places, counted by their barriers.
__device__ __forceinline__ void fetch_box_for(unsigned to, const TensorMap* map, int x, int y, int z, unsigned barrier,
                                              unsigned short ranks) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3, %4}], [%5], %6;" ::"r"(to),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier), "h"(ranks)
      : "memory");
}

// Pixels under a tap, `across` and `down` from where windows stand. The first window, of the image `image`, stands at
// (x, y), which is negative above and left of the image; channels from `channel` on.
__device__ __forceinline__ void fetch_pixels(unsigned to, const TensorMap* map, int channel, int x, int y, int image,
                                             int across, int down, unsigned barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
      "[%6], {%7, %8};" ::"r"(to),
      "l"(map), "r"(channel), "r"(x), "r"(y), "r"(image), "r"(barrier), "h"((unsigned short)across),
      "h"((unsigned short)down)
      : "memory");
}
// The same for the blocks of `ranks`.
__device__ __forceinline__ void fetch_pixels_for(unsigned to, const TensorMap* map, int channel, int x, int y, int image,
                                                 int across, int down, unsigned barrier, unsigned short ranks) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3, %4, %5}], [%6], {%7, %8}, %9;" ::"r"(to),
      "l"(map), "r"(channel), "r"(x), "r"(y), "r"(image), "r"(barrier), "h"((unsigned short)across),
      "h"((unsigned short)down), "h"(ranks)
      : "memory");
}

// Every thread of the cluster: who has come has written all before for who goes on.
__device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive;" ::: "memory");
  asm volatile("barrier.cluster.wait;" ::: "memory");
}
__device__ __forceinline__ int rank_in_cluster() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return int(rank);
}

// A warpgroup's share of registers from here on: a producer needs few, a consumer all it can have.
template <int REGISTERS>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
