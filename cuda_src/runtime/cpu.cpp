// What the CPU device needs beside the kernels: a timing loop, a calibration kernel, peaks, cache eviction.
// Compiled once by tuner/devices/cpu/runtime.py with the target's instruction set.
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "team.h"

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

typedef float vec __attribute__((vector_size(LANES * 4)));

// Seconds of one call, the mean of `calls` calls back to back; returns the first non-zero status.
EXPORT int tuner_time(int (*call)(void**), void** args, int64_t calls, double* seconds) {
    double start = now();
    for (int64_t i = 0; i < calls; ++i) {
        if (int status = call(args)) return status;
    }
    *seconds = (now() - start) / double(calls);
    return 0;
}

// The same on an input that changes before every call, see tuner/core/changes.py: element i % places of
// `elements` takes value i % values, of `size` bytes each; all take their first one before the clock starts.
EXPORT int tuner_time_changing(int (*call)(void**), void** args, int64_t calls, char** elements, int64_t places,
                               const char* values, int64_t count, int64_t size, double* seconds) {
    for (int64_t e = 0; e < places; ++e) memcpy(elements[e], values + e * size, size_t(size));
    int64_t place = 0, value = 0;
    double start = now();
    for (int64_t i = 0; i < calls; ++i) {
        memcpy(elements[place], values + value * size, size_t(size));
        if (++place == places) place = 0;
        if (++value == count) value = 0;
        if (int status = call(args)) return status;
    }
    *seconds = (now() - start) / double(calls);
    return 0;
}

// --- the team's members -------------------------------------------------------------------------------

struct Member {
    Team* team;
    int index;
    void (*work)(Member&);
    int64_t size;     // meaning depends on the work
    double seconds;   // result of this member
    int passes;       // of each stream, at most PASSES
    double begin[3][8], end[3][8];
};

// --- FMA peak and calibration -------------------------------------------------------------------------

// Independent chains: latency times throughput of FMA is 8 (4 cycles * 2 a cycle on Zen, Skylake) to 10
// (5 * 2 on Haswell); 12 leave a margin and with two operands still fit 16 registers.
enum { CHAINS = 12 };

static float volatile sink;

__attribute__((noinline)) static void fma_chains(int64_t iterations) {
    // volatile: the compiler may know neither the operands nor that the chains begin alike.
    static const volatile float seeds[2] = {0.999f, 0.001f};
    vec scale = {}, shift = {}, sums[CHAINS];
    scale += seeds[0];
    shift += seeds[1];
    for (int i = 0; i < CHAINS; ++i) {
        vec start = {};
        sums[i] = start + seeds[1] * float(i);
    }
    for (int64_t step = 0; step < iterations; ++step) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; ++i) sums[i] = sums[i] * scale + shift;  // converges to 1: no denormals
    }
    vec total = {};
    for (int i = 0; i < CHAINS; ++i) total += sums[i];
    sink = total[0];
}

static void fma_work(Member& member) {
    fma_chains(2000);  // the clock and the vector units wake up
    barrier(*member.team);
    double start = now();
    fma_chains(member.size);
    member.seconds = now() - start;
}

// Seconds of `iterations` rounds of FMA chains on every core of `cpus`: the slowest core's. Negative: failed.
EXPORT double tuner_calibrate(const int* cpus, int threads, int64_t iterations) {
    Member* members = static_cast<Member*>(calloc(size_t(threads), sizeof(Member)));
    if (!members) return -1;
    for (int i = 0; i < threads; ++i) {
        members[i].work = fma_work;
        members[i].size = iterations;
    }
    double seconds = run_team(cpus, threads, members) ? -1 : slowest(members, threads);
    free(members);
    return seconds;
}

// Floating-point operations that tuner_calibrate does on one core; an FMA counts as two.
EXPORT double tuner_fma_flops(int64_t iterations) { return 2.0 * LANES * CHAINS * double(iterations); }

EXPORT int tuner_lanes() { return LANES; }

// --- memory bandwidth ---------------------------------------------------------------------------------

enum Stream { READ, COPY, TRIAD, STREAMS };
enum { PASSES = 8 };

typedef float stream_vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

