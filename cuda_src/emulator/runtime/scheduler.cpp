// Runs a grid: a fiber a thread, one block after the other; a block that only waits for others steps aside.
//
// Threads are switched where they wait (barrier, warp operation) and never elsewhere, so a run is a function
// of the kernel, its inputs and the seed. A block that makes no progress but by spinning on memory (a stream-K
// fix-up, a grid barrier) is put away with its shared memory and the next one starts; it continues later.
#include <sys/mman.h>

#include <algorithm>

#include "state.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_emulator {
namespace {

Context scheduler;
std::vector<char*> free_stacks;
std::vector<std::unique_ptr<Block>> free_blocks;
std::vector<uint32_t> order;
uint64_t random_state = 0;
bool stopped = false;
uint32_t blocks_at_grid = 0;

constexpr uint32_t TURNS = 64;            // atomics in a row before another thread gets its turn
constexpr uint32_t MAX_RESIDENT = 2048;   // blocks that wait for others at once
constexpr uint64_t MAX_IDLE_ROUNDS = 200'000;

uint64_t next_random() {  // xorshift64*, Vigna 2016
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return random_state * 2685821657736338717ull;
}

void allocate_stacks(uint32_t count) {
  const size_t bytes = size_t(count) * STACK_BYTES;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  char* base = static_cast<char*>(memory);
  stacks.emplace_back(base, base + bytes);
  for (uint32_t i = 0; i < count; ++i) {
    mprotect(base + i * STACK_BYTES, 4096, PROT_NONE);  // an overflow is a fault, not a neighbour's variable
    free_stacks.push_back(base + i * STACK_BYTES);
  }
}

void leave(State state) {
  settle_two_writes();
  thread_now->state = state;
  Thread* self = thread_now;
  self->context.switch_to(scheduler);
}

void finish_barrier(Block& block);
void finish_warp(Block& block, uint32_t warp, uint32_t mask, int kind);

void thread_main() {
  launch.entry(launch.arguments);
  Thread& self = *thread_now;
  Block& block = *self.block;
  self.state = State::DONE;
  --block.live;
  // Those that wait for all running threads wait for one less.
  if (block.live && block.arrived == block.live) finish_barrier(block);
  for (uint32_t lane = 0; lane < 32 && self.warp() * 32 + lane < launch.threads; ++lane) {
    Thread& mate = block.threads[self.warp() * 32 + lane];
    if (mate.state == State::AT_WARP) finish_warp(block, self.warp(), mate.mask, mate.kind);
  }
  leave(State::DONE);
  __builtin_unreachable();
}

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
  if (launch.sanitize && kind == WARP_MMA && present != ~0u) {
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
    const bool waits = t.state == State::AT_WARP || t.state == State::AT_BARRIER || t.state == State::SPINNING;
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

std::unique_ptr<Block> make_block(uint32_t linear) {
  std::unique_ptr<Block> block;
  if (free_blocks.empty()) {
    block = std::make_unique<Block>();
    block->threads.resize(launch.threads);
  } else {
    block = std::move(free_blocks.back());
    free_blocks.pop_back();
  }
  block->linear = linear;
  block->index = uint3{linear % gridDim.x, linear / gridDim.x % gridDim.y, linear / gridDim.x / gridDim.y};
  block->live = launch.threads;
  block->arrived = 0;
  block->phase = 1;
  block->at_grid = block->started = false;
  block->acquired = block->fenced = Clock{};
  block->shared.clear();
  if (launch.sanitize) block->cells.assign(launch.shared_bytes, Cell{});
  if (free_stacks.size() < launch.threads) allocate_stacks(launch.threads);
  if (free_stacks.size() < launch.threads) return nullptr;
  for (uint32_t id = 0; id < launch.threads; ++id) {
    Thread& t = block->threads[id];
    t.block = block.get();
    t.id = id;
    t.gid = linear * launch.threads + id;
    t.index = uint3{id % blockDim.x, id / blockDim.x % blockDim.y, id / blockDim.x / blockDim.y};
    t.state = State::READY;
    t.turns = 0;
    t.clock = 1;
    std::fill(std::begin(t.known), std::end(t.known), 0);
    t.acquired = t.fenced = Clock{};
    t.copies.clear();
    t.groups.clear();
    t.stack = free_stacks.back();
    free_stacks.pop_back();
    t.context.prepare(t.stack, STACK_BYTES, thread_main);
  }
  return block;
}

void retire(std::unique_ptr<Block> block) {
  if (block_now == block.get()) block_now = nullptr;
  for (Thread& t : block->threads) free_stacks.push_back(t.stack);
  free_blocks.push_back(std::move(block));
}

// Brings a block's shared memory in place of the last one's; what was never written is all bits set: NaN.
void enter(Block& block) {
  if (block_now && block_now != &block && block_now->live && launch.shared_bytes) {
    block_now->shared.assign(launch.shared, launch.shared + launch.shared_bytes);
  }
  if (launch.shared_bytes && block_now != &block) {
    if (block.started) {
      std::memcpy(launch.shared, block.shared.data(), launch.shared_bytes);
    } else {
      std::memset(launch.shared, 0xff, launch.shared_bytes);
    }
  }
  block.started = true;
  block_now = &block;
  blockIdx = block.index;
}

enum class Outcome { FINISHED, STALLED, PROGRESSED, STUCK };

// Runs a block until it is finished, only spins, or cannot go on.
Outcome run(Block& block) {
  enter(block);
  bool any = false;
  while (block.live) {
    bool progress = false, spins = false;
    if (launch.seed) {
      for (uint32_t i = launch.threads; i > 1; --i) std::swap(order[i - 1], order[next_random() % i]);
    }
    for (uint32_t id : order) {
      Thread& t = block.threads[id];
      if (t.state != State::READY && t.state != State::SPINNING) continue;
      threadIdx = t.index;
      thread_now = &t;
      scheduler.switch_to(t.context);
      if (stopped) return Outcome::STUCK;
      progress |= t.state != State::SPINNING;
      spins |= t.state == State::SPINNING;
    }
    progress |= answer_masks(block);
    any |= progress;
    if (progress) continue;
    if (spins || block.at_grid) return any ? Outcome::PROGRESSED : Outcome::STALLED;
    if (block.live) {
      report_deadlock(block);
      return Outcome::STUCK;
    }
  }
  return Outcome::FINISHED;
}

}  // namespace

void stop_launch() {
  stopped = true;
  leave(State::DONE);
  __builtin_unreachable();
}

// Status of a launch: 0 all threads finished; 1 stopped or stuck, with a finding; 2 no memory for stacks.
int run_grid() {
  order.resize(launch.threads);
  for (uint32_t i = 0; i < launch.threads; ++i) order[i] = i;
  random_state = launch.seed * 0x9e3779b97f4a7c15ull | 1;
  stopped = false;
  blocks_at_grid = 0;
  block_now = nullptr;
  free_blocks.clear();
  free_stacks.clear();  // a launch that was stopped has not given its own back
  for (auto [low, high] : stacks) {
    for (char* base = low; base < high; base += STACK_BYTES) free_stacks.push_back(base);
  }
  if (launch.shared_bytes) std::memset(launch.shared, 0xff, launch.shared_bytes);
  std::vector<std::unique_ptr<Block>> resident;
  uint32_t next = 0;
  uint64_t idle = 0;
  while (next < launch.blocks || !resident.empty()) {
    bool progress = false;
    for (size_t i = 0; i < resident.size();) {
      const Outcome outcome = run(*resident[i]);
      if (outcome == Outcome::STUCK) return 1;
      progress |= outcome != Outcome::STALLED;
      if (outcome == Outcome::FINISHED) {
        retire(std::move(resident[i]));
        resident.erase(resident.begin() + long(i));
      } else {
        ++i;
      }
    }
    if (!resident.empty() && blocks_at_grid == launch.blocks) {
      for (auto& block : resident) {
        on_grid_barrier(*block);
        release_barrier(*block);
        block->at_grid = false;
      }
      blocks_at_grid = 0;
      progress = true;
    }
    idle = progress ? 0 : idle + 1;
    if (next < launch.blocks && (!progress || resident.empty()) && resident.size() < MAX_RESIDENT) {
      resident.push_back(make_block(next++));
      if (!resident.back()) return 2;
      idle = 0;
    } else if (idle > MAX_IDLE_ROUNDS || (idle && resident.size() >= MAX_RESIDENT)) {
      report_deadlock(*resident.front());
      return 1;
    }
  }
  return 0;
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
  Thread& self = *thread_now;
  self.mask = mask;
  self.kind = kind;
  self.argument = argument;
  self.complete = complete;
  self.pc = uintptr_t(__builtin_return_address(0));
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

unsigned cuda_emu_lane(void) { return thread_now->lane(); }

unsigned cuda_emu_active_mask(void) {
  Thread& self = *thread_now;
  self.pc = uintptr_t(__builtin_return_address(0));
  leave(State::AT_MASK);
  return unsigned(self.result);
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

// A clock that moves with every reading, the same in every run.
unsigned long long cuda_emu_clock(void) {
  static unsigned long long ticks = 0;
  return ticks += 8;
}
}

// A thread that keeps doing what a spinning thread does lets the others have a turn now and then.
void take_turn(uintptr_t pc) {
  if (++thread_now->turns < TURNS) return;
  thread_now->turns = 0;
  thread_now->pc = pc;
  leave(State::SPINNING);
}
}  // namespace cuda_emulator
