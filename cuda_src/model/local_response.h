// Local response normalisation: each element over a power of what its neighbours along the channels have together.
//
// y = x / (bias + alpha / size * sum of x^2 over `size` channels around)^beta; beta is 1/2, 3/4 or 1.
#pragma once
#include "team.h"

// Of a power in quarters: 2, 3 or 4.
template <int QUARTERS>
static inline __attribute__((always_inline)) float power_of(float x) {
    const float root = __builtin_sqrtf(x);
    return QUARTERS == 4 ? x : QUARTERS == 2 ? root : root * __builtin_sqrtf(root);
}

template <int QUARTERS>
static inline void respond(float* __restrict to, const float* from, const float* first, int64_t window, int64_t pixels,
                           float factor, float bias) {
    enum { PIECE = 1024 };
    float sums[PIECE];
    for (int64_t begin = 0; begin < pixels; begin += PIECE) {
        const int64_t count = min_of(PIECE, pixels - begin);
        for (int64_t i = 0; i < count; i++) sums[i] = 0.0f;
        for (int64_t channel = 0; channel < window; channel++) {
            const float* x = first + channel * pixels + begin;
            for (int64_t i = 0; i < count; i++) sums[i] += x[i] * x[i];
        }
        for (int64_t i = 0; i < count; i++) {
            to[begin + i] = from[begin + i] * (1.0f / power_of<QUARTERS>(bias + factor * sums[i]));
        }
    }
}

// p: threads, images, channels, pixels, size (odd), beta in quarters. a: x, {alpha / size, bias}, y.
static inline void respond_rows(const int64_t* p, void* const* a) {
    const int64_t threads = p[0], images = p[1], channels = p[2], pixels = p[3], size = p[4], quarters = p[5];
    const float *x = static_cast<const float*>(a[0]), *numbers = static_cast<const float*>(a[1]);
    float* y = static_cast<float*>(a[2]);
    by_team(threads, images * channels, 1, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const int64_t image = row / channels * channels, channel = row % channels;
            const int64_t first = max_of(channel - size / 2, 0), behind = min_of(channel + size / 2 + 1, channels);
            const float *from = x + row * pixels, *window = x + (image + first) * pixels;
            const auto function = quarters == 2 ? respond<2> : quarters == 3 ? respond<3> : respond<4>;
            function(y + row * pixels, from, window, behind - first, pixels, numbers[0], numbers[1]);
        }
    });
}
