// How a launch reaches the kernel: an array of pointers to its arguments, as cuLaunchKernel takes it.
#pragma once
#include "sync.h"

namespace cuda_emulator {

// Whether a parameter can take an argument of a kind: t a pointer, i and l integers of 4 and 8 bytes, f a float.
template <class T>
struct Takes {
  static constexpr bool kind(char k) {
    return (k == 'i' && ::std::is_integral<T>::value && sizeof(T) == 4) || (k == 'f' && ::std::is_same<T, float>::value) ||
           (k == 'l' && ::std::is_integral<T>::value && sizeof(T) == 8);
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

// The builder adds this as the last line of the file it compiles; the kernel comes last, since the name of an
// instance of a template may hold commas.
#define CUDA_EMULATOR_ENTRY(kinds, ...)                                                                          \
  static_assert(cuda_emulator::takes(__VA_ARGS__, kinds),                                                        \
                "the parameters of kernel " #__VA_ARGS__ " differ from the declared arguments (" kinds           \
                ": t tensor, i int32, l int64, f float32)");                                                     \
  extern "C" __attribute__((visibility("default"), no_sanitize("thread", "alignment"))) void cuda_emulator_entry( \
      void** arguments) {                                                                                        \
    cuda_emulator::call(__VA_ARGS__, arguments);                                                                 \
  }                                                                                                              \
  extern "C" __attribute__((visibility("default"), no_sanitize("thread"))) void* cuda_emulator_shared() {       \
    return cuda_emu_dynamic;                                                                                     \
  }
