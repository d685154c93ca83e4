// Where threads meet: barriers, warp operations, and what is said when somebody does not come.
#include <algorithm>
#include <cstdio>

#include "state.h"

namespace cuda_emulator {

uint32_t blocks_at_grid = 0;
extern "C" {
uint64_t cuda_emu_changes = 0;
}

namespace {
void check_barrier(Block& block) {
  Thread* first = nullptr;
  for (Thread& t : block.threads) {
    if (t.state != State::AT_BARRIER) continue;
    if (!first) first = &t;
    if (t.pc == first->pc && t.kind == first->kind) continue;
    Finding* f = report(BARRIER_DIVERGENCE, place(first->pc), place(t.pc));
    f->thread = first->gid;
    f->thread2 = t.gid;
    break;
  }
  if (!first || block.live == launch.threads) return;
  Finding* f = report(BARRIER_DIVERGENCE, place(first->pc));
  f->thread = first->gid;
  f->extra = block.live;
  f->extra2 = launch.threads;
  for (Thread& t : block.threads) {
    if (t.state == State::DONE) f->thread2 = t.gid;
  }
}

// Bits of an address within one block's part of the cluster's window.
constexpr int CLUSTER_WINDOW = 24;

[[noreturn]] void misuse_cluster(const char* what, uintptr_t pc) {
  Finding* f = report(TRAP, place(pc));
  f->thread = thread_now->gid;
  std::snprintf(f->text, sizeof f->text, "cluster: %s", what);
  stop_launch();
}

}  // namespace

void release_barrier(Block& block) {
  int count = 0;
  for (Thread& t : block.threads) count += t.state == State::AT_BARRIER && t.predicate != 0;
  for (Thread& t : block.threads) {
    if (t.state != State::AT_BARRIER) continue;
    const int all = count == int(block.arrived), any = count > 0;
    t.result = t.kind == BARRIER_AND ? all : t.kind == BARRIER_OR ? any : count;
    t.state = State::READY;
  }
  block.arrived = 0;
}

void finish_barrier(Block& block) {
  int kind = BARRIER_PLAIN;
  for (Thread& t : block.threads) {
    if (t.state == State::AT_BARRIER) kind = t.kind;
  }
  if (launch.sanitize) check_barrier(block);
  on_barrier(block);
  if (kind == BARRIER_GRID) {
    block.at_grid = true;
    ++blocks_at_grid;
  } else if (kind == BARRIER_CLUSTER && !block.cluster.empty()) {
    block.at_cluster = true;
  } else {
    release_barrier(block);
  }
}

// Completes the operation if every running lane of the mask waits in it.
void finish_warp(Block& block, uint32_t warp, uint32_t mask, int kind) {
  Thread* lanes[32] = {};
  void* arguments[32] = {};
  uint32_t present = 0;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t id = warp * 32 + lane;
    if (!(mask >> lane & 1) || id >= launch.threads) continue;
    Thread& t = block.threads[id];
    if (t.state == State::DONE) continue;
    if (t.state != State::AT_WARP || t.mask != mask || t.kind != kind) return;
    lanes[lane] = &t;
    arguments[lane] = t.argument;
    present |= 1u << lane;
  }
  if (!present) return;
  Thread& any = *lanes[__builtin_ctz(present)];
  if (any.complete) any.complete(arguments, present);
  if (launch.sanitize && kind == WARP_SYNC) on_warp_sync(lanes);
  if (launch.sanitize && kind >= WARP_MMA && present != ~0u) {
    Finding* f = report(WARP_DIVERGENCE, place(any.pc));
    f->thread = any.gid;
    f->extra = present;
  }
  for (Thread* t : lanes) {
    if (t) t->state = State::READY;
  }
}

// Lanes that asked who is active, where no other lane of their warp can go on: those of one call together.
bool answer_masks(Block& block) {
  bool answered = false;
  for (uint32_t start = 0; start < launch.threads; start += 32) {
    const uint32_t end = std::min(start + 32, launch.threads);
    Thread* asker = nullptr;
    bool busy = false;
    for (uint32_t id = start; id < end; ++id) {
      Thread& t = block.threads[id];
      busy |= t.state == State::READY || t.state == State::SPINNING;
      if (t.state == State::AT_MASK && !asker) asker = &t;
    }
    if (busy || !asker) continue;
    uint32_t mask = 0;
    for (uint32_t id = start; id < end; ++id) {
      Thread& t = block.threads[id];
      if (t.state == State::AT_MASK && t.pc == asker->pc) mask |= 1u << t.lane();
    }
    for (uint32_t id = start; id < end; ++id) {
      Thread& t = block.threads[id];
      if (!(mask >> t.lane() & 1)) continue;
      t.result = int(mask);
      t.state = State::READY;
    }
    answered = true;
  }
  return answered;
}

