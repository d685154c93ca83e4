// Means of 8-bit integers that stand for numbers, in the order and with the roundings of ONNX Runtime's QLinearAveragePool
// and QLinearGlobalAveragePool: means of integers often lie in the middle between two of them.
//
// a: integers, floats of the program's own, result of the same type.
#pragma once
#include "functions.h"
#include "pooling.h"

template <class T>
static inline T in_range(float x) {
    const float low = sizeof(T) == 1 && T(-1) < T(0) ? -128.0f : 0.0f;
    return static_cast<T>(static_cast<int32_t>(clip_of(x, low, low + 255.0f)));
}

// p: threads, rows, elements of a row. Floats: from a sum to the result, the sum's zero, the result's zero.
template <class T>
static inline void mean_integer_rows(const int64_t* p, void* const* a) {
    const int64_t width = p[2];
    const T* from = static_cast<const T*>(a[0]);
    const float* numbers = static_cast<const float*>(a[1]);
    T* to = static_cast<T*>(a[2]);
    by_team(p[0], p[1], 1, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < width; i++) sum += from[row * width + i];
            sum -= static_cast<int32_t>(numbers[1]);
            to[row] = in_range<T>(__builtin_rintf(static_cast<float>(sum) * numbers[0]) + numbers[2]);
        }
    });
}

// Every STEP-th element of a row (0: `step`-th) to the sums of its window, in whole blocks.
template <int STEP>
static inline void add_apart(float* sums, const float* row, int64_t count, int64_t step) {
    for (int64_t x = 0; x < count; x += BLOCK) write(sums + x, read(sums + x) + apart<STEP>(row + x * step, step));
}

// p: as `pool`. Floats: scale and zero of the source, of the result. The zero is added before rounding. Sums go along
// the rows of a window, one row after the other; columns of the result are computed side by side.
template <class T>
static inline void average_integers(const int64_t* p, void* const* a) {
    const int64_t threads = p[0], images = p[1], height = p[2], width = p[3], high = p[4], wide = p[5];
    const int64_t window_h = p[6], window_w = p[7], step_h = p[8], step_w = p[9], top = p[10], left = p[11];
    const bool padding_counts = p[12];
    const T* source = static_cast<const T*>(a[0]);
    const float* numbers = static_cast<const float*>(a[1]);
    T* result = static_cast<T*>(a[2]);
    by_team(threads, images * high, 1, [&](int64_t begin, int64_t until) {
        float row[MOST_WIDTH], sums[MOST_WIDTH], columns[MOST_WIDTH];
        for (int64_t x = 0; x < MOST_WIDTH && x < (whole_blocks(wide) + BLOCK) * step_w + window_w; x++) row[x] = 0.0f;
        for (int64_t x = 0; x < wide; x++) {
            const int64_t first = x * step_w - left, inside = min_of(first + window_w, width) - max_of(first, 0);
            columns[x] = static_cast<float>(padding_counts ? window_w : inside);
        }
        for (int64_t index = begin; index < until; index++) {
            const int64_t above = index % high * step_h - top, first = max_of(above, 0);
            const int64_t last = min_of(above + window_h, height);
            const T* image = source + index / high * height * width;
            for (int64_t x = 0; x < whole_blocks(wide); x++) sums[x] = 0.0f;
            for (int64_t y = first; y < last; y++) {
                const T* from = image + y * width;
#pragma omp simd
                for (int64_t x = 0; x < width; x++) row[left + x] = numbers[0] * (static_cast<float>(from[x]) - numbers[1]);
                for (int64_t tap = 0; tap < window_w; tap++) {
                    if (step_w == 1) add_apart<1>(sums, row + tap, wide, step_w);
                    else if (step_w == 2) add_apart<2>(sums, row + tap, wide, step_w);
                    else add_apart<0>(sums, row + tap, wide, step_w);
                }
            }
            const float lines = static_cast<float>(padding_counts ? window_h : last - first);
            T* to = result + index * wide;
#pragma omp simd
            for (int64_t x = 0; x < wide; x++)
                to[x] = in_range<T>(__builtin_rintf(sums[x] / (columns[x] * lines) / numbers[2] + numbers[3]));
        }
    });
}
