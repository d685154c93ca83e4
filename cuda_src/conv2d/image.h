// The image as kernels read it: in place, or a copy in f32 with its padding around it, so that no tap asks
// whether it lies inside.
/*[tuner.shared]
[cores.parameters]
threads = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]

[cores.constraints]
threads_on_cores = "threads <= cores"
# Below some 20 us of work another thread may cost more than it does.
threads_used = "threads * 2 > cores or n * h * w * k * group_c * r * s < 4000000 * stride * stride"
*/
#pragma once
#include <string.h>

#include "../common/simd.h"
#include "types.h"

// Whether the caller's memory serves as it is.
#if defined(DTYPE_F32)
enum { IN_PLACE = !PADDED };
#else
enum { IN_PLACE = 0 };
#endif

struct Shape {
    int64_t n, c, h, w, k, r, s;
    int64_t rows, columns;  // of an output image
    int64_t inner, outer;   // channels and output channels of a group

    Shape(int64_t n, int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s)
        : n(n), c(c), h(h), w(w), k(k), r(r), s(s),
          rows((high() - OPT_DILATION * (r - 1) - 1) / OPT_STRIDE + 1),
          columns((wide() - OPT_DILATION * (s - 1) - 1) / OPT_STRIDE + 1),
          inner(c / OPT_GROUPS), outer(k / OPT_GROUPS) {}

    int64_t taps() const { return inner * r * s; }
    int64_t high() const { return h + TOP + BOTTOM; }
    int64_t wide() const { return w + LEFT + RIGHT; }
    int64_t padded() const { return IN_PLACE ? 0 : n * c * high() * wide(); }
};

// Where element (image, channel, y, x) of the padded image lies: [n][c][y][x], or [n][y][x][c].
struct Strides {
    int64_t image, channel, y, x;

    explicit Strides(const Shape& at)
        : image(at.c * at.high() * at.wide()),
          channel(OPT_NHWC ? 1 : at.high() * at.wide()),
          y(OPT_NHWC ? at.wide() * at.c : at.wide()),
          x(OPT_NHWC ? at.c : 1) {}
};

static inline void convert(float* to, const element* from, int64_t count) {
#if defined(DTYPE_F32)
    memcpy(to, from, size_t(count) * sizeof(float));
#else
    int64_t i = 0;
#if defined(DTYPE_F16) || defined(DTYPE_BF16)
    for (; i + LANES <= count; i += LANES) store(to + i, load(from + i));
#endif
    for (; i < count; ++i) to[i] = float(from[i]);
#endif
}

// What kernels read: the caller's image, or the copy.
static inline const float* image_of(const element* X, const float* copy) {
#if defined(DTYPE_F32)
    return IN_PLACE ? X : copy;
#else
    (void)X;
    return copy;
#endif
}

// The part of the copy that falls to thread `index` of `team`.
static inline void pad_image(float* to, const element* X, const Shape& at, int64_t team, int64_t index) {
    // A line of the copy is a row of one channel, or of all of them.
    const int64_t step = OPT_NHWC ? at.c : 1, line = at.wide() * step, left = LEFT * step, inside = at.w * step;
    const int64_t planes = OPT_NHWC ? at.n : at.n * at.c;
    const Range mine = share(planes * at.high(), 1, team, index);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
        const int64_t plane = i / at.high(), y = i % at.high() - TOP;
        float* row = to + i * line;
        if (y < 0 || y >= at.h) {
            memset(row, 0, size_t(line) * sizeof(float));
            continue;
        }
        for (int64_t x = 0; x < left; ++x) row[x] = 0;
        for (int64_t x = left + inside; x < line; ++x) row[x] = 0;
        convert(row + left, X + (plane * at.h + y) * inside, inside);
    }
}
