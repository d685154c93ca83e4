// Elements that go to another place: transposed, concatenated, sliced, repeated.
//
// p: threads, rank, sizes[rank], strides of the source[rank], of the result[rank], first element of the source, of the
// result; in elements. The last axis is the one along which the result is contiguous, where there is one, and the one
// before it that along which the source is, where that is another. a: source, result.
#pragma once
#include "team.h"

enum { TILE = 32 };

template <class T>
static inline void line(T* __restrict to, const T* from, int64_t count, int64_t from_step, int64_t to_step) {
    if (from_step == 1 && to_step == 1) __builtin_memcpy(to, from, count * sizeof(T));
    else if (from_step == 0 && to_step == 1)
        for (int64_t i = 0; i < count; i++) to[i] = *from;
    else
        for (int64_t i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
}

// A plane of the last two axes, in tiles where it is transposed: lines of both sides stay in the cache.
template <class T>
static inline void plane(T* to, const T* from, const int64_t* sizes, const int64_t* in, const int64_t* out) {
    const int64_t tile = in[1] > 1 && in[0] == 1 ? TILE : sizes[1];
    for (int64_t first = 0; first < sizes[1]; first += tile)
        for (int64_t y = 0; y < sizes[0]; y++)
            line(to + y * out[0] + first * out[1], from + y * in[0] + first * in[1], min_of(tile, sizes[1] - first),
                 in[1], out[1]);
}

template <class T>
static inline void move(const int64_t* p, void* const* a) {
    const int64_t threads = p[0], rank = p[1];
    const int64_t *sizes = p + 2, *in = sizes + rank, *out = in + rank, *first = out + rank;
    const T* from = static_cast<const T*>(a[0]) + first[0];
    T* to = static_cast<T*>(a[1]) + first[1];
    // Blocks of lines are shared: rows of the last plane, of all planes.
    int64_t planes = 1;
    for (int64_t axis = 0; axis < rank - 2; axis++) planes *= sizes[axis];
    const int64_t* last = sizes + rank - 2;
    by_team(threads, planes * last[0], planes == 1 ? 16 : 1, [&](int64_t begin, int64_t end) {
        while (begin < end) {
            int64_t rest = begin / last[0];
            const int64_t row = begin % last[0], rows = min_of(last[0] - row, end - begin);
            const T* source = from + row * in[rank - 2];
            T* result = to + row * out[rank - 2];
            for (int64_t axis = rank - 3; axis >= 0; axis--) {
                source += rest % sizes[axis] * in[axis];
                result += rest % sizes[axis] * out[axis];
                rest /= sizes[axis];
            }
            const int64_t part[2] = {rows, last[1]};
            plane(result, source, part, in + rank - 2, out + rank - 2);
            begin += rows;
        }
    });
}
