// What happens to a finished sum on its way to D: act(alpha * sum + beta * C + bias).
// The macros OPT_ALPHA, OPT_BETA, OPT_BIAS, OPT_RELU of the declaration decide at compile time what is there at all.
#pragma once
#include "../common/simd.h"

struct Epilogue {
    const Output* C;     // of the present batch entry, [m][n]; null without beta
    const Output* bias;  // [n]; null without bias
    int64_t n;
    Sum alpha, beta;

    Sum operator()(Sum sum, int64_t i, int64_t j) const {
        Sum value = OPT_ALPHA == 1.0f ? sum : alpha * sum;
        if (OPT_BETA != 0.0f) value += beta * Sum(C[i * n + j]);
        if (OPT_BIAS) value += Sum(bias[j]);
        if (OPT_RELU) value = value < 0 ? 0 : value;  // not value > 0 ? value : 0, which would hide a NaN
        return value;
    }

    // Columns j ... j + LANES - 1, all of them inside.
    vec operator()(vec sum, int64_t i, int64_t j) const {
        vec value = OPT_ALPHA == 1.0f ? sum : splat(alpha) * sum;
        if (OPT_BETA != 0.0f) value += splat(beta) * load(C + i * n + j);
        if (OPT_BIAS) value += load(bias + j);
        if (OPT_RELU) value = value < vec{} ? vec{} : value;
        return value;
    }
};
