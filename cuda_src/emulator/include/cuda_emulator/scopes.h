// cuda::barrier, cuda::pipeline and cuda::memcpy_async, as block-wide objects in shared memory or a thread's own.
#pragma once
#include "pipeline.h"

namespace cuda {

enum thread_scope { thread_scope_system, thread_scope_device, thread_scope_block, thread_scope_thread };
enum class pipeline_role { producer, consumer };

template <size_t N>
struct aligned_size_t {
  static constexpr size_t align = N;
  size_t value;
  constexpr explicit aligned_size_t(size_t v) : value(v) {}
  constexpr operator size_t() const { return value; }
};

// ---- barrier: arrivals are counted; a phase ends with the expected number of them
template <thread_scope Scope = thread_scope_system>
class barrier {
 public:
  typedef unsigned arrival_token;
  barrier() = default;
  barrier(unsigned expected) { init(this, expected); }
  friend __attribute__((no_sanitize("thread"), noinline)) void init(barrier* b, unsigned expected) {
    b->expected_ = b->pending_ = expected;
    b->phase_ = 0;
  }
  CUDA_EMU_UNCHECKED arrival_token arrive(unsigned count = 1) {
    cuda_emulator::cuda_emu_async_commit(this);
    cuda_emulator::cuda_emu_release(this);
    const unsigned token = phase_;
    pending_ -= count;
    if (pending_ == 0) {
      pending_ = expected_;
      ++phase_;
      cuda_emulator::cuda_emu_async_complete(this, token);
    }
    return token;
  }
  CUDA_EMU_UNCHECKED void wait(arrival_token token) const {
    while (phase_ == token) cuda_emulator::cuda_emu_spin();
    cuda_emulator::cuda_emu_acquire(this);
  }
  void arrive_and_wait() { wait(arrive()); }
  CUDA_EMU_UNCHECKED void arrive_and_drop() {
    --expected_;
    arrive();
  }

 private:
  unsigned expected_, pending_, phase_;
};

// ---- pipeline
template <thread_scope Scope, unsigned char Stages>
class pipeline_shared_state {
 public:
  pipeline_shared_state() = default;
  unsigned producers, consumers;
  // Commits and releases of each stage, all threads together, since the beginning.
  unsigned committed[Stages], released[Stages];
};

template <thread_scope Scope>
class pipeline {
 public:
  CUDA_EMU_UNCHECKED void producer_acquire() {
    if (!counts_) return;
    const unsigned stage = unsigned(head_ % stages_), round = unsigned(head_ / stages_);
    while (released_[stage] < round * counts_[1]) cuda_emulator::cuda_emu_spin();
    cuda_emulator::cuda_emu_acquire(&released_[stage]);
  }
  CUDA_EMU_UNCHECKED void producer_commit() {
    cuda_emulator::cuda_emu_async_commit(counts_);
    if (counts_) {
      const unsigned stage = unsigned(head_ % stages_);
      cuda_emulator::cuda_emu_release(&committed_[stage]);
      ++committed_[stage];
    }
    ++head_;
  }
  CUDA_EMU_UNCHECKED void consumer_wait() {
    if (!counts_) {
      cuda_emulator::cuda_emu_async_wait(unsigned(head_ - tail_ - 1));
      return;
    }
    const unsigned stage = unsigned(tail_ % stages_), round = unsigned(tail_ / stages_);
    while (committed_[stage] < (round + 1) * counts_[0]) cuda_emulator::cuda_emu_spin();
    cuda_emulator::cuda_emu_async_complete(counts_, tail_);
    cuda_emulator::cuda_emu_acquire(&committed_[stage]);
  }
  CUDA_EMU_UNCHECKED void consumer_release() {
    if (counts_) {
      const unsigned stage = unsigned(tail_ % stages_);
      cuda_emulator::cuda_emu_release(&released_[stage]);
      ++released_[stage];
    }
    ++tail_;
  }
  void quit() {}

