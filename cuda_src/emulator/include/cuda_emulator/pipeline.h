// cp.async through the primitives of cuda_pipeline.h: copies of 4, 8 or 16 bytes into shared memory.
#pragma once
#include "sync.h"

CUDA_EMU_INLINE void __pipeline_memcpy_async(void* to, const void* from, size_t size, size_t zero_fill = 0) {
  cuda_emulator::cuda_emu_async_copy(to, from, unsigned(size), unsigned(zero_fill), nullptr);
}
CUDA_EMU_INLINE void __pipeline_commit() { cuda_emulator::cuda_emu_async_commit(nullptr); }
CUDA_EMU_INLINE void __pipeline_wait_prior(size_t groups_left) {
  cuda_emulator::cuda_emu_async_wait(unsigned(groups_left));
}

namespace cuda_emulator {
// A copy of any size by one thread: in the largest steps that both addresses and the size allow.
CUDA_EMU_INLINE void async_bytes(void* to, const void* from, size_t size, const void* owner) {
  const uintptr_t bits = uintptr_t(to) | uintptr_t(from) | size;
  if (bits % 4) {  // too fine for cp.async: an ordinary copy
    for (size_t i = 0; i < size; ++i) static_cast<char*>(to)[i] = static_cast<const char*>(from)[i];
    return;
  }
  const unsigned step = bits % 16 == 0 ? 16 : bits % 8 == 0 ? 8 : 4;
  for (size_t i = 0; i < size; i += step) {
    cuda_emu_async_copy(static_cast<char*>(to) + i, static_cast<const char*>(from) + i, step, 0, owner);
  }
}
// The share of one member of a group, chunk by chunk in turn as the members come.
CUDA_EMU_INLINE void async_share(unsigned rank, unsigned members, void* to, const void* from, size_t size,
                                 const void* owner) {
  const uintptr_t bits = uintptr_t(to) | uintptr_t(from) | size;
  const unsigned step = bits % 16 == 0 ? 16 : bits % 8 == 0 ? 8 : bits % 4 == 0 ? 4 : 1;
  for (size_t i = size_t(rank) * step; i < size; i += size_t(members) * step) {
    async_bytes(static_cast<char*>(to) + i, static_cast<const char*>(from) + i, step, owner);
  }
}
}  // namespace cuda_emulator
