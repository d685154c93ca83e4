// Barriers, fences, votes, shuffles, and what else the lanes of a warp do together.
#pragma once
#include "api.h"

#define CUDA_EMU_INLINE static inline __attribute__((always_inline, unused))
#define CUDA_EMU_INLINE_MEMBER inline __attribute__((always_inline))
// Runs for the whole warp at once on other lanes' variables: not a kernel's memory accesses.
#define CUDA_EMU_UNCHECKED __attribute__((no_sanitize("thread", "alignment", "bounds"), noinline))

constexpr int warpSize = 32;

CUDA_EMU_INLINE void __syncthreads() { cuda_emulator::cuda_emu_barrier(cuda_emulator::BARRIER_PLAIN, 0); }
CUDA_EMU_INLINE int __syncthreads_count(int p) {
  return cuda_emulator::cuda_emu_barrier(cuda_emulator::BARRIER_COUNT, p);
}
CUDA_EMU_INLINE int __syncthreads_and(int p) {
  return cuda_emulator::cuda_emu_barrier(cuda_emulator::BARRIER_AND, p);
}
CUDA_EMU_INLINE int __syncthreads_or(int p) {
  return cuda_emulator::cuda_emu_barrier(cuda_emulator::BARRIER_OR, p);
}
CUDA_EMU_INLINE void __syncwarp(unsigned mask = 0xffffffffu) {
  cuda_emulator::cuda_emu_warp(mask, cuda_emulator::WARP_SYNC, nullptr, nullptr);
}
CUDA_EMU_INLINE void __threadfence_block() { cuda_emulator::cuda_emu_fence(0); }
CUDA_EMU_INLINE void __threadfence() { cuda_emulator::cuda_emu_fence(1); }
CUDA_EMU_INLINE void __threadfence_system() { cuda_emulator::cuda_emu_fence(1); }
CUDA_EMU_INLINE void __nanosleep(unsigned) { cuda_emulator::cuda_emu_spin(); }
CUDA_EMU_INLINE void __trap() { cuda_emulator::cuda_emu_trap(); }
CUDA_EMU_INLINE unsigned __activemask() { return cuda_emulator::cuda_emu_active_mask(); }
CUDA_EMU_INLINE long long clock64() { return (long long)cuda_emulator::cuda_emu_clock(); }
#define clock() ((int)::cuda_emulator::cuda_emu_clock())  // <time.h> has one of its own

namespace cuda_emulator {

// --- votes
struct Vote {
  int predicate;
  unsigned lanes, ballot;
};
CUDA_EMU_UNCHECKED static void count_votes(void** arguments, unsigned lanes) {
  unsigned ballot = 0;
  for (int i = 0; i < 32; ++i) {
    if (arguments[i] && static_cast<Vote*>(arguments[i])->predicate) ballot |= 1u << i;
  }
  for (int i = 0; i < 32; ++i) {
    if (!arguments[i]) continue;
    static_cast<Vote*>(arguments[i])->lanes = lanes;
    static_cast<Vote*>(arguments[i])->ballot = ballot;
  }
}
#define CUDA_EMU_VOTE(mask, p)                                              \
  cuda_emulator::Vote v{p, 0, 0};                                           \
  cuda_emulator::cuda_emu_warp(mask, cuda_emulator::WARP_VOTE, &v, cuda_emulator::count_votes)

// --- shuffles: every lane brings a value and the number of the lane it wants to hear
struct Shuffle {
  unsigned long long value;
  int source;
  bool absent;  // nobody of that number takes part
};
CUDA_EMU_UNCHECKED static void exchange(void** arguments, unsigned) {
  unsigned long long answers[32];
  for (int i = 0; i < 32; ++i) {
    if (!arguments[i]) continue;
    void* source = arguments[static_cast<Shuffle*>(arguments[i])->source];
    // What an absent lane would say is undefined: all bits set, so that it does not pass for a result.
    answers[i] = source ? static_cast<Shuffle*>(source)->value : ~0ull;
    static_cast<Shuffle*>(arguments[i])->absent = !source;
  }
  for (int i = 0; i < 32; ++i) {
    if (arguments[i]) static_cast<Shuffle*>(arguments[i])->value = answers[i];
  }
}

template <class T>
CUDA_EMU_INLINE T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  Shuffle s{0, source & 31, false};
  __builtin_memcpy(&s.value, &value, sizeof(T));
  cuda_emu_warp(mask, WARP_SHUFFLE, &s, exchange);
  if (s.absent) cuda_emu_absent_lane(mask, unsigned(s.source));
  __builtin_memcpy(&value, &s.value, sizeof(T));
  return value;
}
// Lanes are counted within segments of `width`; PTX ISA, shfl.sync.
CUDA_EMU_INLINE int segment(int lane, int width) { return lane & ~(width - 1); }

// --- comparing and reducing: every lane gets the values of all, whatever their size
template <class T>
struct Gather {
  alignas(T) unsigned char value[sizeof(T)];
  alignas(T) unsigned char all[32][sizeof(T)];
  unsigned lanes;

