// mbarriers, and boxes of tensors that the copy engine fetches to shared memory (PTX ISA 9.7.13.15, 9.7.9.27).
//
// A box is read when it is asked for and written to shared memory as late as the model allows: when somebody looks at
// its barrier and no arrival is missing but its bytes. Who reads without waiting reads what was there before. What
// happened before an arrival, or before a box was asked for, happened before what follows a wait of that phase.
#include <algorithm>
#include <cstdio>

#include "state.h"

namespace cuda_emulator {
bool ordered(const Thread& self, uint32_t gid, uint32_t at, uint32_t phase);

namespace {

// What the host makes of a tensor: in place of the 128 opaque bytes of cuTensorMapEncodeTiled, or of
// cuTensorMapEncodeIm2col where there are windows (devices/emulator/child.py packs it).
struct EmulatedMap {
  uint64_t magic, address, strides[4];  // bytes from one element to the next along dimensions 1 ... 4
  uint32_t dims[5];
  uint16_t box[5], rank, element_bytes, swizzle;  // swizzle: its width in bytes, 0 without
  // Of rows and columns of images, columns first: where windows stand, and how far apart. A box is then channels
  // and pixels.
  uint16_t has_windows;
  int16_t lower[3], upper[3];
  uint16_t steps[3];
};
constexpr uint64_t MAP_MAGIC = 0x70616d726f736e74ull;

[[noreturn]] void misuse(const char* what, uintptr_t pc) {
  Finding* f = report(TRAP, place(pc));
  f->thread = thread_now->gid;
  std::snprintf(f->text, sizeof f->text, "%s", what);
  stop_launch();
}

// An address in the cluster's window: whose shared memory, and where in it.
struct Place {
  Block* block;
  uint32_t offset;
  char* at() const { return (block == thread_now->block ? launch.shared : block->shared.data()) + offset; }
};
Place place_of(uint32_t address, uintptr_t pc) {
  Block& own = *thread_now->block;
  const uint32_t rank = (address >> 24) - 1;
  if (rank >= own.cluster.size()) return {&own, address};
  Block& other = *own.cluster[rank];
  if (&other != &own && (!other.entered || other.gone)) {
    misuse(other.gone ? "a barrier of a block of the cluster that has ended"
                      : "a barrier of a block of the cluster that may not have begun: sync first", pc);
  }
  return {&other, address & 0xffffff};
}

BulkBarrier& barrier_at(const Place& where, uintptr_t pc) {
  auto found = where.block->bulk_barriers.find(where.offset);
  if (found == where.block->bulk_barriers.end()) misuse("an mbarrier is used that nobody has initialized", pc);
  BulkBarrier& barrier = found->second;
  if (launch.sanitize && !ordered(*thread_now, barrier.maker, barrier.made_at, barrier.made_in)) {
    misuse("an mbarrier is used that another thread has just initialized: sync first", pc);
  }
  return barrier;
}

// From here on it is a write of the thread that asked for it, which those know who waited.
void settle(const Block& block, const BulkCopy& copy) {
  Block& to = const_cast<Block&>(block);
  for (uint64_t b = copy.to; b < copy.to + copy.bytes.size() && b < launch.shared_bytes; ++b) {
    Cell& cell = to.cells[b];
    if ((cell.w_flags & ASYNC) && cell.w_pc == uint32_t(place(copy.pc))) cell.w_flags = WRITE | PROXY;
  }
}

// The bytes that were asked for arrive where all other arrivals of the phase are there.
void land_due(const Place& where, BulkBarrier& barrier) {
  if (barrier.pending) return;
  for (const BulkCopy& copy : barrier.copies) {
    const Place to{where.block, copy.to};
    if (copy.to + copy.bytes.size() <= launch.shared_bytes) {
      std::memcpy(to.at(), copy.bytes.data(), copy.bytes.size());
      if (launch.sanitize) settle(*where.block, copy);
    }
    barrier.bytes -= int64_t(copy.bytes.size());
    ++cuda_emu_changes;
  }
  barrier.copies.clear();
  if (barrier.bytes) return;
  barrier.ended.merge(barrier.clock);
  barrier.clock = Clock{};
  barrier.pending = barrier.expected;
  ++barrier.phase;
  ++cuda_emu_changes;
}

// What a copy brings, as it will lie in shared memory: a box, or with `offsets` the pixels under one tap of windows.
// What is outside of the tensor is zero.
struct Box {
  const EmulatedMap& map;
  uint32_t to;
  const int* start;
  const int* offsets;
  uintptr_t pc;
  std::vector<char> bytes;
  uint32_t row_bytes, rows = 1;