void report_deadlock(Block& block) {
  Thread* first = nullptr;
  for (Thread& t : block.threads) {
    // A lane in a warp operation names the defect better than those that wait for it at a barrier.
    const bool waits = t.state == State::AT_WARP || t.state == State::AT_BARRIER || t.state == State::AT_NAMED ||
                       t.state == State::SPINNING;
    if (waits && (!first || (t.state == State::AT_WARP && first->state != State::AT_WARP))) first = &t;
  }
  if (!first) return;
  Thread* other = nullptr;
  for (Thread& t : block.threads) {
    const bool expected = first->state != State::AT_WARP ||
                          (t.warp() == first->warp() && (first->mask >> t.lane() & 1));
    if (expected && (t.state != first->state || t.mask != first->mask || t.kind != first->kind)) {
      if (&t != first && t.state != State::DONE) other = &t;
    }
  }
  const FindingKind kind = first->state == State::AT_WARP ? WARP_DIVERGENCE : DEADLOCK;
  Finding* f = report(kind, place(first->pc), other ? place(other->pc) : 0);
  f->thread = first->gid;
  f->thread2 = other ? other->gid : NOBODY;
  f->extra = first->state == State::AT_WARP ? first->mask : 0;
  f->extra2 = 1;  // nobody can go on
}

void meet_warp(unsigned mask, int kind, void* argument, void (*complete)(void**, unsigned), uintptr_t pc) {
  Thread& self = *thread_now;
  self.mask = mask;
  self.kind = kind;
  self.argument = argument;
  self.complete = complete;
  self.pc = pc;
  self.turns = 0;
  if (!(mask >> self.lane() & 1)) {  // undefined in CUDA: the caller is not in its own mask
    Finding* f = report(WARP_DIVERGENCE, place(self.pc));
    f->thread = self.gid;
    f->extra = mask;
    f->extra2 = 2;
    self.mask = mask | 1u << self.lane();
  }
  self.state = State::AT_WARP;
  finish_warp(*self.block, self.warp(), self.mask, kind);
  if (self.state == State::AT_WARP) leave(State::AT_WARP);
}

