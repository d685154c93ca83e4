// Ranges of indices, cut into parts.
#pragma once
#include <stdint.h>

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

// The part `index` of `parts` of 0 ... count, cut at multiples of `unit`, sizes differing by one unit at most.
struct Range {
    int64_t begin, end;
    int64_t size() const { return end - begin; }
};

static inline Range share(int64_t count, int64_t unit, int64_t parts, int64_t index) {
    int64_t units = ceil_div(count, unit);
    return {min_of(count, units * index / parts * unit), min_of(count, units * (index + 1) / parts * unit)};
}
