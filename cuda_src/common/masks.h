// Masks of vectors of sixteen.
#pragma once
#include <immintrin.h>

#include "range.h"

// The first so many of 16 lanes; none of a negative number.
static inline __mmask16 first_lanes(int64_t count) {
    return count >= 16 ? __mmask16(0xffff) : __mmask16((1u << max_of(count, 0)) - 1);
}
