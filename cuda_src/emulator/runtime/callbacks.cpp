// What the compiler inserts into a sanitized kernel calls these, in place of its own sanitizer runtimes.
//
// -fsanitize=thread announces each memory access; -fsanitize=alignment and bounds call when a pointer does not
// have the alignment of its type, or an index lies outside an array's type.
#include "state.h"

#define EXPORT extern "C" __attribute__((visibility("hidden")))
#define PC uintptr_t(__builtin_return_address(0))

namespace cuda_emulator {
void on_atomic(uintptr_t address, bool writes);
bool is_tensor(uintptr_t address);

namespace {
// Volatile accesses to global memory are how a flag is waited for (PTX ISA: volatile is treated as relaxed),
// so they act as atomics; in shared memory they are the old way to leave __syncwarp out, so they do not.
void volatile_access(void* address, uint32_t size, uint32_t flags, uintptr_t pc) {
  if (!thread_now) return;
  take_turn(pc);  // before: what it acquires has to be what it reads
  const bool global = is_tensor(uintptr_t(address));
  if (global) on_atomic(uintptr_t(address), flags & WRITE);
  on_access(uintptr_t(address), size, global ? flags | ATOMIC : flags, pc);
}

// Layouts of GCC's undefined behaviour sanitizer (libsanitizer/ubsan/ubsan_handlers.h in GCC's sources).
struct SourceLocation {
  const char* file;
  uint32_t line, column;
};
struct TypeDescriptor {
  uint16_t kind, info;
  char name[1];
};
struct MismatchData {
  SourceLocation at;
  const TypeDescriptor* type;
  unsigned char log_alignment, check;
};
struct BoundsData {
  SourceLocation at;
  const TypeDescriptor *array, *index;
};

Finding* report_at(FindingKind kind, uintptr_t pc, const SourceLocation& at, const TypeDescriptor* type) {
  Finding* f = report(kind, place(pc), 0, at.line, at.column);
  std::strncpy(f->file, at.file ? at.file : "", sizeof f->file - 1);
  std::strncpy(f->text, type->name, sizeof f->text - 1);
  f->thread = thread_now ? thread_now->gid : NOBODY;
  return f;
}
}  // namespace
}  // namespace cuda_emulator

using namespace cuda_emulator;

#define ACCESSES(N)                                                                                         \
  EXPORT void __tsan_read##N(void* a) { on_access(uintptr_t(a), N, READ, PC); }                             \
  EXPORT void __tsan_write##N(void* a) { on_access(uintptr_t(a), N, WRITE, PC); }                           \
  EXPORT void __tsan_unaligned_read##N(void* a) { on_access(uintptr_t(a), N, READ, PC); }                   \
  EXPORT void __tsan_unaligned_write##N(void* a) { on_access(uintptr_t(a), N, WRITE, PC); }                 \
  EXPORT void __tsan_volatile_read##N(void* a) { volatile_access(a, N, READ, PC); }                         \
  EXPORT void __tsan_volatile_write##N(void* a) { volatile_access(a, N, WRITE, PC); }                       \
  EXPORT void __tsan_unaligned_volatile_read##N(void* a) { volatile_access(a, N, READ, PC); }               \
  EXPORT void __tsan_unaligned_volatile_write##N(void* a) { volatile_access(a, N, WRITE, PC); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

EXPORT void __tsan_init() {}
EXPORT void __tsan_func_entry(void*) {}
EXPORT void __tsan_func_exit() {}
EXPORT void __tsan_read_range(void* a, size_t n) { on_access(uintptr_t(a), uint32_t(n), READ, PC); }
EXPORT void __tsan_write_range(void* a, size_t n) { on_access(uintptr_t(a), uint32_t(n), WRITE, PC); }
EXPORT void __tsan_vptr_update(void**, void*) {}
EXPORT void __tsan_vptr_read(void**) {}

// memcpy and memset of a kernel: calls that the compiler did not turn into accesses. The builder renames them.
EXPORT void* cuda_emu_memcpy(void* to, const void* from, size_t n) {
  on_access(uintptr_t(from), uint32_t(n), READ, PC);
  on_access(uintptr_t(to), uint32_t(n), WRITE, PC);
  return std::memcpy(to, from, n);
}
EXPORT void* cuda_emu_memmove(void* to, const void* from, size_t n) {
  on_access(uintptr_t(from), uint32_t(n), READ, PC);
  on_access(uintptr_t(to), uint32_t(n), WRITE, PC);
  return std::memmove(to, from, n);
}
EXPORT void* cuda_emu_memset(void* to, int value, size_t n) {
  on_access(uintptr_t(to), uint32_t(n), WRITE, PC);
  return std::memset(to, value, n);
}

EXPORT void __ubsan_handle_type_mismatch_v1(const MismatchData* data, uintptr_t address) {
  const uint64_t alignment = uint64_t(1) << data->log_alignment;
  if (address == 0 || address % alignment == 0) return;  // a null pointer is found when it is used
  Finding* f = report_at(MISALIGNED, PC, data->at, data->type);
  f->address = address;
  f->extra = uint32_t(alignment);
}
EXPORT void __ubsan_handle_out_of_bounds(const BoundsData* data, uintptr_t index) {
  Finding* f = report_at(OUT_OF_BOUNDS_LOCAL, PC, data->at, data->array);
  f->offset = int64_t(index);
}

namespace cuda_emulator {
extern "C" void cuda_emu_atomic(const void* address, unsigned size, int writes) {
  const uintptr_t pc = PC;
  take_turn(pc);  // before: what it acquires has to be what it reads
  if (launch.sanitize) {
    const uintptr_t at = uintptr_t(address);
    if (at % size) {
      Finding* f = report(MISALIGNED, place(pc));
      f->address = at;
      f->extra = size;
      f->thread = thread_now->gid;
      std::strcpy(f->text, "an atomic operation");
    }
    on_atomic(at, writes);
    on_access(at, size, writes ? WRITE | ATOMIC | (writes == 2 ? BLIND : 0) : ATOMIC, pc);
  }
}

extern "C" void cuda_emu_matrix(const void* first, unsigned alignment, size_t leading_bytes, unsigned leading_alignment) {
  const uintptr_t at = uintptr_t(first);
  const bool aligned = at % alignment == 0;
  if (!launch.sanitize || (aligned && leading_bytes % leading_alignment == 0)) return;
  Finding* f = report(MISALIGNED, place(PC));
  f->address = aligned ? leading_bytes : at;
  f->extra = aligned ? leading_alignment : alignment;
  f->thread = thread_now->gid;
  std::strcpy(f->text, aligned ? "rows of a wmma matrix" : "a wmma matrix");
}
}  // namespace cuda_emulator