__attribute__((noinline)) static void stream(int kind, float* a, const float* b, const float* c, int64_t count) {
    const int64_t step = 4 * LANES;
    if (kind == READ) {
        stream_vec s0 = {}, s1 = {}, s2 = {}, s3 = {};
        for (int64_t i = 0; i + step <= count; i += step) {
            const stream_vec* p = reinterpret_cast<const stream_vec*>(b + i);
            s0 += p[0], s1 += p[1], s2 += p[2], s3 += p[3];
        }
        s0 += s1 + s2 + s3;
        sink = s0[0];
        return;
    }
    for (int64_t i = 0; i + step <= count; i += step) {
        const stream_vec* p = reinterpret_cast<const stream_vec*>(b + i);
        const stream_vec* q = reinterpret_cast<const stream_vec*>(c + i);
        stream_vec* r = reinterpret_cast<stream_vec*>(a + i);
        if (kind == COPY) {
            r[0] = p[0], r[1] = p[1], r[2] = p[2], r[3] = p[3];
        } else {
            r[0] = p[0] + 3.0f * q[0], r[1] = p[1] + 3.0f * q[1];
            r[2] = p[2] + 3.0f * q[2], r[3] = p[3] + 3.0f * q[3];
        }
    }
}

static void stream_work(Member& member) {
    int64_t count = member.size;
    float* arrays[3] = {nullptr, nullptr, nullptr};
    bool complete = true;
    for (float*& array : arrays) {
        void* memory = nullptr;
        // Each thread touches its pages first, so that they lie in its own NUMA node. Huge ones where the system
        // has them: a fault for each 4 KiB takes longer than all passes, and a peak is not to wait for the TLB.
        if (posix_memalign(&memory, size_t(2) << 20, size_t(count) * 4)) {
            complete = false;
            continue;
        }
        madvise(memory, size_t(count) * 4, MADV_HUGEPAGE);
        array = static_cast<float*>(memset(memory, 1, size_t(count) * 4));
    }
    for (int kind = READ; kind < STREAMS; ++kind) {
        barrier(*member.team);
        if (complete) stream(kind, arrays[0], arrays[1], arrays[2], count);
        for (int pass = 0; pass < member.passes; ++pass) {
            barrier(*member.team);
            member.begin[kind][pass] = now();
            if (complete) stream(kind, arrays[0], arrays[1], arrays[2], count);
            member.end[kind][pass] = now();
        }
    }
    member.seconds = complete ? 0 : -1;
    for (float* array : arrays) free(array);
}

// Bytes a second of a pass, all threads together; not positive where the clock tells nothing.
static double stream_rate(const Member* members, int threads, int kind, int pass, int64_t bytes) {
    double begin = members[0].begin[kind][pass], end = members[0].end[kind][pass];
    for (int i = 1; i < threads; ++i) {
        if (members[i].begin[kind][pass] < begin) begin = members[i].begin[kind][pass];
        if (members[i].end[kind][pass] > end) end = members[i].end[kind][pass];
    }
    return end > begin ? double(kind + 1) * double(bytes) * threads / (end - begin) : -1;
}

// Bytes a second of the fastest of some passes over arrays of `bytes` each (a thread has three), all threads
// together: rates[0] reads (1 array), [1] copies (2), [2] is a triad a = b + s*c (3). As STREAM counts them: the read
// of a line before it is written is not counted. Not 0: failed. All three on the same arrays, and several passes,
// because making the arrays takes longer than a pass: seconds, where the last-level cache has hundreds of megabytes.
EXPORT int tuner_bandwidths(const int* cpus, int threads, int64_t bytes, int passes, double* rates) {
    Member* members = static_cast<Member*>(calloc(size_t(threads), sizeof(Member)));
    if (!members) return -1;
    if (passes > PASSES) passes = PASSES;
    for (int i = 0; i < threads; ++i) {
        members[i].work = stream_work;
        members[i].size = bytes / 4;
        members[i].passes = passes;
    }
    int status = run_team(cpus, threads, members);
    for (int i = 0; i < threads; ++i) {
        if (members[i].seconds < 0) status = -1;
    }
    for (int kind = READ; kind < STREAMS && status == 0; ++kind) {
        rates[kind] = -1;
        for (int pass = 0; pass < passes; ++pass) {
            double rate = stream_rate(members, threads, kind, pass, bytes);
            if (rate > rates[kind]) rates[kind] = rate;
        }
        if (rates[kind] <= 0) status = -1;
    }
    free(members);
    return status;
}

// --- cache eviction -----------------------------------------------------------------------------------

