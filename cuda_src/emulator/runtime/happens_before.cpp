// Which accesses are ordered: barriers of a block, __syncwarp of a warp, fences with atomics between blocks.
//
// Within a block everything before a barrier is ordered before everything after it, so a phase number is
// enough; within a phase a warp has vector clocks of 32 entries that __syncwarp joins. Shuffles and votes
// order nothing (CUDA C++ Programming Guide, "Warp Shuffle Functions": they imply no memory barrier).
// Beyond that: a thread that fences and then writes an atomic releases what it knew at the fence, also on
// behalf of the threads whose fences it saw at a barrier; whoever reads that atomic acquires it.
#include "state.h"

namespace cuda_emulator {
namespace {

struct Synchronizer {
  Clock clock;
  uint64_t version = 0;
};

// Atomics by address; in shared memory the address means another object in every block.
struct ObjectKey {
  uintptr_t address;
  uint32_t block;
  bool operator==(const ObjectKey& other) const { return address == other.address && block == other.block; }
};
struct ObjectHash {
  size_t operator()(const ObjectKey& key) const { return key.address * 0x9e3779b97f4a7c15ull ^ key.block; }
};
std::unordered_map<ObjectKey, Synchronizer, ObjectHash> synchronizers;
std::unordered_map<uint64_t, uint64_t> seen;  // thread and object -> version acquired
Clock everywhere;                             // known to all since the last grid barrier
uint64_t versions = 0;

bool is_shared(uintptr_t address) {
  return address >= uintptr_t(launch.shared) && address < uintptr_t(launch.shared) + launch.shared_bytes;
}

ObjectKey key_of(const void* object) {
  const auto address = uintptr_t(object);
  return {address, is_shared(address) ? thread_now->block->linear : NOBODY};
}

void release_to(Synchronizer& object, const Clock& clock) {
  object.clock.merge(clock);
  object.version = ++versions;
}

void acquire_from(const ObjectKey& key, Synchronizer& object, Thread& self) {
  // A spinning thread reads the same release over and over.
  uint64_t& last = seen[uint64_t(self.gid) << 32 ^ ObjectHash{}(key)];
  if (last == object.version) return;
  last = object.version;
  self.acquired.merge(object.clock);
}

bool covers(const Clock& clock, uint32_t block, uint32_t gid, uint32_t at, uint32_t phase) {
  if (clock.empty()) return false;
  auto whole = clock.phases.find(block);
  if (whole != clock.phases.end() && phase < whole->second) return true;
  auto one = clock.threads.find(gid);
  return one != clock.threads.end() && at <= one->second;
}

}  // namespace

// All that happened before this point of the thread, itself included.
Clock known_now(Thread& self) {
  Clock clock;
  clock.merge(self.acquired);
  clock.merge(self.block->acquired);
  Clock::raise(clock.phases[self.block->linear], self.block->phase);
  const uint32_t first = self.gid - self.lane();
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (self.known[lane]) Clock::raise(clock.threads[first + lane], self.known[lane]);
  }
  Clock::raise(clock.threads[self.gid], self.clock);
  ++self.clock;  // what comes next is after the release
  return clock;
}

// Whether an access by thread `gid` at its clock `at` in its block's `phase` happened before now of `self`.
bool ordered(const Thread& self, uint32_t gid, uint32_t at, uint32_t phase) {
  if (gid == self.gid) return true;
  const uint32_t block = gid / launch.threads;
  if (block == self.block->linear) {
    if (phase < self.block->phase) return true;
    const uint32_t id = gid - block * launch.threads;
    if (id / 32 == self.warp() && self.known[id % 32] >= at) return true;
  }
  return covers(self.acquired, block, gid, at, phase) || covers(self.block->acquired, block, gid, at, phase) ||
         covers(everywhere, block, gid, at, phase);
}

void on_warp_sync(Thread* lanes[32]) {
  uint32_t joined[32] = {};
  for (int lane = 0; lane < 32; ++lane) {
    if (!lanes[lane]) continue;
    for (int i = 0; i < 32; ++i) Clock::raise(joined[i], lanes[lane]->known[i]);
    Clock::raise(joined[lane], lanes[lane]->clock);
  }
  Clock acquired, fenced;
  for (int lane = 0; lane < 32; ++lane) {
    if (!lanes[lane]) continue;
    acquired.merge(lanes[lane]->acquired);
    fenced.merge(lanes[lane]->fenced);
  }
  for (int lane = 0; lane < 32; ++lane) {
    if (!lanes[lane]) continue;
    std::memcpy(lanes[lane]->known, joined, sizeof joined);
    ++lanes[lane]->clock;
    if (!acquired.empty()) lanes[lane]->acquired = acquired;
    if (!fenced.empty()) lanes[lane]->fenced = fenced;
  }
}

void on_barrier(Block& block) {
  if (!launch.sanitize) return;
  for (Thread& t : block.threads) {
    if (t.state != State::AT_BARRIER) continue;
    if (!t.acquired.empty()) {
      block.acquired.merge(t.acquired);
      t.acquired = Clock{};
    }
    if (!t.fenced.empty()) {
      block.fenced.merge(t.fenced);
      t.fenced = Clock{};
    }
  }
  ++block.phase;
  count_banks(block);
}

// All blocks have come: what this one did in the phases before is before whatever follows anywhere.
void on_grid_barrier(const Block& block) {
  if (launch.sanitize) everywhere.phases[block.linear] = block.phase;
}

// All blocks of its cluster have come: what they did before is before what follows in this one.
void on_cluster_barrier(Block& block) {
  if (!launch.sanitize) return;
  for (const Block* other : block.cluster) Clock::raise(block.acquired.phases[other->linear], other->phase);
}

void forget_order() {
  synchronizers.clear();
  seen.clear();
  everywhere = Clock{};
  versions = 0;
}

// An atomic access: acquires what was released to this address, and releases what was fenced before.
void on_atomic(uintptr_t address, bool writes) {
  Thread& self = *thread_now;
  const ObjectKey key = key_of(reinterpret_cast<const void*>(address));
  auto found = synchronizers.find(key);
  if (found != synchronizers.end()) acquire_from(key, found->second, self);
  if (!writes || (self.fenced.empty() && self.block->fenced.empty())) return;
  Synchronizer& object = synchronizers[key];
  if (!self.fenced.empty()) release_to(object, self.fenced);
  if (!self.block->fenced.empty()) release_to(object, self.block->fenced);
}

extern "C" {
void cuda_emu_fence(int) {
  if (launch.sanitize) {
    Thread& self = *thread_now;
    self.fenced = known_now(self);
  }
  take_turn(uintptr_t(__builtin_return_address(0)));
}

void cuda_emu_release(const void* object) {
  if (launch.sanitize) release_to(synchronizers[key_of(object)], known_now(*thread_now));
}

void cuda_emu_acquire(const void* object) {
  if (!launch.sanitize) return;
  const ObjectKey key = key_of(object);
  auto found = synchronizers.find(key);
  if (found != synchronizers.end()) acquire_from(key, found->second, *thread_now);
}
}
}  // namespace cuda_emulator
