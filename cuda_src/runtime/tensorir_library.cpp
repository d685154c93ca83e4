// Many compiled TensorIR functions in one shared library: they share the runtime of tensorir.cpp, and with it
// a thread's workspaces.
//
// tensorir.cpp calls the one function it is linked with, `__tvm_ffi_main`. Here that is a step to the function
// which the dispatcher of the library has picked; each thread has picked its own.
#include <stdint.h>

#define HIDDEN extern "C" __attribute__((visibility("hidden")))

// A compiled function as the C ABI of tvm-ffi has it; arguments and result are of tensorir.cpp's type Any.
using Function = int (*)(void* self, const void* arguments, int32_t count, void* result);

static thread_local Function picked;

extern "C" int tuner_call(void** args);

HIDDEN int __tvm_ffi_main(void* self, const void* arguments, int32_t count, void* result) {
    return picked(self, arguments, count, result);
}

// args: as of tuner_call. 1 where the function failed: the negative codes of a library are its dispatcher's.
HIDDEN int tuner_tensorir(Function function, void** args) {
    picked = function;
    return tuner_call(args) ? 1 : 0;
}