static void flush_work(Member& member) {
    member.seconds = -1;
    void* memory = nullptr;
    if (posix_memalign(&memory, 4096, size_t(member.size))) return;
    // Written and then read: a line that was only stored could leave by another way than the caches.
    volatile char* bytes = static_cast<volatile char*>(memset(memory, member.index + 1, size_t(member.size)));
    char total = 0;
    for (int64_t i = 0; i < member.size; i += 64) total = char(total + bytes[i]);
    sink = total;
    free(memory);
    member.seconds = 0;
}

// Every core of `cpus` walks through `bytes` of its own. One core alone would not do: where the last level
// does not include the second (AMD, Intel since Skylake-X), the others would keep theirs.
EXPORT int tuner_flush(const int* cpus, int threads, int64_t bytes) {
    Member* members = static_cast<Member*>(calloc(size_t(threads), sizeof(Member)));
    if (!members) return -1;
    for (int i = 0; i < threads; ++i) {
        members[i].work = flush_work;
        members[i].size = bytes;
    }
    int status = run_team(cpus, threads, members);
    for (int i = 0; i < threads; ++i) {
        if (members[i].seconds < 0) status = -1;
    }
    free(members);
    return status;
}

// --- what passes through the caches between two calls -----------------------------------------------------

struct Passing {
    volatile char* memory;   // other data, kept from one call to the next
    int64_t bytes;           // of it that all threads together read
    char** fresh;            // arrays that the call before has just written
    const int64_t* sizes;
    int arrays;
};

static Passing passing;
static int64_t passing_room;

static int64_t line_of(int64_t bytes, int index, int threads) { return bytes / 64 * index / threads * 64; }

static void pass_part(int index, int threads) {
    char total = 0;
    for (int64_t i = line_of(passing.bytes, index, threads); i < line_of(passing.bytes, index + 1, threads); i += 64) {
        total = char(total + passing.memory[i]);
    }
    sink = total;
    for (int a = 0; a < passing.arrays; ++a) {
        volatile char* array = passing.fresh[a];
        int64_t end = index + 1 == threads ? passing.sizes[a] : line_of(passing.sizes[a], index + 1, threads);
        for (int64_t i = line_of(passing.sizes[a], index, threads); i < end; i += 64) array[i] = array[i];
    }
}

static void pass_work(Member& member) { pass_part(member.index, member.team->threads); }

static int (*omp_thread)(), (*omp_team)();

static void pass_openmp(void*) { pass_part(omp_thread(), omp_team()); }

// All threads read `bytes` of other data together, then write each of the fresh arrays as it is. By the team of
// libgomp where a kernel has brought it into the process: in a model it has worked a moment ago and is awake;
// threads of our own would leave it asleep.
EXPORT int tuner_pass(const int* cpus, int threads, int64_t bytes, char** fresh, const int64_t* sizes, int arrays) {
    if (bytes > passing_room) {
        if (passing.memory) munmap(const_cast<char*>(passing.memory), size_t(passing_room));
        void* memory = mmap(nullptr, size_t(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        passing.memory = nullptr, passing_room = 0;
        if (memory == MAP_FAILED) return -1;
        // Pages that were never written are all the same one, which stays in every cache.
        memset(memory, 1, size_t(bytes));
        passing.memory = static_cast<volatile char*>(memory), passing_room = bytes;
    }
    passing.bytes = bytes, passing.fresh = fresh, passing.sizes = sizes, passing.arrays = arrays;
    if (void* openmp = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD)) {
        auto parallel = reinterpret_cast<void (*)(void (*)(void*), void*, unsigned, unsigned)>(dlsym(openmp, "GOMP_parallel"));
        omp_thread = reinterpret_cast<int (*)()>(dlsym(openmp, "omp_get_thread_num"));
        omp_team = reinterpret_cast<int (*)()>(dlsym(openmp, "omp_get_num_threads"));
        if (parallel && omp_thread && omp_team) {
            parallel(pass_openmp, nullptr, unsigned(threads), 0);
            dlclose(openmp);
            return 0;
        }
        dlclose(openmp);
    }
    Member* members = static_cast<Member*>(calloc(size_t(threads), sizeof(Member)));
    if (!members) return -1;
    for (int i = 0; i < threads; ++i) members[i].work = pass_work;
    int status = run_team(cpus, threads, members);
    free(members);
    return status;
}
