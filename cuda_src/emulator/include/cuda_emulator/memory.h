// Loads and stores with cache hints, and questions about addresses. Hints change no value.
//
// Addresses of shared memory count from the beginning of its window, as on a GPU; global ones are themselves.
#pragma once
#include "sync.h"

#define CUDA_EMU_LOAD(name) \
  template <class T>        \
  CUDA_EMU_INLINE T name(const T* address) { return *address; }
CUDA_EMU_LOAD(__ldg)
CUDA_EMU_LOAD(__ldcg)
CUDA_EMU_LOAD(__ldca)
CUDA_EMU_LOAD(__ldcs)
CUDA_EMU_LOAD(__ldlu)
CUDA_EMU_LOAD(__ldcv)
#undef CUDA_EMU_LOAD
#define CUDA_EMU_STORE(name) \
  template <class T>         \
  CUDA_EMU_INLINE void name(T* address, T value) { *address = value; }
CUDA_EMU_STORE(__stwb)
CUDA_EMU_STORE(__stcg)
CUDA_EMU_STORE(__stcs)
CUDA_EMU_STORE(__stwt)
#undef CUDA_EMU_STORE

CUDA_EMU_INLINE size_t __cvta_generic_to_shared(const void* p) { return cuda_emulator::cuda_emu_shared_address(p); }
CUDA_EMU_INLINE void* __cvta_shared_to_generic(size_t address) {
  return cuda_emulator::cuda_emu_shared_pointer(uint32_t(address));
}
CUDA_EMU_INLINE size_t __cvta_generic_to_global(const void* p) { return size_t(p); }
CUDA_EMU_INLINE void* __cvta_global_to_generic(size_t address) { return reinterpret_cast<void*>(address); }
CUDA_EMU_INLINE unsigned __isShared(const void* p) { return cuda_emulator::cuda_emu_is_shared(p); }
CUDA_EMU_INLINE unsigned __isGlobal(const void* p) { return !cuda_emulator::cuda_emu_is_shared(p); }
