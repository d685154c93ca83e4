// Means of 8-bit integers that stand for numbers, in the order and with the roundings of ONNX Runtime's QLinearAveragePool
// and QLinearGlobalAveragePool: means of integers often lie in the middle between two of them.
//
// a: integers, floats of the program's own, result of the same type.
#pragma once
#include <memory>

#include "functions.h"
#include "pooling.h"

typedef int32_t block_of_integers __attribute__((vector_size(4 * BLOCK)));

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

// Elements of a row as floats, in whole blocks; behind the row are zeros. No element behind `end` is read.
template <class T>
static inline void as_floats(float* to, const T* from, int64_t width, const T* end, const float* numbers) {
    for (int64_t x = 0; x < width; x += BLOCK) {
        block<T> found = {};
        if (from + x + BLOCK <= end) found = read(from + x);
        else __builtin_memcpy(&found, from + x, (end - from - x) * sizeof(T));
        // By way of integers: what makes floats of bytes at once is compiled to an element at a time.
        const auto wide = __builtin_convertvector(__builtin_convertvector(found, block_of_integers), block<float>);
        write(to + x, numbers[0] * (wide - numbers[1]));
    }
    for (int64_t x = width; x < whole_blocks(width); x++) to[x] = 0.0f;
}

// Sums of windows side by side, each along its rows; row y of the image is row y % `held` of the buffer.
template <int STEP>
static inline void sum_windows(float* sums, const float* rows, int64_t length, int64_t held, int64_t first, int64_t last,
                               int64_t taps, int64_t count, int64_t step) {
    for (int64_t x = 0; x < count; x += BLOCK) {
        block<float> found = {};
        for (int64_t y = first; y < last; y++) {
            const float* row = rows + y % held * length + x * step;
            for (int64_t tap = 0; tap < taps; tap++) found += apart<STEP>(row + tap, step);
        }
        write(sums + x, found);
    }
}

// p: as `pool`. Floats: scale and zero of the source, of the result. The zero is added before rounding. Sums go along
// the rows of a window, one row after the other; columns of the result are computed side by side.
template <class T>
static inline void average_integers(const int64_t* p, void* const* a) {
    const int64_t threads = p[0], images = p[1], height = p[2], width = p[3], high = p[4], wide = p[5];
    const int64_t window_h = p[6], window_w = p[7], step_h = p[8], step_w = p[9], top = p[10], left = p[11];
    const bool padding_counts = p[12];
    const T* source = static_cast<const T*>(a[0]);
    const T* end = source + images * height * width;
    const float* numbers = static_cast<const float*>(a[1]);
    T* result = static_cast<T*>(a[2]);
    const int64_t length = max_of((whole_blocks(wide) + BLOCK) * step_w + window_w, left + whole_blocks(width));
    const int64_t held = min_of(window_h, height);  // a window may be taller than the image, with padding
    by_team(threads, images * high, 1, [&](int64_t begin, int64_t until) {
        float sums[MOST_WIDTH], columns[MOST_WIDTH];
        const std::unique_ptr<float[]> rows(new float[held * length]());
        for (int64_t x = 0; x < whole_blocks(wide); x++) {
            const int64_t first = x * step_w - left, inside = min_of(first + window_w, width) - max_of(first, 0);
            columns[x] = static_cast<float>(padding_counts || x >= wide ? window_w : inside);
        }
        int64_t next = 0;
        for (int64_t index = begin; index < until; index++) {
            const int64_t above = index % high * step_h - top, first = max_of(above, 0);
            const int64_t last = min_of(above + window_h, height);
            const T* image = source + index / high * height * width;
            next = index == begin || index % high == 0 ? first : max_of(next, first);
            for (; next < last; next++)
                as_floats(rows.get() + next % held * length + left, image + next * width, width, end, numbers);
            const auto sum = step_w == 1 ? sum_windows<1> : step_w == 2 ? sum_windows<2> : sum_windows<0>;
            sum(sums, rows.get(), length, held, first, last, window_w, wide, step_w);
            const float lines = static_cast<float>(padding_counts ? window_h : last - first);
            for (int64_t x = 0; x < wide; x += BLOCK) {
                const block<float> low = block<float>{} + (T(-1) < T(0) ? -128.0f : 0.0f), high_end = low + 255.0f;
                block<float> mean = read(sums + x) / (read(columns + x) * lines) / numbers[2] + numbers[3];
                // What is added to 1.5 * 2^23 is rounded to an integer; the ends are integers, so they may come first.
                mean = mean < low ? low : mean;
                mean = mean > high_end ? high_end : mean;
                mean = (mean + 12582912.0f) - 12582912.0f;
                const auto whole = __builtin_convertvector(mean, block_of_integers);
                const block<T> found = __builtin_convertvector(whole, block<T>);
                // Whole blocks go beyond the row, where this thread's next one will be.
                T* to = result + index * wide + x;
                if (index * wide + x + BLOCK <= until * wide) write(to, found);
                else __builtin_memcpy(to, &found, min_of(BLOCK, wide - x) * sizeof(T));
            }
        }
    });
}
