// A launch: its blocks, their threads, and what is known of memory.
#pragma once
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "context.h"
#include "findings.h"

namespace cuda_emulator {

enum class State : uint8_t { READY, SPINNING, AT_BARRIER, AT_NAMED, AT_WARP, AT_MASK, DONE };

// What happened before a point, beyond one's own block's barriers and one's own warp: sparse, since most
// kernels synchronize blocks not at all, and those that do through few atomics.
struct Clock {
  std::unordered_map<uint32_t, uint32_t> phases;   // block -> everything it did in earlier phases
  std::unordered_map<uint32_t, uint32_t> threads;  // thread of the grid -> up to this clock of its own

  bool empty() const { return phases.empty() && threads.empty(); }
  void merge(const Clock& other) {
    for (auto [block, phase] : other.phases) raise(phases[block], phase);
    for (auto [thread, clock] : other.threads) raise(threads[thread], clock);
  }
  static void raise(uint32_t& value, uint32_t to) {
    if (value < to) value = to;
  }
};

struct AsyncCopy {
  void* to;
  const void* from;
  uint32_t size, zero_fill;
  const void* owner;  // null: the thread's own cp.async groups
  uint64_t group;     // counted by the thread for each owner
  uint32_t clock;     // of the thread when it issued the copy
  uintptr_t pc;
};

// An access to shared memory, kept until its warp's are compared for bank conflicts (banks.cpp).
struct BankAccess {
  uint32_t pc, offset;
  uint16_t size;
  bool writes;
};

struct Block;
struct WarpProducts;  // of wgmma (warpgroups.cpp)

// When a thread made what it knew visible to tensor cores; a clock of 0: never.
struct ProxyFence {
  uint32_t clock = 0, phase = 0;
};

struct Thread {
  Context context;
  char* stack = nullptr;
  Block* block = nullptr;
  uint3 index{};
  uint32_t id = 0;    // in the block
  uint32_t gid = 0;   // in the grid: block * threads + id
  State state = State::DONE;
  // The operation it waits in.
  uint32_t mask = 0;
  int kind = 0, predicate = 0, result = 0;
  bool arrived = false;  // at the cluster's barrier, and has not waited yet
  void* argument = nullptr;
  void (*complete)(void**, unsigned) = nullptr;
  uintptr_t pc = 0;
  uint32_t turns = 0;  // atomics and the like since it last waited
  // Happens-before (sanitizer): own clock, and what it knows of the clocks of its warp.
  uint32_t clock = 1;
  uint32_t known[32] = {};
  Clock acquired, fenced;
  ProxyFence proxy_fences[4];  // the last one first
  std::vector<AsyncCopy> copies;
  std::unordered_map<const void*, uint64_t> groups;  // committed so far, by owner
  std::vector<BankAccess> bank_trace;                 // since the block's last barrier

  uint32_t lane() const { return id % 32; }
  uint32_t warp() const { return id / 32; }
};

// Who touched a granule of memory last. Thread numbers are + 1; 0 is nobody.
struct Cell {
  uint32_t writer, w_clock, w_phase, w_pc, w_flags;
  uint32_t reader[2], r_clock[2], r_phase[2], r_pc[2], r_flags[2];
};

// One of the sixteen barriers of a block that bar.sync and bar.arrive name.
struct NamedBarrier {
  uint32_t arrived = 0, expected = 0;
  uintptr_t pc = 0;
  uint32_t first = 0;  // the thread that came first
  Clock clock;         // what all that came had done
};

// A box on its way to shared memory.
struct BulkCopy {
  uint32_t to;
  uintptr_t pc;
  std::vector<char> bytes;
};

// An mbarrier (bulk.cpp): what its phase still waits for.
struct BulkBarrier {
  uint32_t expected = 0, pending = 0;
  int64_t bytes = 0;
  uint64_t phase = 0;
  std::vector<BulkCopy> copies;
  Clock clock, ended;  // what those that came had done, in this phase and before it
  uint32_t maker = 0, made_at = 0, made_in = 0;
};

struct Block {
  uint3 index{};
  uint32_t linear = 0;
  std::vector<Thread> threads;
  uint32_t live = 0, arrived = 0, phase = 1;
  bool at_grid = false, at_cluster = false;
  bool started = false;  // its shared memory has values: its own, or what it begins with
  bool entered = false;  // one of its threads has run
  bool gone = false;     // all of them have ended
  uint32_t rank = 0;     // in its cluster
  std::vector<Block*> cluster;  // its blocks by rank, itself among them; empty without clusters
  std::vector<char> shared;  // its shared memory while another block runs
  std::vector<Cell> cells;   // one a byte of shared memory
  Clock acquired, fenced;
  NamedBarrier named[16];
  uint32_t proxy_phases[2] = {};      // the last phases in which a thread fenced for tensor cores
  std::vector<WarpProducts> products;  // a warp
  std::unordered_map<uint32_t, BulkBarrier> bulk_barriers;  // by their place in shared memory

