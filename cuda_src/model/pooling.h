// Windows over images [images, height, width]: their largest element or their mean.
//
// p: threads, images, height, width, height and width of the result, of a window, of its steps, padding above and on the
// left, whether padding counts in a mean. a: images, result.
#pragma once
#include "team.h"

enum { MOST_WIDTH = 4096 };

template <bool MEAN>
static inline float joined(float a, float b) {
    // A NaN stays where it is the first: sums of both kinds begin with an element.
    return MEAN ? a + b : b > a ? b : a;
}

template <bool MEAN, int STEP>
static inline void across(float* __restrict to, const float* row, int64_t count, int64_t taps, int64_t step) {
    const int64_t s = STEP ? STEP : step;
    for (int64_t x = 0; x < count; x++) to[x] = row[x * s];
    for (int64_t tap = 1; tap < taps; tap++) {
#pragma omp simd
        for (int64_t x = 0; x < count; x++) to[x] = joined<MEAN>(to[x], row[x * s + tap]);
    }
}

// First the rows of a window become one, then its columns.
template <bool MEAN>
static inline void pool(const int64_t* p, void* const* a) {
    const int64_t threads = p[0], images = p[1], height = p[2], width = p[3], high = p[4], wide = p[5];
    const int64_t window_h = p[6], window_w = p[7], step_h = p[8], step_w = p[9], top = p[10], left = p[11];
    const bool padding_counts = p[12];
    const float *source = static_cast<const float*>(a[0]), empty = MEAN ? 0.0f : -__builtin_inff();
    float* result = static_cast<float*>(a[1]);
    const int64_t span = max_of((wide - 1) * step_w + window_w, left + width);
    by_team(threads, images * high, 1, [&](int64_t begin, int64_t end) {
        float row[MOST_WIDTH];
        for (int64_t x = 0; x < span; x++) row[x] = empty;
        for (int64_t index = begin; index < end; index++) {
            const float* image = source + index / high * height * width;
            const int64_t y = index % high * step_h - top, from = max_of(y, 0), until = min_of(y + window_h, height);
            for (int64_t x = 0; x < width; x++) row[left + x] = image[from * width + x];
            for (int64_t line = from + 1; line < until; line++) {
#pragma omp simd
                for (int64_t x = 0; x < width; x++) row[left + x] = joined<MEAN>(row[left + x], image[line * width + x]);
            }
            float* to = result + index * wide;
            if (step_w == 1) across<MEAN, 1>(to, row, wide, window_w, step_w);
            else if (step_w == 2) across<MEAN, 2>(to, row, wide, window_w, step_w);
            else across<MEAN, 0>(to, row, wide, window_w, step_w);
            if (!MEAN) continue;
            for (int64_t x = 0; x < wide; x++) {
                const int64_t column = x * step_w - left;
                const int64_t columns = min_of(column + window_w, width) - max_of(column, 0);
                to[x] /= static_cast<float>(padding_counts ? window_h * window_w : columns * (until - from));
            }
        }
    });
}
