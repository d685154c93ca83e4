// A switch between stacks that saves what the System V ABI calls preserved and nothing else.
//
// swapcontext also saves and restores the signal mask, a system call each way; the README gives both times.
// On processors other than x86-64, ucontext is used all the same.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
// Saves the registers on the present stack, stores its top in *from, and continues on `to`.
extern "C" __attribute__((visibility("hidden"))) void cuda_emu_switch(void** from, void* to);
asm(R"(
.text
.globl cuda_emu_switch
.hidden cuda_emu_switch
.type cuda_emu_switch, @function
cuda_emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_emu_switch, .-cuda_emu_switch
)");

namespace cuda_emulator {
struct Context {
  void* top = nullptr;

  void prepare(char* stack, size_t bytes, void (*entry)()) {
    // At entry of a function the stack is 16-byte aligned plus the return address of its caller, here none.
    auto end = reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t(15);
    auto* slot = reinterpret_cast<void**>(end);
    *--slot = nullptr;
    *--slot = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--slot = nullptr;
    top = slot;
  }
  void switch_to(Context& other) { cuda_emu_switch(&top, other.top); }
};
}  // namespace cuda_emulator
#else
#include <ucontext.h>
namespace cuda_emulator {
struct Context {
  ucontext_t state;

  void prepare(char* stack, size_t bytes, void (*entry)()) {
    getcontext(&state);
    state.uc_stack.ss_sp = stack;
    state.uc_stack.ss_size = bytes;
    state.uc_link = nullptr;
    makecontext(&state, entry, 0);
  }
  void switch_to(Context& other) { swapcontext(&state, &other.state); }
};
}  // namespace cuda_emulator
#endif
