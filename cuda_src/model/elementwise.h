// A function of corresponding elements of N tensors, in one pass, with broadcasting.
//
//     ELEMENTWISE(N, FLAT)       behind `static inline float function(float x0, ..., float xN-1)`
//
// p: threads, rank, sizes[rank], strides[N][rank], in elements; axes that all operands have alike are one axis by now,
// so that along the last one an operand either advances by 1 (its bit of FLAT is set) or stands still. The result is
// contiguous. a: the operands, the result.
#pragma once
#include <utility>

#include "functions.h"
#include "team.h"

enum { MOST_AXES = 8 };

template <int N, unsigned FLAT, class F, int... I>
static inline void row(float* __restrict to, const float* const* from, int64_t count, F f,
                       std::integer_sequence<int, I...>) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) to[i] = f(from[I][FLAT >> I & 1 ? i : 0]...);
}

template <int N, unsigned FLAT, class F>
static inline void elementwise(const int64_t* p, void* const* a, F f) {
    const int64_t threads = p[0], rank = p[1];
    const int64_t *sizes = p + 2, *strides = sizes + rank;
    const int64_t width = sizes[rank - 1];
    int64_t count = 1;
    for (int64_t axis = 0; axis < rank; axis++) count *= sizes[axis];
    by_team(threads, count, 64, [&](int64_t begin, int64_t end) {
        int64_t at[MOST_AXES];
        int64_t rest = begin / width, column = begin % width;
        for (int64_t axis = rank - 2; axis >= 0; axis--) at[axis] = rest % sizes[axis], rest /= sizes[axis];
        const float* from[N];
        for (int i = 0; i < N; i++) {
            from[i] = static_cast<const float*>(a[i]) + (FLAT >> i & 1 ? column : 0);
            for (int64_t axis = 0; axis < rank - 1; axis++) from[i] += at[axis] * strides[i * rank + axis];
        }
        float* to = static_cast<float*>(a[N]) + begin;
        while (begin < end) {
            const int64_t length = min_of(width - column, end - begin);
            row<N, FLAT>(to, from, length, f, std::make_integer_sequence<int, N>());
            to += length, begin += length;
            // To the next row: back to its beginning, and on along the last axis that is not at its end.
            for (int i = 0; i < N; i++) from[i] -= FLAT >> i & 1 ? column : 0;
            column = 0;
            for (int64_t axis = rank - 2; axis >= 0; axis--) {
                const bool over = ++at[axis] == sizes[axis];
                const int64_t steps = over ? at[axis] = 0, 1 - sizes[axis] : 1;
                for (int i = 0; i < N; i++) from[i] += steps * strides[i * rank + axis];
                if (!over) break;
            }
        }
    });
}

#define ELEMENTWISE(N, FLAT) \
    EXPORTED void elementwise_call(const int64_t* p, void* const* a) { \
        elementwise<N, FLAT>(p, a, [](auto... x) __attribute__((always_inline)) { return function(x...); }); \
    }
