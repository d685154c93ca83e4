// A team of plain pthreads, pinned one to a core, that work at the same time; for what measures the machine.
// Not OpenMP: an OpenMP runtime loaded here would decide the affinity and the spinning of the kernels that are
// measured in the same process. (Kernels' own teams: cuda_src/common/team.h.)
//
// A member is a struct of the user's with at least
//
//     Team* team;  int index;        set by run_team
//     void (*work)(Member&);         what it does; members wait for each other by barrier(*member.team)
//     double seconds;                its result
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>

enum { MOST_MEMBERS = 1024 };

static double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

struct Team {
    int threads;
    int arrived;      // atomic
    int generation;   // atomic
};

static void barrier(Team& team) {
    int generation = __atomic_load_n(&team.generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&team.arrived, 1, __ATOMIC_ACQ_REL) == team.threads) {
        __atomic_store_n(&team.arrived, 0, __ATOMIC_RELAXED);
        __atomic_add_fetch(&team.generation, 1, __ATOMIC_ACQ_REL);
        return;
    }
    // The yield matters where two threads share a core (a machine with fewer cores than it says).
    for (int spins = 0; __atomic_load_n(&team.generation, __ATOMIC_ACQUIRE) == generation; ++spins) {
        if (spins > 2000) sched_yield();
    }
}

template <class Member>
static void* enter(void* argument) {
    Member& member = *static_cast<Member*>(argument);
    member.work(member);
    return nullptr;
}

// Runs `work` on threads pinned to `cpus`, one each; the caller only waits. Returns 0, or -1 where a thread
// cannot be made: then none of the members' results means anything.
template <class Member>
static int run_team(const int* cpus, int threads, Member* members) {
    Team team = {threads, 0, 0};
    pthread_t handles[MOST_MEMBERS];
    if (threads < 1 || threads > MOST_MEMBERS) return -1;
    int made = 0;
    for (; made < threads; ++made) {
        members[made].team = &team;
        members[made].index = made;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpus[made], &set);
        pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
        int failed = pthread_create(&handles[made], &attributes, enter<Member>, &members[made]);
        pthread_attr_destroy(&attributes);
        if (failed) break;
    }
    if (made < threads) {
        // The others wait at their barrier for members that will not come: let them through.
        __atomic_store_n(&team.threads, made, __ATOMIC_RELEASE);
        __atomic_add_fetch(&team.generation, 1, __ATOMIC_ACQ_REL);
    }
    for (int i = 0; i < made; ++i) pthread_join(handles[i], nullptr);
    return made == threads ? 0 : -1;
}

template <class Member>
static double slowest(const Member* members, int threads) {
    double seconds = 0;
    for (int i = 0; i < threads; ++i) {
        if (members[i].seconds > seconds) seconds = members[i].seconds;
    }
    return seconds;
}
