// What a program between a model's kernels is called with, and how the kernels' team of threads shares its work.
//
//     extern "C" void NAME(const int64_t* p, void* const* a)
//
// p[0] is how many threads take part; 1 starts no team, so that small work wakes nobody. What follows in p is said
// where each program is, and so is what the addresses a lead to.
#pragma once
#include <omp.h>
#include <stdint.h>

#include "../common/range.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

// body(begin, end) for everybody's part of 0 ... count, cut at multiples of `unit`.
template <class F>
static inline void by_team(int64_t threads, int64_t count, int64_t unit, F body) {
    if (threads <= 1 || count <= unit) {
        body(int64_t{0}, count);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        const Range mine = share(count, unit, omp_get_num_threads(), omp_get_thread_num());
        if (mine.begin < mine.end) body(mine.begin, mine.end);
    }
}