  Box(const EmulatedMap& given, uint32_t target, const int* first, const int* tap, uintptr_t caller)
      : map(given), to(target), start(first), offsets(tap), pc(caller), row_bytes(given.box[0] * given.element_bytes) {
    for (int d = 1; d < (map.has_windows ? 2 : map.rank); ++d) rows *= map.box[d];
    bytes.assign(size_t(rows) * row_bytes, 0);
  }

  void read() {
    if (map.has_windows)
      read_windows();
    else
      read_box();
  }

  void read_box() {
    for (uint32_t row = 0; row < rows; ++row) {
      int64_t at[5];
      uint32_t rest = row;
      for (int d = 1; d < map.rank; ++d) {
        at[d] = int64_t(start[d]) + rest % map.box[d];
        rest /= map.box[d];
      }
      read_row(row, at);
    }
  }

  // From window to window: along a row of them, then to the next row, then to the next image (PTX ISA 5.5.4).
  void read_windows() {
    const int spatial = map.rank - 2;
    int64_t window[5];
    for (int d = 1; d < map.rank; ++d) window[d] = start[d];
    for (uint32_t row = 0; row < rows; ++row) {
      int64_t at[5];
      for (int d = 1; d < map.rank; ++d) at[d] = window[d] + (d <= spatial ? offsets[d - 1] : 0);
      read_row(row, at);
      int d = 1;
      for (; d <= spatial; ++d) {
        window[d] += map.steps[d - 1];
        if (window[d] <= int64_t(map.dims[d]) - 1 + map.upper[d - 1]) break;
        window[d] = map.lower[d - 1];
      }
      if (d > spatial) ++window[d];
    }
  }

  // `at`: of a row's elements along dimensions 1 and up.
  void read_row(uint32_t row, const int64_t (&at)[5]) {
    uintptr_t from = map.address;
    for (int d = 1; d < map.rank; ++d) {
      if (at[d] < 0 || at[d] >= map.dims[d]) return;
      from += uint64_t(at[d]) * map.strides[d - 1];
    }
    const int64_t begin = std::max<int64_t>(start[0], 0);
    const int64_t end = std::min<int64_t>(int64_t(start[0]) + map.box[0], map.dims[0]);
    if (begin >= end) return;
    const uint32_t skipped = uint32_t(begin - start[0]) * map.element_bytes;
    const uint32_t held = uint32_t(end - begin) * map.element_bytes;
    from += uint64_t(begin) * map.element_bytes;
    if (launch.sanitize) on_access(from, held, READ, pc);
    for (uint32_t i = 0; i < held; ++i) {
      bytes[place_in_box(row * row_bytes + skipped + i)] = reinterpret_cast<const char*>(from)[i];
    }
  }

