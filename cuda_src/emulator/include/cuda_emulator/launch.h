// How a launch reaches the kernel: an array of pointers to its arguments, as cuLaunchKernel takes it.
#pragma once
#include "sync.h"

namespace cuda_emulator {

// Whether a parameter can take an argument of a kind: t a pointer, i and l integers of 4 and 8 bytes, f a float, s a
// struct, m a tensor map.
template <class T>
struct Takes {
  static constexpr bool kind(char k) {
    return (k == 'i' && ::std::is_integral<T>::value && sizeof(T) == 4) || (k == 'f' && ::std::is_same<T, float>::value) ||
           (k == 'l' && ::std::is_integral<T>::value && sizeof(T) == 8) || (k == 's' && ::std::is_class<T>::value) ||
           (k == 'm' && ::std::is_class<T>::value && sizeof(T) == 128);
  }
};
template <class T>
struct Takes<T*> {
  static constexpr bool kind(char k) { return k == 't'; }
};
template <class... P>
constexpr bool takes(void (*)(P...), const char* kinds) {
  int i = 0;
  bool all = true;
  for (bool one : {true, (kinds[i] ? Takes<typename ::std::remove_cv<P>::type>::kind(kinds[i++]) : false)...}) all &= one;
  return all && !kinds[i];
}

template <class... P>
constexpr size_t parameter_bytes(void (*)(P...), int index) {
  const size_t sizes[] = {sizeof(P)..., 0};
  return sizes[index];
}

template <int... I>
struct Indices {};
template <int N, int... I>
struct Count : Count<N - 1, N - 1, I...> {};
template <int... I>
struct Count<0, I...> {
  typedef Indices<I...> type;
};

template <class... P, int... I>
CUDA_EMU_INLINE void call(void (*kernel)(P...), void** arguments, Indices<I...>) {
  (void)arguments;
  kernel(*static_cast<P*>(arguments[I])...);
}
template <class... P>
CUDA_EMU_INLINE void call(void (*kernel)(P...), void** arguments) {
  call(kernel, arguments, typename Count<int(sizeof...(P))>::type());
}
}  // namespace cuda_emulator

extern thread_local char cuda_emu_dynamic[];

// What a host program calls to run one thread of a kernel; the kernel comes last, since the name of an instance
// of a template may hold commas.
#define CUDA_EMULATOR_CALL(name, kinds, ...)                                                                     \
  static_assert(cuda_emulator::takes(__VA_ARGS__, kinds),                                                        \
                "the parameters of kernel " #__VA_ARGS__ " differ from the declared arguments (" kinds           \
                ": t tensor, i int32, l int64, f float32, s struct, m map)");               \
  extern "C" __attribute__((visibility("default"), no_sanitize("thread", "alignment"))) void name(void** arguments) { \
    cuda_emulator::call(__VA_ARGS__, arguments);                                                                 \
  }

#define CUDA_EMULATOR_STRUCT(index, bytes, ...)                                           \
  static_assert(cuda_emulator::parameter_bytes(__VA_ARGS__, index) == bytes,              \
                "the struct that is argument " #index " (from 0) of kernel " #__VA_ARGS__ \
                " has not the declared " #bytes " bytes");
// Where a __constant__ array lies: its address, and its size in bytes.
#define CUDA_EMULATOR_CONSTANT(number, ...)                                                                   \
  extern "C" __attribute__((visibility("default"), no_sanitize("thread"))) void* cuda_emulator_constant_##number( \
      unsigned long* bytes) {                                                                                 \
    *bytes = sizeof(__VA_ARGS__);                                                                             \
    return (void*)&__VA_ARGS__;                                                                               \
  }

// The builder adds a line of the first kind for each kernel that is launched before the last, numbered from 0,
// and one of the second as the last of the file it compiles.
#define CUDA_EMULATOR_STEP(number, kinds, ...) CUDA_EMULATOR_CALL(cuda_emulator_entry_##number, kinds, __VA_ARGS__)
#define CUDA_EMULATOR_ENTRY(kinds, ...)                                                                          \
  CUDA_EMULATOR_CALL(cuda_emulator_entry, kinds, __VA_ARGS__)                                                    \
  extern "C" __attribute__((visibility("default"), no_sanitize("thread"))) void* cuda_emulator_shared() {       \
    return cuda_emu_dynamic;                                                                                     \
  }
