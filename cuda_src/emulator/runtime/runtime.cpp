// The runtime of the emulator: one translation unit, linked into every kernel's library, so that nothing of
// one kernel is left to the next. The functions below are all that a host program calls.
#define CUDA_EMULATOR_RUNTIME
#include <signal.h>
#include <ucontext.h>

#include "async.cpp"
#include "banks.cpp"
#include "bulk.cpp"
#include "callbacks.cpp"
#include "happens_before.cpp"
#include "meeting.cpp"
#include "memory.cpp"
#include "scheduler.cpp"
#include "tensor_cores.cpp"
#include "warpgroups.cpp"

namespace cuda_emulator {
void forget_order();

namespace {
char signal_stack[64 * 1024];

// A fault that no check foresaw (a division by zero, a stray access of code that is not instrumented).
void on_signal(int number, siginfo_t* info, void* state) {
  uintptr_t pc = 0;
#if defined(__x86_64__)
  pc = uintptr_t(static_cast<ucontext_t*>(state)->uc_mcontext.gregs[REG_RIP]) + 1;
#endif
  const bool own = pc >= uintptr_t(&__ehdr_start) && pc < uintptr_t(&_end);
  if (thread_now) {
    Finding* f = report(CRASH, own ? place(pc) : 0);
    f->address = uintptr_t(info->si_addr);
    f->extra = uint32_t(number);
    f->thread = thread_now->gid;
  }
  signal(number, SIG_DFL);
  raise(number);
}
}  // namespace
}  // namespace cuda_emulator

#define PUBLIC extern "C" __attribute__((visibility("default")))
using namespace cuda_emulator;

// Where findings go: memory of `bytes` bytes that begins with a zeroed FindingLog. Also installs handlers that
// write a record before the process dies of a signal; the process must be one that runs kernels only.
PUBLIC void cuda_emulator_log(void* memory, uint64_t bytes) {
  findings = static_cast<FindingLog*>(memory);
  findings->capacity = uint32_t((bytes - offsetof(FindingLog, records)) / sizeof(Finding));
  stack_t stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(number, &action, nullptr);
}

// Tensors that the next launch may touch; `granule` is the size of an element.
PUBLIC void cuda_emulator_tensor(void* base, uint64_t bytes, uint32_t granule, uint32_t initialized) {
  Region region{static_cast<char*>(base), bytes, granule, initialized, {}};
  region.cells.resize(bytes / granule + 1);
  regions.push_back(std::move(region));
}

// A variable in shared memory, at `offset` of the library's thread-local block.
PUBLIC void cuda_emulator_variable(uint64_t offset, uint64_t bytes, uint32_t checked) {
  variables.push_back({offset, bytes, checked != 0});
}

PUBLIC void cuda_emulator_reset() {
  regions.clear();
  variables.clear();
  forget_order();
}

struct LaunchArguments {
  uint32_t grid[3], block[3];
  uint32_t sanitize, unused;
  uint64_t seed;
  void* shared;           // this thread's copy of the library's thread-local block
  uint64_t shared_bytes;
  void (*entry)(void**);
  void** arguments;       // one pointer an argument, to its value
};

// What launches since the last call have done to the banks of shared memory: at most `capacity` places of code,
// those with most conflicts first. Gives their number.
PUBLIC uint32_t cuda_emulator_banks(BankRecord* records, uint32_t capacity) {
  return take_banks(records, capacity);
}

// Blocks of a cluster, where the source declares __cluster_dims__; 0 stands for 1.
extern "C" const unsigned cuda_emulator_cluster[3] __attribute__((weak));

// Runs a grid. 0: all threads finished; 1: stopped or stuck, the findings say where; 2: no memory for stacks.
PUBLIC int cuda_emulator_launch(const LaunchArguments* given) {
  gridDim = dim3(given->grid[0], given->grid[1], given->grid[2]);
  blockDim = dim3(given->block[0], given->block[1], given->block[2]);
  launch.grid = gridDim;
  launch.block = blockDim;
  launch.threads = blockDim.x * blockDim.y * blockDim.z;
  launch.blocks = gridDim.x * gridDim.y * gridDim.z;
  const unsigned* cluster = cuda_emulator_cluster;
  launch.cluster = cluster ? dim3(std::max(1u, cluster[0]), std::max(1u, cluster[1]), std::max(1u, cluster[2])) : dim3();
  if (gridDim.x % launch.cluster.x || gridDim.y % launch.cluster.y || gridDim.z % launch.cluster.z) {
    Finding* f = report(TRAP, 0);
    std::strncpy(f->text, "cluster: the grid is no multiple of __cluster_dims__", sizeof f->text - 1);
    return 1;
  }
  launch.entry = given->entry;
  launch.arguments = given->arguments;
  launch.seed = given->seed;
  launch.sanitize = given->sanitize != 0;
  launch.shared = static_cast<char*>(given->shared);
  launch.shared_bytes = given->shared_bytes;
  launch.module = uintptr_t(&__ehdr_start);
  for (Region& r : regions) std::fill(r.cells.begin(), r.cells.end(), Cell{});
  forget_order();
  const int status = run_grid();
  thread_now = nullptr;
  block_now = nullptr;
  return status;
}
