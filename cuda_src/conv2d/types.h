// The element types of a workload's dtype, its padding, and what a finished sum goes through on its way to Y.
// The macros DTYPE_*, OPT_PAD*, OPT_BIAS, OPT_RESIDUAL, OPT_SCALE_TENSOR, OPT_SCALE_CHANNEL, OPT_ZERO_POINTS and those of
// activations come from the workload.
#pragma once
#include <stdint.h>

#include "../common/activation.h"

// Of kernels that do not honour them.
#if !defined(OPT_ZERO_POINTS)
#define OPT_ZERO_POINTS 0
#endif
#if !defined(OPT_RESIDUAL)
#define OPT_RESIDUAL 0
#endif
#if !defined(OPT_QUANTIZED_RESIDUAL)
#define OPT_QUANTIZED_RESIDUAL 0
#endif
// Of int8 results with a residual ReLU is that of the second rounding.
#define RELU_OF_SUMS (OPT_RELU && !OPT_QUANTIZED_RESIDUAL)

#define SCALED (OPT_SCALE_TENSOR || OPT_SCALE_CHANNEL)

#if defined(DTYPE_INT8)
typedef int8_t element;  // of X and W
typedef int32_t accumulator;
typedef int32_t addend;  // of the bias
#if SCALED
typedef int8_t result;
#else
typedef int32_t result;
#endif
#elif defined(DTYPE_F16)
typedef _Float16 element;
typedef float accumulator;
typedef _Float16 addend;
typedef _Float16 result;
#elif defined(DTYPE_BF16)
#include "../common/bfloat16.h"
typedef bfloat16 element;
typedef float accumulator;
typedef bfloat16 addend;
typedef bfloat16 result;
#else
typedef float element;
typedef float accumulator;
typedef float addend;
typedef float result;
#endif

// Zeros around the image: OPT_PAD is 0 where sides differ.
enum : int64_t {
    TOP = OPT_PAD + OPT_PAD_TOP,
    LEFT = OPT_PAD + OPT_PAD_LEFT,
    BOTTOM = OPT_PAD + OPT_PAD_BOTTOM,
    RIGHT = OPT_PAD + OPT_PAD_RIGHT,
    PADDED = TOP + LEFT + BOTTOM + RIGHT > 0,
};

struct Epilogue {
    const addend* bias;  // [k]; null without bias
    const float* scale;  // [k] or [1]; null without scale
    // [2] or [3]: the value of padding, the zero points of the scaled sum and of Y with a residual; null without zero points
    const int32_t* zero = nullptr;
    const result* residual = nullptr;  // as Y; null without residual
    const float* ratios = nullptr;     // [3]; null without a residual of int8

    // Of Y with a residual of int8.
    int32_t least() const { return !OPT_RELU ? -128 : OPT_ZERO_POINTS ? zero[2] : 0; }

    // `place` is that of the result in Y.
    result operator()(accumulator sum, int64_t k, int64_t place) const {
        if (OPT_BIAS) sum += accumulator(bias[k]);
        if (OPT_RESIDUAL) sum += accumulator(residual[place]);
        if (!OPT_QUANTIZED_RESIDUAL) sum = activated(sum);
#if SCALED
        float value = __builtin_rintf(float(sum) * scale[OPT_SCALE_CHANNEL ? k : 0]);
        if (OPT_ZERO_POINTS) {
            // Far from the ends of int8, so that the sum with a zero point is exact.
            value = value < -512.0f ? -512.0f : value > 512.0f ? 512.0f : value;
            value += float(zero[1]);
        }
        value = value < -128.0f ? -128.0f : value > 127.0f ? 127.0f : value;
        if (OPT_QUANTIZED_RESIDUAL) {
            const float more = __builtin_fmaf(float(residual[place]), ratios[1], ratios[2]), low = float(least());
            value = __builtin_rintf(__builtin_fmaf(value, ratios[0], more));
            value = value < low ? low : value > 127.0f ? 127.0f : value;
        }
        return result(value);
#else
        return result(sum);
#endif
    }
};
