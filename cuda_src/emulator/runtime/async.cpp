// Asynchronous copies land when they are waited for: a kernel that reads too early reads what was there before.
#include <algorithm>

#include "state.h"

namespace cuda_emulator {
namespace {

void land(const AsyncCopy& copy) {
  const uint32_t bytes = copy.size - copy.zero_fill;
  std::memcpy(copy.to, copy.from, bytes);
  std::memset(static_cast<char*>(copy.to) + bytes, 0, copy.zero_fill);
  if (launch.sanitize) on_async_land(copy);
}

// Lands all copies of a thread that `which` picks, in the order issued.
template <class Which>
void land_if(Thread& thread, Which which) {
  Thread* self = thread_now;
  thread_now = &thread;  // the write belongs to the thread that issued the copy
  auto kept = thread.copies.begin();
  for (AsyncCopy& copy : thread.copies) {
    if (which(copy)) {
      land(copy);
    } else {
      *kept++ = copy;
    }
  }
  thread.copies.erase(kept, thread.copies.end());
  thread_now = self;
}
}  // namespace

extern "C" {
void cuda_emu_async_copy(void* to, const void* from, unsigned size, unsigned zero_fill, const void* owner) {
  Thread& self = *thread_now;
  AsyncCopy copy{to, from, size, std::min(size, zero_fill), owner, self.groups[owner],
                 self.clock, uintptr_t(__builtin_return_address(0))};
  // cp.async moves 4, 8 or 16 bytes between addresses aligned to that (PTX ISA, cp.async).
  const bool power = size == 4 || size == 8 || size == 16;
  if (launch.sanitize && (!power || (uintptr_t(to) | uintptr_t(from)) % size)) {
    Finding* f = report(MISALIGNED, place(copy.pc));
    f->address = uintptr_t(to) % size ? uintptr_t(to) : uintptr_t(from);
    f->extra = size;
    f->thread = self.gid;
    std::strcpy(f->text, "an asynchronous copy");
  }
  if (uintptr_t(to) - uintptr_t(launch.shared) >= launch.shared_bytes) {  // only shared memory is a target
    if (launch.sanitize) on_access(uintptr_t(from), size - copy.zero_fill, READ, copy.pc);
    if (launch.sanitize) on_access(uintptr_t(to), size, WRITE, copy.pc);
    return land(copy);
  }
  if (launch.sanitize) on_async_issue(copy);
  self.copies.push_back(copy);
}

void cuda_emu_async_commit(const void* owner) { ++thread_now->groups[owner]; }

void cuda_emu_async_wait(unsigned groups_left) {
  Thread& self = *thread_now;
  const uint64_t committed = self.groups[nullptr];
  const uint64_t before = committed > groups_left ? committed - groups_left : 0;
  land_if(self, [&](const AsyncCopy& copy) { return !copy.owner && copy.group < before; });
}

// Of every thread of the block: group `group` of a pipeline or barrier object has arrived.
void cuda_emu_async_complete(const void* owner, unsigned long long group) {
  for (Thread& t : thread_now->block->threads) {
    if (t.copies.empty()) continue;
    land_if(t, [&](const AsyncCopy& copy) { return copy.owner == owner && copy.group <= group; });
  }
}
}
}  // namespace cuda_emulator
