// Atomic functions (CUDA C++ Programming Guide, "Atomic Functions"). Threads are switched only where they wait,
// so a plain read and write is atomic; the runtime is told first, which is what the race detector goes by.
#pragma once
#include "math.h"
#include "sync.h"
#include "vectors.h"

namespace cuda_emulator {
template <class T, class Op>
CUDA_EMU_UNCHECKED T exchange_with(T* address, Op op) {
  const T old = *address, next = op(old);
  *address = next;
  cuda_emu_changes += __builtin_memcmp(&old, &next, sizeof(T)) != 0;
  return old;
}
}  // namespace cuda_emulator

#define CUDA_EMU_ATOMIC(name, T, expression)                                                  \
  CUDA_EMU_INLINE T name(T* address, T value) {                                               \
    cuda_emulator::cuda_emu_atomic(address, sizeof(T), 1);                                    \
    return cuda_emulator::exchange_with(address, [value](T old) -> T { return expression; }); \
  }                                                                                           \
  CUDA_EMU_INLINE T name##_block(T* address, T value) { return name(address, value); }        \
  CUDA_EMU_INLINE T name##_system(T* address, T value) { return name(address, value); }
#define CUDA_EMU_ATOMIC_32(name, expression) \
  CUDA_EMU_ATOMIC(name, int, expression)     \
  CUDA_EMU_ATOMIC(name, unsigned, expression)
#define CUDA_EMU_ATOMIC_INTEGERS(name, expression) \
  CUDA_EMU_ATOMIC_32(name, expression)             \
  CUDA_EMU_ATOMIC(name, unsigned long long, expression)

CUDA_EMU_ATOMIC_INTEGERS(atomicAdd, old + value)
CUDA_EMU_ATOMIC(atomicAdd, float, old + value)
CUDA_EMU_ATOMIC(atomicAdd, double, old + value)
CUDA_EMU_ATOMIC_32(atomicSub, old - value)
CUDA_EMU_ATOMIC_INTEGERS(atomicExch, ((void)old, value))
CUDA_EMU_ATOMIC(atomicExch, float, ((void)old, value))
CUDA_EMU_ATOMIC_INTEGERS(atomicMin, old < value ? old : value)
CUDA_EMU_ATOMIC(atomicMin, long long, old < value ? old : value)
CUDA_EMU_ATOMIC_INTEGERS(atomicMax, old > value ? old : value)
CUDA_EMU_ATOMIC(atomicMax, long long, old > value ? old : value)
CUDA_EMU_ATOMIC_INTEGERS(atomicAnd, old& value)
CUDA_EMU_ATOMIC_INTEGERS(atomicOr, old | value)
CUDA_EMU_ATOMIC_INTEGERS(atomicXor, old ^ value)
// Counters that wrap at a bound: Programming Guide, atomicInc() and atomicDec().
CUDA_EMU_ATOMIC(atomicInc, unsigned, old >= value ? 0u : old + 1)
CUDA_EMU_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)

#define CUDA_EMU_CAS(T)                                                                              \
  CUDA_EMU_INLINE T atomicCAS(T* address, T compare, T value) {                                      \
    cuda_emulator::cuda_emu_atomic(address, sizeof(T), 1);                                           \
    return cuda_emulator::exchange_with(address,                                                     \
                                        [=](T old) -> T { return old == compare ? value : old; });   \
  }                                                                                                  \
  CUDA_EMU_INLINE T atomicCAS_block(T* address, T compare, T value) { return atomicCAS(address, compare, value); } \
  CUDA_EMU_INLINE T atomicCAS_system(T* address, T compare, T value) { return atomicCAS(address, compare, value); }
CUDA_EMU_CAS(int)
CUDA_EMU_CAS(unsigned)
CUDA_EMU_CAS(unsigned long long)
CUDA_EMU_CAS(unsigned short)
#undef CUDA_EMU_CAS

// Two and four floats at once (compute capability 9.0); each element is atomic by itself.
#define CUDA_EMU_ATOMIC_VECTOR(V, N, expression)                                                     \
  CUDA_EMU_INLINE V atomicAdd(V* address, V value) {                                                 \
    for (int i = 0; i < N; ++i) cuda_emulator::cuda_emu_atomic((float*)address + i, sizeof(float), 1); \
    return cuda_emulator::exchange_with(address, [value](V old) -> V { return expression; });        \
  }
CUDA_EMU_ATOMIC_VECTOR(float2, 2, (float2{old.x + value.x, old.y + value.y}))
CUDA_EMU_ATOMIC_VECTOR(float4, 4, (float4{old.x + value.x, old.y + value.y, old.z + value.z, old.w + value.w}))
#undef CUDA_EMU_ATOMIC_VECTOR
