// Windows over images [images, height, width]: their largest element or their mean.
//
// p: threads, images, height, width, height and width of the result, of a window, of its steps, padding above and on
// the left, whether padding counts in a mean. a: images, result.
#pragma once
#include "team.h"

// Lines are computed in whole blocks: what is left of short ones would be computed element by element.
enum { MOST_WIDTH = 4096, BLOCK = 16 };

static inline int64_t whole_blocks(int64_t count) { return ceil_div(count, BLOCK) * BLOCK; }

// A block of elements, wherever it begins; where the elements of one go that are picked of two; what is no element.
template <class T>
struct Blocks;
template <>
struct Blocks<float> {
    typedef float block __attribute__((vector_size(4 * BLOCK)));
    typedef float unaligned __attribute__((vector_size(4 * BLOCK), aligned(4), may_alias));
    typedef int32_t places __attribute__((vector_size(4 * BLOCK)));
    static constexpr float LEAST = -__builtin_inff();
};
template <>
struct Blocks<int8_t> {
    typedef int8_t block __attribute__((vector_size(BLOCK)));
    typedef int8_t unaligned __attribute__((vector_size(BLOCK), aligned(1), may_alias));
    typedef int8_t places __attribute__((vector_size(BLOCK)));
    static constexpr int8_t LEAST = -128;
};
template <>
struct Blocks<uint8_t> {
    typedef uint8_t block __attribute__((vector_size(BLOCK)));
    typedef uint8_t unaligned __attribute__((vector_size(BLOCK), aligned(1), may_alias));
    typedef int8_t places __attribute__((vector_size(BLOCK)));
    static constexpr uint8_t LEAST = 0;
};
template <class T>
using block = typename Blocks<T>::block;

template <class T>
static inline __attribute__((always_inline)) block<T> read(const T* p) {
    return *reinterpret_cast<const typename Blocks<T>::unaligned*>(p);
}

template <class T>
static inline __attribute__((always_inline)) void write(T* p, block<T> value) {
    *reinterpret_cast<typename Blocks<T>::unaligned*>(p) = value;
}

// The larger one is a NaN where either is, wherever in a window it lies.
template <bool MEAN, class T>
static inline __attribute__((always_inline)) T joined(T a, T b) {
    return MEAN ? a + b : (b > a) | (b != b) ? b : a;
}

// Elements 0, STEP, 2 STEP ... of a line; 0: STEP is `step`.
template <int STEP, class T>
static inline __attribute__((always_inline)) block<T> apart(const T* p, int64_t step) {
    if (STEP == 1) return read(p);
#if !defined(__clang__)
    if (STEP == 2)
        return __builtin_shuffle(read(p), read(p + BLOCK),
                                 typename Blocks<T>::places{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30});
#endif
    block<T> found;
    for (int i = 0; i < BLOCK; i++) found[i] = p[i * step];
    return found;
}

// Columns of a window become one; of means, times `factors`.
template <bool MEAN, int STEP, class T>
static inline void across(T* to, const T* row, const T* factors, int64_t count, int64_t taps, int64_t step) {
    for (int64_t x = 0; x < count; x += BLOCK) {
        const T* from = row + x * step;
        block<T> found = apart<STEP>(from, step);
        for (int64_t tap = 1; tap < taps; tap++) found = joined<MEAN>(found, apart<STEP>(from + tap, step));
        if (MEAN) found *= read(factors + x);
        write(to + x, found);
    }
}

// Rows of an image become one. `safe` elements can be read from the first row's beginning on.
template <bool MEAN, class T>
static inline void down(T* to, const T* from, int64_t width, int64_t rows, int64_t safe, T factor) {
    int64_t x = 0;
    for (; x < width && x + BLOCK + (rows - 1) * width <= safe; x += BLOCK) {
        block<T> found = read(from + x);
        for (int64_t line = 1; line < rows; line++) found = joined<MEAN>(found, read(from + line * width + x));
        if (MEAN) found *= factor;
        write(to + x, found);
    }
    for (; x < width; x++) {
        T found = from[x];
        for (int64_t line = 1; line < rows; line++) found = joined<MEAN>(found, from[line * width + x]);
        to[x] = MEAN ? found * factor : found;
    }
}

// First the rows of a window become one, then its columns.
template <bool MEAN, class T>
static inline void pool(const int64_t* p, void* const* a) {
    const int64_t threads = p[0], images = p[1], height = p[2], width = p[3], high = p[4], wide = p[5];
    const int64_t window_h = p[6], window_w = p[7], step_h = p[8], step_w = p[9], top = p[10], left = p[11];
    const bool padding_counts = p[12];
    const T *source = static_cast<const T*>(a[0]), empty = MEAN ? T(0) : Blocks<T>::LEAST;
    const T* end = source + images * height * width;
    T* result = static_cast<T*>(a[1]);
    by_team(threads, images * high, 1, [&](int64_t begin, int64_t until) {
        T row[MOST_WIDTH], line[MOST_WIDTH], factors[MOST_WIDTH];
        for (int64_t x = 0; x < MOST_WIDTH && x < (whole_blocks(wide) + BLOCK) * step_w + window_w; x++) row[x] = empty;
        for (int64_t x = 0; x < whole_blocks(width); x++) row[left + x] = empty;
        for (int64_t x = 0; MEAN && x < whole_blocks(wide); x++) {
            const int64_t column = x * step_w - left, columns = min_of(column + window_w, width) - max_of(column, 0);
            factors[x] = T(1) / static_cast<T>(padding_counts || x >= wide ? window_w : columns);
        }
        const T* image = source + begin / high * height * width;
        int64_t y = begin % high;
        for (int64_t index = begin; index < until; index++) {
            const int64_t above = y * step_h - top, first = max_of(above, 0);
            const int64_t rows = min_of(above + window_h, height) - first;
            const T factor = MEAN ? T(1) / static_cast<T>(padding_counts ? window_h : rows) : T(1);
            const T* from = image + first * width;
            down<MEAN>(row + left, from, width, rows, end - from, factor);
            for (int64_t x = left + width; x < left + whole_blocks(width); x++) row[x] = empty;
            // Whole blocks go beyond the row, where this thread's next one will be.
            T* to = result + index * wide;
            T* place = index * wide + whole_blocks(wide) <= until * wide ? to : line;
            if (step_w == 1) across<MEAN, 1>(place, row, factors, wide, window_w, step_w);
            else if (step_w == 2) across<MEAN, 2>(place, row, factors, wide, window_w, step_w);
            else across<MEAN, 0>(place, row, factors, wide, window_w, step_w);
            if (place == line) __builtin_memcpy(to, line, wide * sizeof(T));
            if (++y == high) y = 0, image += height * width;
        }
    });
}
