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
std::vector<std::unique_ptr<Block>> free_blocks, departed;  // departed: of clusters
std::vector<uint32_t> order;
uint64_t random_state = 0;
bool stopped = false;

constexpr uint32_t TURNS = 64;            // atomics in a row before another thread gets its turn
constexpr uint32_t MAX_RESIDENT = 2048;   // blocks that wait for others at once
constexpr uint64_t MAX_IDLE_ROUNDS = 1000;   // of TURNS atomics a thread that change nothing

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
  block->at_grid = block->at_cluster = block->started = block->entered = block->gone = false;
  block->cluster.clear();
  block->acquired = block->fenced = Clock{};
  for (NamedBarrier& barrier : block->named) barrier = NamedBarrier{};
  block->proxy_phases[0] = block->proxy_phases[1] = 0;
  forget_products(*block);
  block->bulk_barriers.clear();
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
    t.arrived = false;
    t.turns = 0;
    t.clock = 1;
    std::fill(std::begin(t.known), std::end(t.known), 0);
    t.acquired = t.fenced = Clock{};
    std::fill(std::begin(t.proxy_fences), std::end(t.proxy_fences), ProxyFence{});
    t.copies.clear();
    t.groups.clear();
    t.bank_trace.clear();
    t.stack = free_stacks.back();
    free_stacks.pop_back();
    t.context.prepare(t.stack, STACK_BYTES, thread_main);
  }
  return block;
}

void retire(std::unique_ptr<Block> block) {
  if (block_now == block.get()) block_now = nullptr;
  if (launch.sanitize) count_banks(*block);
  if (launch.sanitize) check_products(*block);
  if (launch.sanitize) check_copies(*block);
  block->gone = true;
  if (!block->cluster.empty()) {  // others may still look at its memory: it is kept until all have ended
    for (Thread& t : block->threads) free_stacks.push_back(t.stack);
    departed.push_back(std::move(block));
    return;
  }
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
  block.started = block.entered = true;
  block_now = &block;
  blockIdx = block.index;
}

enum class Outcome { FINISHED, STALLED, PROGRESSED, STUCK };

// Runs a block until it is finished, only spins, or cannot go on.
Outcome run(Block& block) {
  enter(block);
  bool any = false;
  while (block.live) {
    bool spins = false;
    const uint64_t changes = cuda_emu_changes;
    bool progress = false;
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
    // A counter that is counted up is work, however often; a flag that is read again is not.
    progress |= cuda_emu_changes != changes;
    progress |= answer_masks(block);
    any |= progress;
    if (progress) continue;
    if (spins || block.at_grid || block.at_cluster) return any ? Outcome::PROGRESSED : Outcome::STALLED;
    if (block.live) {
      report_deadlock(block);
      return Outcome::STUCK;
    }
  }
  return Outcome::FINISHED;
}

// The blocks of the cluster that comes next, one where there are no clusters; false where memory is short.
bool make_cluster(uint32_t number, std::vector<std::unique_ptr<Block>>& resident) {
  const dim3 size = launch.cluster;
  const uint32_t count = size.x * size.y * size.z, along_x = gridDim.x / size.x, along_y = gridDim.y / size.y;
  const uint3 first{number % along_x * size.x, number / along_x % along_y * size.y,
                    number / along_x / along_y * size.z};
  std::vector<Block*> members;
  for (uint32_t rank = 0; rank < count; ++rank) {
    const uint32_t x = first.x + rank % size.x, y = first.y + rank / size.x % size.y;
    const uint32_t z = first.z + rank / size.x / size.y;
    resident.push_back(make_block((z * gridDim.y + y) * gridDim.x + x));
    if (!resident.back()) return false;
    members.push_back(resident.back().get());
  }
  for (uint32_t rank = 0; count > 1 && rank < count; ++rank) {
    Block& block = *members[rank];
    block.rank = rank;
    block.cluster = members;
    block.shared.assign(launch.shared_bytes, char(0xff));  // stays where it is: others point at it
    block.started = true;
  }
  return true;
}

// Lets those clusters go on whose blocks have all come to their barrier, or ended.
bool release_clusters(std::vector<std::unique_ptr<Block>>& resident) {
  bool released = false;
  for (auto& block : resident) {
    if (!block->at_cluster) continue;
    bool all = true;
    for (const Block* other : block->cluster) all &= other->gone || other->at_cluster;
    if (!all) continue;
    for (Block* other : block->cluster) {
      if (!other->gone) on_cluster_barrier(*other);
    }
    for (Block* other : block->cluster) {
      if (!other->gone) release_barrier(*other);
      other->at_cluster = false;
    }
    released = true;
  }
  return released;
}

}  // namespace

void leave(State state) {
  settle_two_writes();
  thread_now->state = state;
  Thread* self = thread_now;
  self->context.switch_to(scheduler);
}

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
  departed.clear();
  free_stacks.clear();  // a launch that was stopped has not given its own back
  for (auto [low, high] : stacks) {
    for (char* base = low; base < high; base += STACK_BYTES) free_stacks.push_back(base);
  }
  if (launch.shared_bytes) std::memset(launch.shared, 0xff, launch.shared_bytes);
  std::vector<std::unique_ptr<Block>> resident;
  uint32_t next = 0;
  uint64_t idle = 0;
  const uint32_t clusters = launch.blocks / (launch.cluster.x * launch.cluster.y * launch.cluster.z);
  while (next < clusters || !resident.empty()) {
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
    progress |= release_clusters(resident);
    idle = progress ? 0 : idle + 1;
    if (next < clusters && (!progress || resident.empty()) && resident.size() < MAX_RESIDENT) {
      if (!make_cluster(next++, resident)) return 2;
      idle = 0;
    } else if (idle > MAX_IDLE_ROUNDS || (idle && resident.size() >= MAX_RESIDENT)) {
      report_deadlock(*resident.front());
      return 1;
    }
  }
  return 0;
}

// A thread that keeps doing what a spinning thread does lets the others have a turn now and then.
void take_turn(uintptr_t pc) {
  if (++thread_now->turns < TURNS) return;
  thread_now->turns = 0;
  thread_now->pc = pc;
  leave(State::SPINNING);
}
}  // namespace cuda_emulator
