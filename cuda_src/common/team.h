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

// BY_TEAM stands before a statement or block that every thread of a team runs; within it TEAM_SIZE says how many there
// are, and TEAM_INDEX which one this is. Macros: functions for them moved the code of whole kernels about.
#if threads > 1
#define BY_TEAM _Pragma("omp parallel num_threads(threads)")
#define TEAM_SIZE omp_get_num_threads()
#define TEAM_INDEX omp_get_thread_num()
#else
#define BY_TEAM
#define TEAM_SIZE 1
#define TEAM_INDEX 0
#endif

// All threads of the team come here before one goes on.
static inline __attribute__((always_inline)) void wait_for_team() {
#if threads > 1
#pragma omp barrier
#endif
}