extern "C" {
int cuda_emu_barrier(int kind, int predicate) {
  Thread& self = *thread_now;
  Block& block = *self.block;
  self.kind = kind;
  self.predicate = predicate;
  self.pc = uintptr_t(__builtin_return_address(0));
  self.state = State::AT_BARRIER;
  self.turns = 0;
  if (++block.arrived == block.live) finish_barrier(block);
  if (self.state == State::AT_BARRIER) leave(State::AT_BARRIER);
  return self.result;
}

void cuda_emu_warp(unsigned mask, int kind, void* argument, void (*complete)(void**, unsigned)) {
  meet_warp(mask, kind, argument, complete, uintptr_t(__builtin_return_address(0)));
}

void cuda_emu_absent_lane(unsigned mask, unsigned source) {
  if (!launch.sanitize) return;
  Finding* f = report(WARP_DIVERGENCE, place(uintptr_t(__builtin_return_address(0))));
  f->thread = thread_now->gid;
  f->extra = mask;
  f->extra2 = 3;
  f->offset = source;
}

unsigned cuda_emu_lane(void) { return thread_now->lane(); }

unsigned cuda_emu_active_mask(void) {
  Thread& self = *thread_now;
  self.pc = uintptr_t(__builtin_return_address(0));
  leave(State::AT_MASK);
  return unsigned(self.result);
}

// bar.sync (waits) and bar.arrive (does not) of a barrier by number; PTX ISA, "bar, barrier". Everything before
// an arrival of any thread happens before what follows the waiting of another.
void cuda_emu_named_barrier(unsigned number, unsigned threads, int waits) {
  Thread& self = *thread_now;
  Block& block = *self.block;
  self.pc = uintptr_t(__builtin_return_address(0));
  self.turns = 0;
  NamedBarrier& barrier = block.named[number % 16];
  const char* wrong = number > 15 ? "barriers of a block are numbered 0 to 15"
                      : threads % 32 || !threads ? "the number of threads at a barrier is a multiple of 32" : nullptr;
  if (!wrong && barrier.arrived && barrier.expected != threads) {
    wrong = "threads name different numbers of threads for one barrier";
  }
  if (wrong) {
    Finding* f = report(BARRIER_DIVERGENCE, place(self.pc));
    f->thread = self.gid;
    std::strncpy(f->text, wrong, sizeof f->text - 1);
    stop_launch();
  }
  if (!barrier.arrived) barrier.first = self.id, barrier.pc = self.pc, barrier.expected = threads;
  if (launch.sanitize) barrier.clock.merge(known_now(self));
  self.mask = number;
  self.kind = BARRIER_PLAIN;
  if (waits) self.state = State::AT_NAMED;
  if (++barrier.arrived == barrier.expected) {
    for (Thread& t : block.threads) {
      if (t.state != State::AT_NAMED || t.mask != number) continue;
      if (launch.sanitize) t.acquired.merge(barrier.clock);
      t.state = State::READY;
    }
    barrier = NamedBarrier{};
  }
  if (self.state == State::AT_NAMED) leave(State::AT_NAMED);
}

unsigned cuda_emu_cluster_size(int axis) {
  const dim3 size = launch.cluster;
  return axis == 0 ? size.x : axis == 1 ? size.y : size.z;
}

unsigned cuda_emu_cluster_place(int axis) {
  const uint3 at = thread_now->block->index;
  return (axis == 0 ? at.x : axis == 1 ? at.y : at.z) % cuda_emu_cluster_size(axis);
}

void* cuda_emu_map_shared(const void* pointer, unsigned rank) {
  Block& block = *thread_now->block;
  const uint64_t offset = uintptr_t(pointer) - uintptr_t(launch.shared);
  const unsigned count = block.cluster.empty() ? 1 : unsigned(block.cluster.size());
  const uintptr_t caller = uintptr_t(__builtin_return_address(0));
  if (rank >= count) misuse_cluster("there is no block of this rank", caller);
  if (offset >= launch.shared_bytes) misuse_cluster("the address is none of the block's shared memory", caller);
  if (rank == block.rank) return launch.shared + offset;
  return block.cluster[rank]->shared.data() + offset;
}

unsigned cuda_emu_cluster_rank(const void* pointer) {
  const Block& block = *thread_now->block;
  for (const Block* other : block.cluster) {
    if (other != &block && uintptr_t(pointer) - uintptr_t(other->shared.data()) < launch.shared_bytes) return other->rank;
  }
  return block.cluster.empty() ? 0 : block.rank;
}

void* cuda_emu_cluster_pointer(uint32_t address) {
  const uint32_t rank = (address >> CLUSTER_WINDOW) - 1;
  const Block& block = *thread_now->block;
  const uint32_t offset = address & ((1u << CLUSTER_WINDOW) - 1);
  // What is in no block's window is a stray access of the block's own.
  if (rank >= block.cluster.size()) return launch.shared + address;
  return (rank == block.rank ? launch.shared : block.cluster[rank]->shared.data()) + offset;
}

uint32_t cuda_emu_cluster_address(const void* pointer) {
  const Block& block = *thread_now->block;
  const unsigned rank = cuda_emu_cluster_rank(pointer);
  const bool own = block.cluster.empty() || rank == block.rank;
  if (own) return uint32_t(static_cast<const char*>(pointer) - launch.shared);
  const auto offset = uint32_t(static_cast<const char*>(pointer) - block.cluster[rank]->shared.data());
  return (rank + 1) << CLUSTER_WINDOW | offset;
}

void cuda_emu_cluster_arrive(void) {
  Thread& self = *thread_now;
  if (self.arrived) misuse_cluster("arrives twice and never waits", uintptr_t(__builtin_return_address(0)));
  self.arrived = true;
}

void cuda_emu_cluster_wait(void) {
  Thread& self = *thread_now;
  if (!self.arrived) misuse_cluster("waits and has not arrived", uintptr_t(__builtin_return_address(0)));
  self.arrived = false;
  cuda_emu_barrier(BARRIER_CLUSTER, 0);
}

void cuda_emu_spin(void) {
  thread_now->pc = uintptr_t(__builtin_return_address(0));
  thread_now->turns = 0;
  leave(State::SPINNING);
}

void cuda_emu_trap(void) {
  Finding* f = report(TRAP, place(uintptr_t(__builtin_return_address(0))));
  f->thread = thread_now->gid;
  stop_launch();
}

// What assert() calls, in place of the C library's: the kernel stops, the process does not.
void __assert_fail(const char* expression, const char*, unsigned, const char*) noexcept {
  Finding* f = report(TRAP, place(uintptr_t(__builtin_return_address(0))));
  f->thread = thread_now->gid;
  std::strncpy(f->text, expression, sizeof f->text - 1);
  stop_launch();
}

// A clock that moves with every reading, the same in every run.
unsigned long long cuda_emu_clock(void) {
  static unsigned long long ticks = 0;
  return ticks += 8;
}
}

}  // namespace cuda_emulator