  // A swizzle exchanges the 16-byte pieces of 128 bytes by the address in shared memory.
  uint32_t place_in_box(uint32_t offset) const {
    const uint32_t at = to + offset, mask = map.swizzle ? map.swizzle / 16u - 1 : 0;
    return (at ^ ((at >> 7 & mask) << 4)) - to;
  }
};

const EmulatedMap& map_at(const void* pointer, const int* start, int rank, const int* offsets, uintptr_t pc) {
  const EmulatedMap& map = *static_cast<const EmulatedMap*>(pointer);
  if (map.magic != MAP_MAGIC) misuse("what a copy is given is no tensor map", pc);
  if (map.rank != rank) misuse("a copy has another number of coordinates than its tensor map has dimensions", pc);
  if (map.has_windows != (offsets != nullptr)) misuse("a copy of boxes by a map of windows, or the other way round", pc);
  for (int d = 1; offsets && d <= rank - 2; ++d) {
    const int64_t last = int64_t(map.dims[d]) - 1 + map.upper[d - 1];
    if (start[d] < map.lower[d - 1] || start[d] > last) misuse("a copy begins where no window may stand", pc);
    if (offsets[d - 1] < 0 || offsets[d - 1] >= 1 << (rank == 3 ? 16 : rank == 4 ? 8 : 5)) {
      misuse("a tap lies further from its window than the copy engine counts", pc);
    }
  }
  return map;
}
}  // namespace

// At a block's end: copies into its memory that nobody waited for.
void check_copies(Block& block) {
  for (const auto& each : block.bulk_barriers) {
    if (each.second.copies.empty()) continue;
    Finding* f = report(NOT_WAITED_FOR, place(each.second.copies.front().pc));
    f->thread = block.threads.front().gid;
    std::strcpy(f->text, "the kernel ends before a copy to its shared memory");
    return;
  }
}

extern "C" {
void cuda_emu_mbarrier_init(uint32_t address, uint32_t arrivals) {
  const uintptr_t pc = uintptr_t(__builtin_return_address(0));
  const Place where = place_of(address, pc);
  if (address % 8) misuse("an mbarrier lies at a multiple of 8 bytes", pc);
  if (!arrivals) misuse("an mbarrier expects one arrival at least", pc);
  Thread& self = *thread_now;
  if (launch.sanitize) on_access(uintptr_t(where.at()), 8, WRITE, pc);
  BulkBarrier& barrier = where.block->bulk_barriers[where.offset];
  barrier = BulkBarrier{};
  barrier.expected = barrier.pending = arrivals;
  barrier.maker = self.gid, barrier.made_at = self.clock, barrier.made_in = self.block->phase;
  ++cuda_emu_changes;
}

void cuda_emu_mbarrier_arrive(uint32_t address, uint32_t count, uint32_t bytes) {
  const uintptr_t pc = uintptr_t(__builtin_return_address(0));
  const Place where = place_of(address, pc);
  BulkBarrier& barrier = barrier_at(where, pc);
  land_due(where, barrier);
  if (barrier.pending < count) misuse("more arrivals at an mbarrier than its phase expects", pc);
  if (launch.sanitize) barrier.clock.merge(known_now(*thread_now));
  barrier.bytes += bytes;
  barrier.pending -= count;
  if (!barrier.pending && !barrier.bytes && barrier.copies.empty()) land_due(where, barrier);
  ++cuda_emu_changes;
}

int cuda_emu_mbarrier_wait(uint32_t address, uint32_t parity) {
  const uintptr_t pc = uintptr_t(__builtin_return_address(0));
  const Place where = place_of(address, pc);
  BulkBarrier& barrier = barrier_at(where, pc);
  land_due(where, barrier);
  if ((barrier.phase & 1) != (parity & 1)) {
    if (launch.sanitize) thread_now->acquired.merge(barrier.ended);
    return 1;
  }
  thread_now->pc = pc;
  thread_now->turns = 0;
  leave(State::SPINNING);
  return 0;
}

// To the same place of the blocks of the cluster that `ranks` has a bit for; a negative one: of this block.
// `offsets`: of a tap in windows, columns first; null: a box.
void cuda_emu_bulk_tensor(uint32_t to, const void* map, const int* start, int rank, const int* offsets, uint32_t barrier,
                          int ranks) {
  const uintptr_t pc = uintptr_t(__builtin_return_address(0));
  Thread& self = *thread_now;
  const Place target = place_of(to, pc), counted = place_of(barrier, pc);
  const EmulatedMap& tensor = map_at(map, start, rank, offsets, pc);
  if (target.offset % 128) misuse("a box goes to a multiple of 128 bytes of shared memory", pc);
  Box box(tensor, target.offset, start, offsets, pc);
  box.read();
  const bool several = ranks >= 0 && !self.block->cluster.empty();
  for (uint32_t r = 0; r < (several ? self.block->cluster.size() : 1); ++r) {
    if (several && !(ranks >> r & 1)) continue;
    const Place there{several ? self.block->cluster[r] : target.block, target.offset};
    const Place its{there.block, counted.offset};
    BulkBarrier& each = barrier_at(its, pc);
    if (launch.sanitize) {
      for (uint32_t at = 0; at < box.bytes.size(); at += 128) {
        on_access(uintptr_t(there.at()) + at, uint32_t(std::min<size_t>(128, box.bytes.size() - at)), WRITE | ASYNC, pc);
      }
      each.clock.merge(known_now(self));
    }
    each.copies.push_back({target.offset, pc, box.bytes});
  }
  ++cuda_emu_changes;
}
}
}  // namespace cuda_emulator
