// The runtime of compiled TensorIR functions: threads, workspaces, and the entry a device calls.
//
// TVM's generated code reaches its runtime through three pointers that the loader of libtvm_runtime fills in.
// Here they are filled at link time with what is below, so a kernel is an ordinary shared library: nobody who
// calls it has to import TVM (seconds), and its threads are those of OpenMP, pinned and kept warm by the
// process like those of a C++ kernel. The types follow tvm/runtime/c_backend_api.h and the C ABI of tvm-ffi.
#include <omp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define EXPORT extern "C" __attribute__((visibility("default")))
#define HIDDEN extern "C" __attribute__((visibility("hidden")))

namespace {

struct Group {
    void* barrier;  // TVM's, for kernels that synchronise inside a launch; none is generated here
    int32_t tasks;
};
using Lambda = int (*)(int task, Group* group, void* data);

thread_local int threads = 1;

// A parallel loop: every task takes its share of the iterations. `wanted` 0 leaves their number to us.
int launch(Lambda body, void* data, int wanted) {
    int tasks = wanted > 0 && wanted < threads ? wanted : threads;
    Group group{nullptr, tasks};
    if (tasks == 1) return body(0, &group, data);
    int status = 0;
#pragma omp parallel num_threads(tasks)
    {
        // The system may give fewer threads than asked for; the tasks must be done all the same.
        for (int task = omp_get_thread_num(); task < tasks; task += omp_get_num_threads()) {
            if (int failed = body(task, &group, data)) __atomic_store_n(&status, failed, __ATOMIC_RELAXED);
        }
    }
    return status;
}

// Packed operands: blocks that a thread keeps from call to call, since fresh pages cost more than packing.
struct Workspaces {
    static constexpr int kMost = 16;
    struct Block {
        void* memory;
        uint64_t bytes;
        bool used;
    } blocks[kMost] = {};

    void* take(uint64_t bytes) {
        Block* best = nullptr;
        for (Block& block : blocks) {
            if (block.used || block.bytes < bytes) continue;
            if (!best || block.bytes < best->bytes) best = &block;
        }
        if (!best) {
            // A free place, or a free block too small to serve, which goes.
            for (Block& block : blocks) {
                if (!block.used && (!best || block.bytes < best->bytes)) best = &block;
            }
            if (!best) return nullptr;
            free(best->memory);
            *best = {};
            const bool large = bytes >= (uint64_t(1) << 20);
            const uint64_t page = large ? uint64_t(2) << 20 : 64;
            const uint64_t size = (bytes + page - 1) / page * page;
            if (posix_memalign(&best->memory, page, size)) return nullptr;
            // One TLB entry instead of 512. A refusal costs speed only.
            if (large) madvise(best->memory, size, MADV_HUGEPAGE);
            best->bytes = size;
        }
        best->used = true;
        return best->memory;
    }

    int give_back(void* memory) {
        for (Block& block : blocks) {
            if (block.memory == memory) {
                block.used = false;
                return 0;
            }
        }
        return -1;
    }

    static void end(void* self) {
        for (Block& block : static_cast<Workspaces*>(self)->blocks) free(block.memory);
    }
};
thread_local Workspaces workspaces;

// Frees a thread's blocks when it ends. A destructor would need libstdc++; without a key nothing is freed.
struct Ending {
    pthread_key_t key;
    bool made;
};
Ending& ending() {
    static Ending one = {};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, [] { one.made = pthread_key_create(&one.key, Workspaces::end) == 0; });
    return one;
}

void* take(int, int, uint64_t bytes, int, int) {
    if (ending().made) pthread_setspecific(ending().key, &workspaces);
    return workspaces.take(bytes);
}
int give_back(int, int, void* memory) { return workspaces.give_back(memory); }

// The head of a DLTensor. What follows (shape, strides) a function compiled without asserts does not read.
struct Tensor {
    void* data;
    int32_t device_type, device_id;
    int32_t ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
};
struct Any {
    int32_t type;
    uint32_t padding;
    void* pointer;
};
constexpr int kTensorPointer = 7, kCpu = 1, kMostTensors = 16;

}  // namespace

// Strong definitions of what generated code defines weakly.
HIDDEN decltype(&launch) __TVMBackendParallelLaunch = launch;
HIDDEN decltype(&take) __TVMBackendAllocWorkspace = take;
HIDDEN decltype(&give_back) __TVMBackendFreeWorkspace = give_back;
HIDDEN int __tvm_ffi_main(void* self, const Any* arguments, int32_t count, Any* result);

// args: threads (int32), number of tensors (int32), then the tensors, in the order of the function.
EXPORT int tuner_call(void** args) {
    threads = *static_cast<const int32_t*>(args[0]);
    const int32_t count = *static_cast<const int32_t*>(args[1]);
    if (count > kMostTensors) return -1;
    Tensor tensors[kMostTensors];
    Any anys[kMostTensors];
    for (int32_t i = 0; i < count; ++i) {
        tensors[i] = {args[2 + i], kCpu, 0, 0, 2, 32, 1, nullptr, nullptr, 0};
        anys[i] = {kTensorPointer, 0, &tensors[i]};
    }
    Any result{};
    return __tvm_ffi_main(nullptr, anys, count, &result);
}
