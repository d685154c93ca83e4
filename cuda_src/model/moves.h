// Elements that go to another place: transposed, concatenated, sliced, repeated.
//
// p: threads, rank, sizes[rank], strides of the source[rank], of the result[rank], first element of the source, of the
// result; in elements. The last axis is the one along which the result is contiguous, where there is one, and the one
// before it that along which the source is, where that is another. a: source, result.
#pragma once
#include "team.h"

enum { TILE = 32, MOST_MOVED = 32 };

// Four lines of four elements, transposed in registers.
typedef int32_t four __attribute__((vector_size(16)));
typedef int32_t four_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

template <int... I>
static inline four picked(four a, four b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, I...);
#else
    return __builtin_shuffle(a, b, four{I...});
#endif
}

static inline void turned(int32_t* to, const int32_t* from, int64_t from_step, int64_t to_step) {
    four line[4];
    for (int i = 0; i < 4; i++) line[i] = *reinterpret_cast<const four_unaligned*>(from + i * from_step);
    const four a = picked<0, 4, 1, 5>(line[0], line[1]), b = picked<2, 6, 3, 7>(line[0], line[1]);
    const four c = picked<0, 4, 1, 5>(line[2], line[3]), d = picked<2, 6, 3, 7>(line[2], line[3]);
    const four found[4] = {picked<0, 1, 4, 5>(a, c), picked<2, 3, 6, 7>(a, c), picked<0, 1, 4, 5>(b, d),
                           picked<2, 3, 6, 7>(b, d)};
    for (int i = 0; i < 4; i++) *reinterpret_cast<four_unaligned*>(to + i * to_step) = found[i];
}

template <class T>
static inline void line(T* __restrict to, const T* from, int64_t count, int64_t from_step, int64_t to_step) {
    if (from_step == 1 && to_step == 1) __builtin_memcpy(to, from, count * sizeof(T));
    else if (from_step == 0 && to_step == 1)
        for (int64_t i = 0; i < count; i++) to[i] = *from;
    else
        for (int64_t i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
}

// Tiles of lines along both axes, in them blocks of four by four; what is left of them element by element.
static inline void transpose(int32_t* to, const int32_t* from, const int64_t* sizes, int64_t from_step,
                             int64_t to_step) {
    for (int64_t first = 0; first < sizes[1]; first += TILE) {
        const int64_t last = min_of(first + TILE, sizes[1]), whole = first + (last - first) / 4 * 4;
        for (int64_t y = 0; y < sizes[0]; y += 4) {
            const bool block = y + 4 <= sizes[0];
            for (int64_t x = first; block && x < whole; x += 4)
                turned(to + y * to_step + x, from + x * from_step + y, from_step, to_step);
            for (int64_t row = y; row < min_of(y + 4, sizes[0]); row++)
                for (int64_t x = block ? whole : first; x < last; x++)
                    to[row * to_step + x] = from[x * from_step + row];
        }
    }
}

// A plane of the last two axes, in tiles where it is transposed: lines of both sides stay in the cache.
template <class T>
static inline void plane(T* to, const T* from, const int64_t* sizes, const int64_t* in, const int64_t* out) {
    if (sizeof(T) == 4 && in[0] == 1 && in[1] > 1 && out[1] == 1 && sizes[0] >= 4) {
        transpose(reinterpret_cast<int32_t*>(to), reinterpret_cast<const int32_t*>(from), sizes, in[1], out[0]);
        return;
    }
    // Each element several times.
    if (in[0] == 1 && in[1] == 0 && out[1] == 1 && out[0] == 2 && sizes[1] == 2) {
        for (int64_t y = 0; y < sizes[0]; y++) to[2 * y] = to[2 * y + 1] = from[y];
        return;
    }
    const int64_t tile = in[1] > 1 && in[0] == 1 ? int64_t{TILE} : sizes[1];
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
        int64_t at[MOST_MOVED], rest = begin / last[0], row = begin % last[0];
        const T* source = from;
        T* result = to;
        for (int64_t axis = rank - 3; axis >= 0; axis--) {
            at[axis] = rest % sizes[axis], rest /= sizes[axis];
            source += at[axis] * in[axis];
            result += at[axis] * out[axis];
        }
        while (begin < end) {
            const int64_t part[2] = {min_of(last[0] - row, end - begin), last[1]};
            plane(result + row * out[rank - 2], source + row * in[rank - 2], part, in + rank - 2, out + rank - 2);
            begin += part[0], row = 0;
            for (int64_t axis = rank - 3; axis >= 0; axis--) {
                const bool over = ++at[axis] == sizes[axis];
                const int64_t steps = over ? at[axis] = 0, 1 - sizes[axis] : 1;
                source += steps * in[axis];
                result += steps * out[axis];
                if (!over) break;
            }
        }
    });
}

// uint8 less 128 as int8, and back. p: threads, count; a: source, result, which may be the same.
static inline void flip_bytes(const int64_t* p, void* const* a) {
    const uint8_t* from = static_cast<const uint8_t*>(a[0]);
    uint8_t* to = static_cast<uint8_t*>(a[1]);
    // Copies of the pointers: bytes that are written may be anything, also what the lambda holds by reference.
    by_team(p[0], p[1], 64, [=](int64_t begin, int64_t end) {
        const uint8_t* source = from;
        uint8_t* result = to;
#pragma omp simd
        for (int64_t i = begin; i < end; i++) result[i] = source[i] ^ 128;
    });
}