  Block();
  ~Block();
};

struct Region {  // a tensor
  char* base;
  uint64_t size;
  uint32_t granule, initialized;
  std::vector<Cell> cells;
};

struct Variable {  // in shared memory; `checked` false: the compiler's own, as the guard of a static array
  uint64_t offset, size;
  bool checked;
};

struct Launch {
  dim3 grid, block;
  uint32_t threads = 0, blocks = 0;
  dim3 cluster;  // blocks of a cluster
  void (*entry)(void**) = nullptr;
  void** arguments = nullptr;
  uint64_t seed = 0;
  bool sanitize = false;
  // Shared memory: the library's thread-local block.
  char* shared = nullptr;
  uint64_t shared_bytes = 0;
  uint32_t dynamic_bytes = 0;
  uintptr_t module = 0;  // load address, subtracted from code addresses
};

inline Launch launch;
inline std::vector<Region> regions;
inline std::vector<Variable> variables;
inline Block* block_now = nullptr;
inline Thread* thread_now = nullptr;
inline std::vector<std::pair<char*, char*>> stacks;  // address ranges of all stacks

constexpr size_t STACK_BYTES = 256 * 1024;

[[noreturn]] void stop_launch();  // leaves all threads as they are; the launch returns an error

inline uint64_t place(uintptr_t pc) { return pc ? pc - launch.module : 0; }

// Where threads meet (meeting.cpp) and how one leaves the processor to the others (scheduler.cpp).
extern uint32_t blocks_at_grid;
void leave(State state);
void finish_barrier(Block& block);
void release_barrier(Block& block);
void finish_warp(Block& block, uint32_t warp, uint32_t mask, int kind);
bool answer_masks(Block& block);
void report_deadlock(Block& block);
void meet_warp(unsigned mask, int kind, void* argument, void (*complete)(void**, unsigned), uintptr_t pc);

// Hooks of the sanitizer, all in sanitizer.cpp and happens_before.h.
void on_access(uintptr_t address, uint32_t size, uint32_t flags, uintptr_t pc);
void settle_two_writes();
void on_async_issue(const AsyncCopy& copy);
void on_async_land(const AsyncCopy& copy);
void on_barrier(Block& block);
void on_grid_barrier(const Block& block);
void on_cluster_barrier(Block& block);
void take_turn(uintptr_t pc);
void on_warp_sync(Thread* lanes[32]);
Clock known_now(Thread& self);

// Products of warpgroups (warpgroups.cpp).
void check_products(Block& block);
void forget_products(Block& block);

// Copies that mbarriers count (bulk.cpp).
void check_copies(Block& block);

// Bank conflicts of shared memory (banks.cpp).
inline bool banks_watched = true;  // false while the emulator reads on behalf of an instruction it counts itself
void on_bank_access(Thread& self, uint32_t pc, uint64_t offset, uint32_t size, bool writes);
void count_rows(uint32_t pc, const uint64_t* rows, int count, bool writes);
void count_banks(Block& block);
}  // namespace cuda_emulator