  CUDA_EMU_UNCHECKED static void exchange(void** arguments, unsigned lanes) {
    for (int i = 0; i < 32; ++i) {
      if (!arguments[i]) continue;
      auto* g = static_cast<Gather*>(arguments[i]);
      g->lanes = lanes;
      for (int j = 0; j < 32; ++j) {
        if (arguments[j]) __builtin_memcpy(g->all[j], static_cast<Gather*>(arguments[j])->value, sizeof(T));
      }
    }
  }
};
template <class T>
CUDA_EMU_INLINE Gather<T> gather_all(unsigned mask, const T& value, int kind) {
  Gather<T> g;
  __builtin_memcpy(g.value, &value, sizeof(T));
  cuda_emu_warp(mask, kind, &g, Gather<T>::exchange);
  return g;
}
// Of the lanes in `which` that take part, in their order.
template <class T, class Op>
CUDA_EMU_UNCHECKED T fold(const Gather<T>& g, Op op, unsigned which = ~0u) {
  T result;
  bool first = true;
  for (int i = 0; i < 32; ++i) {
    if (!(g.lanes & which & 1u << i)) continue;
    T value;
    __builtin_memcpy(&value, g.all[i], sizeof(T));
    result = first ? value : op(result, value);
    first = false;
  }
  return result;
}
template <class T>
CUDA_EMU_UNCHECKED unsigned equal_lanes(const Gather<T>& g) {
  unsigned mask = 0;
  for (int i = 0; i < 32; ++i) {
    if ((g.lanes >> i & 1) && !__builtin_memcmp(g.all[i], g.value, sizeof(T))) mask |= 1u << i;
  }
  return mask;
}
// A shuffle of any size, in pieces of 8 bytes.
template <class T>
CUDA_EMU_INLINE T shuffle_any(unsigned mask, T value, int source) {
  unsigned long long pieces[(sizeof(T) + 7) / 8] = {};
  __builtin_memcpy(pieces, &value, sizeof(T));
  for (unsigned long long& piece : pieces) piece = shuffle(mask, piece, source);
  __builtin_memcpy(&value, pieces, sizeof(T));
  return value;
}
}  // namespace cuda_emulator

CUDA_EMU_INLINE unsigned __ballot_sync(unsigned mask, int p) { CUDA_EMU_VOTE(mask, p); return v.ballot; }
CUDA_EMU_INLINE int __any_sync(unsigned mask, int p) { CUDA_EMU_VOTE(mask, p); return v.ballot != 0; }
CUDA_EMU_INLINE int __all_sync(unsigned mask, int p) { CUDA_EMU_VOTE(mask, p); return v.ballot == v.lanes; }
CUDA_EMU_INLINE int __uni_sync(unsigned mask, int p) {
  CUDA_EMU_VOTE(mask, p);
  return v.ballot == v.lanes || v.ballot == 0;
}

template <class T>
CUDA_EMU_INLINE T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int lane = int(cuda_emulator::cuda_emu_lane());
  return cuda_emulator::shuffle(mask, value, cuda_emulator::segment(lane, width) + (source & (width - 1)));
}
template <class T>
CUDA_EMU_INLINE T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = int(cuda_emulator::cuda_emu_lane()), from = lane - int(delta);
  return cuda_emulator::shuffle(mask, value, from < cuda_emulator::segment(lane, width) ? lane : from);
}
template <class T>
CUDA_EMU_INLINE T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = int(cuda_emulator::cuda_emu_lane()), from = lane + int(delta);
  return cuda_emulator::shuffle(mask, value, from >= cuda_emulator::segment(lane, width) + width ? lane : from);
}
template <class T>
CUDA_EMU_INLINE T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = int(cuda_emulator::cuda_emu_lane()), from = lane ^ bits;
  // A partner in a later segment is out of reach, one in an earlier segment is not (PTX ISA, shfl.bfly).
  return cuda_emulator::shuffle(mask, value, from >= cuda_emulator::segment(lane, width) + width ? lane : from);
}

template <class T>
CUDA_EMU_INLINE unsigned __match_any_sync(unsigned mask, T value) {
  return cuda_emulator::equal_lanes(cuda_emulator::gather_all(mask, value, cuda_emulator::WARP_MATCH));
}
template <class T>
CUDA_EMU_INLINE unsigned __match_all_sync(unsigned mask, T value, int* all_equal) {
  const auto g = cuda_emulator::gather_all(mask, value, cuda_emulator::WARP_MATCH);
  *all_equal = cuda_emulator::equal_lanes(g) == g.lanes;
  return *all_equal ? g.lanes : 0;
}
#define CUDA_EMU_REDUCE(name, T, expression)                                                       \
  CUDA_EMU_INLINE T name(unsigned mask, T value) {                                                 \
    return cuda_emulator::fold<T>(cuda_emulator::gather_all(mask, value, cuda_emulator::WARP_REDUCE), \
                                  [](T a, T b) -> T { return expression; });                       \
  }
CUDA_EMU_REDUCE(__reduce_add_sync, int, a + b)
CUDA_EMU_REDUCE(__reduce_add_sync, unsigned, a + b)
CUDA_EMU_REDUCE(__reduce_min_sync, int, a < b ? a : b)
CUDA_EMU_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
CUDA_EMU_REDUCE(__reduce_max_sync, int, a > b ? a : b)
CUDA_EMU_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
CUDA_EMU_REDUCE(__reduce_and_sync, unsigned, a & b)
CUDA_EMU_REDUCE(__reduce_or_sync, unsigned, a | b)
CUDA_EMU_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
