// Rows [rows, width] each of which becomes one number or is scaled by what is computed of it.
#pragma once
#include "functions.h"
#include "team.h"

static inline float sum_of(const float* row, int64_t width) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t x = 0; x < width; x++) sum += row[x];
    return sum;
}

// p: threads, rows, width. a: rows, their means.
static inline void mean_rows(const int64_t* p, void* const* a) {
    const int64_t width = p[2];
    const float* from = static_cast<const float*>(a[0]);
    float* to = static_cast<float*>(a[1]);
    by_team(p[0], p[1], 16, [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; y++) to[y] = sum_of(from + y * width, width) / static_cast<float>(width);
    });
}

// p: threads, rows, width. a: rows, e^(x - largest) over their sum.
static inline void softmax_rows(const int64_t* p, void* const* a) {
    const int64_t width = p[2];
    by_team(p[0], p[1], 1, [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; y++) {
            const float* from = static_cast<const float*>(a[0]) + y * width;
            float* __restrict to = static_cast<float*>(a[1]) + y * width;
            float largest = from[0], sum = 0;
#pragma omp simd reduction(max : largest)
            for (int64_t x = 0; x < width; x++) largest = from[x] > largest ? from[x] : largest;
#pragma omp simd reduction(+ : sum)
            for (int64_t x = 0; x < width; x++) sum += to[x] = exp_of(from[x] - largest);
            const float scale = 1.0f / sum;
            for (int64_t x = 0; x < width; x++) to[x] *= scale;
        }
    });
}

// Layer normalisation (Ba, Kiros, Hinton 2016): (x - mean) / sqrt(variance + epsilon) * scale + bias; the variance is
// of the differences, in a second pass over the row. p: threads, rows, width. a: rows, scale, bias or null, epsilon,
// result.
static inline void normalise_rows(const int64_t* p, void* const* a) {
    const int64_t width = p[2];
    const float *scale = static_cast<const float*>(a[1]), *bias = static_cast<const float*>(a[2]);
    const float epsilon = *static_cast<const float*>(a[3]);
    by_team(p[0], p[1], 1, [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; y++) {
            const float* from = static_cast<const float*>(a[0]) + y * width;
            float* __restrict to = static_cast<float*>(a[4]) + y * width;
            const float mean = sum_of(from, width) / static_cast<float>(width);
            float squares = 0;
#pragma omp simd reduction(+ : squares)
            for (int64_t x = 0; x < width; x++) squares += (from[x] - mean) * (from[x] - mean);
            const float factor = 1.0f / sqrt_of(squares / static_cast<float>(width) + epsilon);
            if (bias)
                for (int64_t x = 0; x < width; x++) to[x] = (from[x] - mean) * factor * scale[x] + bias[x];
            else
                for (int64_t x = 0; x < width; x++) to[x] = (from[x] - mean) * factor * scale[x];
        }
    });
}
