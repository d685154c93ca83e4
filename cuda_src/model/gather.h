// Arrays put behind each other: the rows of many requests as one batch. On the calling thread alone, since whoever reads
// requests has the other cores meanwhile.
#pragma once
#include <stdint.h>
#include <string.h>

// p: how many arrays, bytes of each; a: where they go, the arrays. Nothing overlaps.
static inline void gather_arrays(const int64_t* p, void* const* a) {
    char* to = static_cast<char*>(a[0]);
    for (int64_t i = 1; i <= p[0]; to += p[i++]) memcpy(to, a[i], size_t(p[i]));
}
