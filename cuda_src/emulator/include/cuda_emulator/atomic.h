// cuda::atomic and cuda::atomic_ref (libcu++, "Extended API: Synchronization Primitives").
//
// A release is a fence before the write, as in PTX; a read of an atomic acquires at once, whatever order it asks for.
#pragma once
#include "atomics.h"
#include "scopes.h"

namespace cuda {

enum memory_order {
  memory_order_relaxed, memory_order_consume, memory_order_acquire, memory_order_release, memory_order_acq_rel,
  memory_order_seq_cst
};
namespace std {
using ::cuda::memory_order;
using ::cuda::memory_order_acq_rel;
using ::cuda::memory_order_acquire;
using ::cuda::memory_order_consume;
using ::cuda::memory_order_relaxed;
using ::cuda::memory_order_release;
using ::cuda::memory_order_seq_cst;
}  // namespace std

namespace detail {
CUDA_EMU_INLINE void release_before(memory_order order) {
  if (order >= memory_order_release) cuda_emulator::cuda_emu_fence(1);
}
template <class T>
CUDA_EMU_UNCHECKED T read_value(const T* address) { return *address; }

// What both have, on the value at `address()`.
template <class Self, class T>
struct AtomicOps {
  typedef T value_type;
  static constexpr bool is_always_lock_free = sizeof(T) <= 8;
  bool is_lock_free() const { return is_always_lock_free; }

  CUDA_EMU_INLINE_MEMBER T load(memory_order = memory_order_seq_cst) const {
    cuda_emulator::cuda_emu_atomic(at(), sizeof(T), 0);
    return read_value(at());
  }
  CUDA_EMU_INLINE_MEMBER void store(T value, memory_order order = memory_order_seq_cst) const {
    release_before(order);
    cuda_emulator::cuda_emu_atomic(at(), sizeof(T), 2);
    cuda_emulator::exchange_with(at(), [value](T) { return value; });
  }
  CUDA_EMU_INLINE_MEMBER T exchange(T value, memory_order order = memory_order_seq_cst) const {
    return change(order, [value](T) { return value; });
  }
  CUDA_EMU_INLINE_MEMBER T fetch_add(T value, memory_order order = memory_order_seq_cst) const {
    return change(order, [value](T old) { return T(old + value); });
  }
  CUDA_EMU_INLINE_MEMBER T fetch_sub(T value, memory_order order = memory_order_seq_cst) const {
    return change(order, [value](T old) { return T(old - value); });
  }
  template <class U = T>
  CUDA_EMU_INLINE_MEMBER T fetch_and(U value, memory_order order = memory_order_seq_cst) const {
    return change(order, [value](T old) { return T(old & value); });
  }
  template <class U = T>
  CUDA_EMU_INLINE_MEMBER T fetch_or(U value, memory_order order = memory_order_seq_cst) const {
    return change(order, [value](T old) { return T(old | value); });
  }
  template <class U = T>
  CUDA_EMU_INLINE_MEMBER T fetch_xor(U value, memory_order order = memory_order_seq_cst) const {
    return change(order, [value](T old) { return T(old ^ value); });
  }
  CUDA_EMU_INLINE_MEMBER T fetch_min(T value, memory_order order = memory_order_seq_cst) const {
    return change(order, [value](T old) { return old < value ? old : value; });
  }
  CUDA_EMU_INLINE_MEMBER T fetch_max(T value, memory_order order = memory_order_seq_cst) const {
    return change(order, [value](T old) { return old > value ? old : value; });
  }
  CUDA_EMU_INLINE_MEMBER bool compare_exchange_strong(T& expected, T value,
                                                      memory_order order = memory_order_seq_cst) const {
    const T wanted = expected;
    const T old = change(order, [=](T now) { return now == wanted ? value : now; });
    expected = old;
    return old == wanted;
  }
  CUDA_EMU_INLINE_MEMBER bool compare_exchange_strong(T& expected, T value, memory_order order, memory_order) const {
    return compare_exchange_strong(expected, value, order);
  }
  CUDA_EMU_INLINE_MEMBER bool compare_exchange_weak(T& expected, T value,
                                                    memory_order order = memory_order_seq_cst) const {
    return compare_exchange_strong(expected, value, order);
  }
  CUDA_EMU_INLINE_MEMBER bool compare_exchange_weak(T& expected, T value, memory_order order, memory_order) const {
    return compare_exchange_strong(expected, value, order);
  }
  CUDA_EMU_INLINE_MEMBER void wait(T value, memory_order = memory_order_seq_cst) const {
    while (load() == value) cuda_emulator::cuda_emu_spin();
  }
  void notify_one() const {}
  void notify_all() const {}
  CUDA_EMU_INLINE_MEMBER operator T() const { return load(); }
  CUDA_EMU_INLINE_MEMBER T operator++() const { return fetch_add(T(1)) + T(1); }
  CUDA_EMU_INLINE_MEMBER T operator++(int) const { return fetch_add(T(1)); }
  CUDA_EMU_INLINE_MEMBER T operator--() const { return fetch_sub(T(1)) - T(1); }
  CUDA_EMU_INLINE_MEMBER T operator--(int) const { return fetch_sub(T(1)); }
  CUDA_EMU_INLINE_MEMBER T operator+=(T value) const { return fetch_add(value) + value; }
  CUDA_EMU_INLINE_MEMBER T operator-=(T value) const { return fetch_sub(value) - value; }

 private:
  CUDA_EMU_INLINE_MEMBER T* at() const { return static_cast<const Self*>(this)->address(); }
  template <class Op>
  CUDA_EMU_INLINE_MEMBER T change(memory_order order, Op op) const {
    release_before(order);
    cuda_emulator::cuda_emu_atomic(at(), sizeof(T), 1);
    return cuda_emulator::exchange_with(at(), op);
  }
};
}  // namespace detail

template <class T, thread_scope Scope = thread_scope_system>
class atomic : public detail::AtomicOps<atomic<T, Scope>, T> {
 public:
  atomic() = default;
  constexpr atomic(T value) : value_(value) {}
  atomic(const atomic&) = delete;
  CUDA_EMU_INLINE_MEMBER T operator=(T value) {
    this->store(value);
    return value;
  }
  CUDA_EMU_INLINE_MEMBER T* address() const { return const_cast<T*>(&value_); }

 private:
  alignas(sizeof(T)) T value_;
};
template <class T, thread_scope Scope = thread_scope_system>
class atomic_ref : public detail::AtomicOps<atomic_ref<T, Scope>, T> {
 public:
  explicit atomic_ref(T& value) : value_(&value) {}
  CUDA_EMU_INLINE_MEMBER T operator=(T value) const {
    this->store(value);
    return value;
  }
  CUDA_EMU_INLINE_MEMBER T* address() const { return value_; }

 private:
  T* value_;
};
CUDA_EMU_INLINE void atomic_thread_fence(memory_order order, thread_scope = thread_scope_system) {
  if (order != memory_order_relaxed) cuda_emulator::cuda_emu_fence(1);
}
namespace std {
template <class T>
using atomic = ::cuda::atomic<T, thread_scope_system>;
template <class T>
using atomic_ref = ::cuda::atomic_ref<T, thread_scope_system>;
}  // namespace std
}  // namespace cuda
