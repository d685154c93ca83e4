// A function of corresponding elements of N tensors, in one pass, with broadcasting.
//
//     ELEMENTWISE(FLAT, RESULT, T0, ..., TN-1)       behind `static inline float function(float x0, ..., float xN-1)`
//
// T are the operands' types and RESULT the result's: what is no float is converted on its way in and out, and a float that
// becomes an integer is a whole number of its range by then.
//
// p: threads, rank, sizes[rank], strides[N][rank], in elements; axes that all operands have alike are one axis by now,
// so that along the last one an operand either advances by 1 (its bit of FLAT is set) or stands still. The result is
// contiguous. a: the operands, the result.
#pragma once
#include <utility>

#include "functions.h"
#include "team.h"

enum { MOST_AXES = 8 };

template <class R>
static inline __attribute__((always_inline)) R from_float(float x) {
    return static_cast<R>(static_cast<int32_t>(x));
}
template <>
inline __attribute__((always_inline)) float from_float<float>(float x) {
    return x;
}

template <unsigned FLAT, class R, class... T, class F, int... I>
static inline void row(R* __restrict to, const char* const* from, int64_t count, F f, std::integer_sequence<int, I...>) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        to[i] = from_float<R>(f(static_cast<float>(reinterpret_cast<const T*>(from[I])[FLAT >> I & 1 ? i : 0])...));
}

template <unsigned FLAT, class R, class... T, class F>
static inline void elementwise(const int64_t* p, void* const* a, F f) {
    enum { N = sizeof...(T) };
    const int64_t bytes[] = {sizeof(T)...};
    const int64_t threads = p[0], rank = p[1];
    const int64_t *sizes = p + 2, *strides = sizes + rank;
    const int64_t width = sizes[rank - 1];
    int64_t count = 1;
    for (int64_t axis = 0; axis < rank; axis++) count *= sizes[axis];
    by_team(threads, count, 64, [&](int64_t begin, int64_t end) {
        int64_t at[MOST_AXES];
        int64_t rest = begin / width, column = begin % width;
        for (int64_t axis = rank - 2; axis >= 0; axis--) at[axis] = rest % sizes[axis], rest /= sizes[axis];
        const char* from[N];
        for (int i = 0; i < N; i++) {
            from[i] = static_cast<const char*>(a[i]) + (FLAT >> i & 1 ? column * bytes[i] : 0);
            for (int64_t axis = 0; axis < rank - 1; axis++) from[i] += at[axis] * strides[i * rank + axis] * bytes[i];
        }
        R* to = static_cast<R*>(a[N]) + begin;
        while (begin < end) {
            const int64_t length = min_of(width - column, end - begin);
            row<FLAT, R, T...>(to, from, length, f, std::make_integer_sequence<int, N>());
            to += length, begin += length;
            // To the next row: back to its beginning, and on along the last axis that is not at its end.
            for (int i = 0; i < N; i++) from[i] -= FLAT >> i & 1 ? column * bytes[i] : 0;
            column = 0;
            for (int64_t axis = rank - 2; axis >= 0; axis--) {
                const bool over = ++at[axis] == sizes[axis];
                const int64_t steps = over ? at[axis] = 0, 1 - sizes[axis] : 1;
                for (int i = 0; i < N; i++) from[i] += steps * strides[i * rank + axis] * bytes[i];
                if (!over) break;
            }
        }
    });
}

#define ELEMENTWISE(FLAT, ...) \
    EXPORTED void elementwise_call(const int64_t* p, void* const* a) { \
        elementwise<FLAT, __VA_ARGS__>(p, a, [](auto... x) __attribute__((always_inline)) { return function(x...); }); \
    }
