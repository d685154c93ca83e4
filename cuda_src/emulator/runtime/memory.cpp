// What an access touches, and whether it may: tensors, shared variables, races, values never written.
#include "state.h"

namespace cuda_emulator {

bool ordered(const Thread& self, uint32_t gid, uint32_t at, uint32_t phase);
void on_atomic(uintptr_t address, bool writes);

namespace {

// A stray access within this distance of a tensor is let through: the child maps so much around each.
constexpr uint64_t GUARD = uint64_t(32) << 20;

struct Access {
  uintptr_t address;
  uint32_t size, flags;
  uint32_t pc;
};

void describe(Finding* f, const Access& access, int32_t object, int64_t offset) {
  f->address = access.address;
  f->size = access.size;
  f->access = access.flags;
  f->object = object;
  f->offset = offset;
  f->thread = thread_now->gid;
}

void report_race(FindingKind kind, const Access& access, int32_t object, int64_t offset, uint32_t other,
                 uint32_t other_pc, uint32_t other_flags) {
  Finding* f = report(kind, access.pc, other_pc);
  describe(f, access, object, offset);
  f->thread2 = other;
  f->access2 = other_flags;
}

// Two writes of one value race, but change nothing: compute-sanitizer's racecheck holds them for information
// only. What is written is known when the thread comes back, so a race of two writes waits until then.
struct {
  bool pending = false;
  Access access;
  FindingKind kind;
  int32_t object;
  int64_t offset;
  uint32_t other, other_pc, other_flags;
  unsigned char before[16];
} two_writes;

void suspect(FindingKind kind, const Access& access, int32_t object, int64_t offset, const Cell& cell) {
  two_writes.pending = true;
  two_writes.access = access;
  two_writes.kind = kind;
  two_writes.object = object;
  two_writes.offset = offset;
  two_writes.other = cell.writer - 1;
  two_writes.other_pc = cell.w_pc;
  two_writes.other_flags = cell.w_flags;
  std::memcpy(two_writes.before, reinterpret_cast<void*>(access.address), access.size);
}

void remember_reader(Cell& cell, const Access& access, const Thread& self) {
  // Two readers are kept, of different warps where there are such: a later writer can be ordered after the
  // readers of its own warp by __syncwarp, after those of another only by what would order it after all.
  const uint32_t who = self.gid + 1;
  int slot = -1;
  for (int i = 0; i < 2 && slot < 0; ++i) {
    if (cell.reader[i] == who || cell.reader[i] == 0) slot = i;
  }
  for (int i = 0; i < 2 && slot < 0; ++i) {
    if (ordered(self, cell.reader[i] - 1, cell.r_clock[i], cell.r_phase[i])) slot = i;
  }
  if (slot < 0) {
    const uint32_t first = (cell.reader[0] - 1) / 32, second = (cell.reader[1] - 1) / 32;
    if (first != second || self.gid / 32 == first) return;
    slot = 1;
  }
  cell.reader[slot] = who;
  cell.r_clock[slot] = self.clock;
  cell.r_phase[slot] = self.block->phase;
  cell.r_pc[slot] = access.pc;
  cell.r_flags[slot] = access.flags;
}

// One granule. `race` and `never` are the kinds to report. Gives false once something was found: an access is
// reported once, and its remaining granules, with `clean` false, are only recorded.
bool touch(Cell& cell, const Access& access, bool initialized, FindingKind race, FindingKind never,
           int32_t object, int64_t offset, bool clean) {
  const Thread& self = *thread_now;
  const bool writes = access.flags & WRITE, atomic = access.flags & ATOMIC;
  if (cell.writer && clean) {
    const uint32_t other = cell.writer - 1;
    const bool both_atomic = atomic && (cell.w_flags & ATOMIC);
    const bool pending = cell.w_flags & ASYNC;
    if (pending || (!both_atomic && !ordered(self, other, cell.w_clock, cell.w_phase))) {
      const bool values_tell = access.flags == WRITE && !pending && access.size <= sizeof two_writes.before;
      if (values_tell) {
        suspect(race, access, object, offset, cell);
      } else {
        report_race(race, access, object, offset, other, cell.w_pc, cell.w_flags);
      }
      clean = false;
    }
  } else if (!cell.writer && clean && !initialized && (!writes || (atomic && !(access.flags & BLIND)))) {
    describe(report(never, access.pc), access, object, offset);
    clean = false;
  }
  if (!writes) {
    remember_reader(cell, access, self);
    return clean;
  }
  for (int i = 0; i < 2; ++i) {
    if (!cell.reader[i] || !clean) continue;
    const bool both_atomic = atomic && (cell.r_flags[i] & ATOMIC);
    if (!both_atomic && !ordered(self, cell.reader[i] - 1, cell.r_clock[i], cell.r_phase[i])) {
      report_race(race, access, object, offset, cell.reader[i] - 1, cell.r_pc[i], cell.r_flags[i]);
      clean = false;
    }
  }
  cell.reader[0] = cell.reader[1] = 0;
  cell.writer = self.gid + 1;
  cell.w_clock = self.clock;
  cell.w_phase = self.block->phase;
  cell.w_pc = access.pc;
  cell.w_flags = access.flags;
  return clean;
}

// In the shared memory of a block, `base` on: the thread's own, or that of another of its cluster.
void on_shared(const Access& access, Block& block, const char* base) {
  const uint64_t offset = access.address - uintptr_t(base);
  int32_t nearest = -1;
  int64_t distance = 0;
  for (size_t i = 0; i < variables.size(); ++i) {
    const Variable& v = variables[i];
    const int64_t from = int64_t(offset) - int64_t(v.offset);
    const int64_t past = from + access.size - int64_t(v.size);
    if (from >= 0 && past <= 0) {
      if (!v.checked) return;
      if (banks_watched && !(access.flags & ATOMIC) && &block == thread_now->block) {
        on_bank_access(*thread_now, access.pc, offset, access.size, access.flags & WRITE);
      }
      Cell* cells = block.cells.data() + offset;
      bool clean = true;
      for (uint32_t b = 0; b < access.size; ++b) {
        clean = touch(cells[b], access, false, RACE_SHARED, UNINITIALIZED_SHARED, int32_t(i), from + b, clean);
      }
      return;
    }
    if (!v.checked) continue;
    const int64_t outside = from < 0 ? -from : past;
    // An array runs over at its end far more often than before its beginning.
    if (nearest < 0 || outside < distance || (outside == distance && from >= 0)) {
      nearest = int32_t(i);
      distance = outside;
    }
  }
  const int64_t from = nearest < 0 ? 0 : int64_t(offset) - int64_t(variables[size_t(nearest)].offset);
  describe(report(OUT_OF_BOUNDS_SHARED, access.pc), access, nearest, from);
}

// Whether it is in the shared memory of another block of the cluster, which has to be there: its threads have
// begun (a barrier of the cluster says so) and have not ended.
bool on_cluster(const Access& access) {
  for (Block* other : thread_now->block->cluster) {
    if (access.address - uintptr_t(other->shared.data()) >= launch.shared_bytes) continue;
    if (other->entered && !other->gone) {
      on_shared(access, *other, other->shared.data());
      return true;
    }
    Finding* f = report(OUT_OF_BOUNDS_SHARED, access.pc);
    describe(f, access, -1, 0);
    std::strncpy(f->text, other->gone ? "shared memory of a block of the cluster that has ended"
                                      : "shared memory of a block of the cluster that may not have begun: sync first",
                 sizeof f->text - 1);
    return true;
  }
  return false;
}

bool on_tensor(size_t index, const Access& access) {
  Region& region = regions[index];
  const int64_t offset = int64_t(access.address) - int64_t(uintptr_t(region.base));
  if (offset < 0 || uint64_t(offset) + access.size > region.size) return false;
  const uint64_t last = (uint64_t(offset) + access.size - 1) / region.granule;
  bool clean = true;
  for (uint64_t g = uint64_t(offset) / region.granule; g <= last; ++g) {
    clean = touch(region.cells[g], access, region.initialized, RACE_GLOBAL, UNINITIALIZED_GLOBAL, int32_t(index),
                  int64_t(g * region.granule), clean);
  }
  return true;
}

void on_stray(const Access& access) {
  int32_t nearest = -1;
  uint64_t distance = ~uint64_t(0);
  int64_t offset = 0;
  for (size_t i = 0; i < regions.size(); ++i) {
    const int64_t from = int64_t(access.address) - int64_t(uintptr_t(regions[i].base));
    const int64_t past = from + access.size - int64_t(regions[i].size);
    const uint64_t outside = from < 0 ? uint64_t(-from) : past > 0 ? uint64_t(past) : 0;
    if (outside >= distance) continue;
    nearest = int32_t(i);
    distance = outside;
    offset = from;
  }
  // Farther than the memory mapped around a tensor, the access would fault, or hit what is none of its own.
  const bool wild = distance > GUARD;
  describe(report(OUT_OF_BOUNDS_GLOBAL, access.pc), access, wild ? -1 : nearest, wild ? 0 : offset);
  if (wild) stop_launch();
}

bool on_a_stack(uintptr_t address) {
  const auto own = uintptr_t(thread_now->stack);
  if (address - own < STACK_BYTES) return true;
  for (auto [low, high] : stacks) {
    if (address >= uintptr_t(low) && address < uintptr_t(high)) return true;
  }
  return false;
}

extern "C" __attribute__((visibility("hidden"))) char __ehdr_start, _end;

bool in_own_data(uintptr_t address) {
  return address >= uintptr_t(&__ehdr_start) && address < uintptr_t(&_end);
}

}  // namespace

void settle_two_writes() {
  if (!two_writes.pending) return;
  two_writes.pending = false;
  const Access& access = two_writes.access;
  if (std::memcmp(two_writes.before, reinterpret_cast<void*>(access.address), access.size) == 0) return;
  report_race(two_writes.kind, access, two_writes.object, two_writes.offset, two_writes.other, two_writes.other_pc,
              two_writes.other_flags);
}

void on_access(uintptr_t address, uint32_t size, uint32_t flags, uintptr_t pc) {
  // Instrumented code also runs where there is no thread: the entry's wrapper.
  if (!thread_now || !size) return;
  settle_two_writes();
  const Access access{address, size, flags, uint32_t(place(pc))};
  if (address - uintptr_t(launch.shared) < launch.shared_bytes) {
    return on_shared(access, *thread_now->block, launch.shared);
  }
  if (!thread_now->block->cluster.empty() && on_cluster(access)) return;
  if (on_a_stack(address)) return;
  static size_t last = 0;
  if (last < regions.size() && on_tensor(last, access)) return;
  for (size_t i = 0; i < regions.size(); ++i) {
    if (i != last && on_tensor(i, access)) {
      last = i;
      return;
    }
  }
  if (in_own_data(address)) return;  // __device__ and __constant__ variables
  on_stray(access);
}

bool is_tensor(uintptr_t address) {
  for (const Region& r : regions) {
    if (address - uintptr_t(r.base) < r.size) return true;
  }
  return false;
}

// An asynchronous copy reads its source when issued; its target is in flux until somebody waits for it.
void on_async_issue(const AsyncCopy& copy) {
  const uint32_t bytes = copy.size - copy.zero_fill;
  if (bytes) on_access(uintptr_t(copy.from), bytes, READ, copy.pc);
  on_access(uintptr_t(copy.to), copy.size, WRITE | ASYNC, copy.pc);
}

// Waited for: from here on it is a write of the thread that issued it. Of its own groups the thread knows only
// now; what belongs to a pipeline or barrier is released by the commit or arrival that followed the issue.
void on_async_land(const AsyncCopy& copy) {
  const uint64_t offset = uintptr_t(copy.to) - uintptr_t(launch.shared);
  if (offset >= launch.shared_bytes) return;
  Thread& self = *thread_now;
  for (uint64_t b = offset; b < offset + copy.size && b < launch.shared_bytes; ++b) {
    Cell& cell = self.block->cells[b];
    if (!(cell.w_flags & ASYNC) || cell.w_pc != uint32_t(place(copy.pc))) continue;
    cell.writer = self.gid + 1;
    cell.w_clock = copy.owner ? copy.clock : self.clock;
    cell.w_phase = self.block->phase;
    cell.w_flags = WRITE;
  }
}
}  // namespace cuda_emulator