  const void* owner() const { return counts_; }
  CUDA_EMU_UNCHECKED void attach(unsigned* counts, unsigned* committed, unsigned* released, unsigned stages) {
    counts_ = counts;
    committed_ = committed;
    released_ = released;
    stages_ = stages;
  }
  CUDA_EMU_UNCHECKED void wait_prior(unsigned groups_left) {
    cuda_emulator::cuda_emu_async_wait(groups_left);
    if (head_ > groups_left && tail_ < head_ - groups_left) tail_ = head_ - groups_left;
  }

 private:
  unsigned *counts_ = nullptr, *committed_ = nullptr, *released_ = nullptr;
  unsigned stages_ = 1;
  unsigned long long head_ = 0, tail_ = 0;  // stages this thread has committed, and released
};

inline pipeline<thread_scope_thread> make_pipeline() { return {}; }

namespace detail {
template <thread_scope Scope, unsigned char Stages>
CUDA_EMU_UNCHECKED void clear(pipeline_shared_state<Scope, Stages>* state, unsigned producers, unsigned consumers) {
  state->producers = producers;
  state->consumers = consumers;
  for (int i = 0; i < Stages; ++i) state->committed[i] = state->released[i] = 0;
}
template <class Group, thread_scope Scope, unsigned char Stages>
CUDA_EMU_INLINE pipeline<Scope> attach(const Group& group, pipeline_shared_state<Scope, Stages>* state,
                                       unsigned producers) {
  const unsigned all = unsigned(group.size());
  if (group.thread_rank() == 0) clear(state, producers, producers == all ? all : all - producers);
  group.sync();
  pipeline<Scope> result;
  result.attach(&state->producers, state->committed, state->released, Stages);
  return result;
}
}  // namespace detail

template <class Group, thread_scope Scope, unsigned char Stages>
CUDA_EMU_INLINE pipeline<Scope> make_pipeline(const Group& group, pipeline_shared_state<Scope, Stages>* state) {
  return detail::attach(group, state, unsigned(group.size()));
}
template <class Group, thread_scope Scope, unsigned char Stages>
CUDA_EMU_INLINE pipeline<Scope> make_pipeline(const Group& group, pipeline_shared_state<Scope, Stages>* state,
                                              size_t producers) {
  return detail::attach(group, state, unsigned(producers));
}
template <class Group, thread_scope Scope, unsigned char Stages>
CUDA_EMU_INLINE pipeline<Scope> make_pipeline(const Group& group, pipeline_shared_state<Scope, Stages>* state,
                                              pipeline_role role) {
  const unsigned producers = unsigned(__syncthreads_count(role == pipeline_role::producer));
  return detail::attach(group, state, producers);
}

template <unsigned char Prior, thread_scope Scope>
CUDA_EMU_INLINE void pipeline_consumer_wait_prior(pipeline<Scope>& pipe) { pipe.wait_prior(Prior); }

// ---- memcpy_async: by one thread, or shared among a group
template <class T, class Size, thread_scope Scope>
CUDA_EMU_INLINE void memcpy_async(T* to, const T* from, Size size, pipeline<Scope>& pipe) {
  cuda_emulator::async_bytes(to, from, size_t(size), pipe.owner());
}
template <class Group, class T, class Size, thread_scope Scope>
CUDA_EMU_INLINE void memcpy_async(const Group& group, T* to, const T* from, Size size, pipeline<Scope>& pipe) {
  cuda_emulator::async_share(unsigned(group.thread_rank()), unsigned(group.size()), to, from, size_t(size),
                             pipe.owner());
}
template <class T, class Size, thread_scope Scope>
CUDA_EMU_INLINE void memcpy_async(T* to, const T* from, Size size, barrier<Scope>& bar) {
  cuda_emulator::async_bytes(to, from, size_t(size), &bar);
}
template <class Group, class T, class Size, thread_scope Scope>
CUDA_EMU_INLINE void memcpy_async(const Group& group, T* to, const T* from, Size size, barrier<Scope>& bar) {
  cuda_emulator::async_share(unsigned(group.thread_rank()), unsigned(group.size()), to, from, size_t(size), &bar);
}
}  // namespace cuda
