// Arrays put behind each other: what a model is given, and the rows of many requests as one batch.
#pragma once
#include <string.h>

#include "team.h"

// p: threads, how many arrays, bytes of each; a: where they go, the arrays. Nothing overlaps.
static inline void gather_arrays(const int64_t* p, void* const* a) {
    const int64_t count = p[1], *bytes = p + 2;
    char* result = static_cast<char*>(a[0]);
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) total += bytes[i];
    by_team(p[0], total, 4096, [&](int64_t begin, int64_t end) {
        int64_t place = 0;
        for (int64_t i = 0; i < count; place += bytes[i++]) {
            const int64_t first = max_of(begin, place), last = min_of(end, place + bytes[i]);
            if (first < last) memcpy(result + first, static_cast<const char*>(a[1 + i]) + first - place, last - first);
        }
    });
}
