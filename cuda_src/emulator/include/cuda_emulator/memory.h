// Loads and stores with cache hints, and questions about addresses. Hints change no value.
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
