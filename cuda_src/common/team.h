// A team of threads that compute one call together, and what falls to each of them.
//
// `threads` is the kernel's parameter, a macro; with 1 there is no team, and nothing of OpenMP is compiled.
//
//     const Range mine = share(rows, 4, size, index);     rows 0 ... 13 in units of 4, a team of 3:
//
//       thread 0: 0 1 2 3    thread 1: 4 5 6 7    thread 2: 8 9 10 11 12 13
#pragma once
#include "range.h"

#if threads > 1
#include <omp.h>
#endif

// All threads of the team come here before one goes on.
static inline __attribute__((always_inline)) void wait_for_team() {
#if threads > 1
#pragma omp barrier
#endif
}

// work(size, index) by each thread of a team of `size`, all at once.
template <class Work>
static inline __attribute__((always_inline)) void with_team(const Work& work) {
#if threads > 1
#pragma omp parallel num_threads(threads)
    work(int64_t(omp_get_num_threads()), int64_t(omp_get_thread_num()));
#else
    work(int64_t(1), int64_t(0));
#endif
}
