// What happens to a finished sum on its way to D: act(alpha * sum + beta * C + bias), and of scaled int8 what
// requantize.h says. The macros OPT_ALPHA, OPT_BETA, OPT_BIAS of the declaration and those of
// activation.h decide at compile time what is there at all.
/*[tuner.shared]
[cores.parameters]
threads = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]

[cores.constraints]
threads_on_cores = "threads <= cores"
# Fewer than half of the cores may pay up to 256 x 256 x 256, a tenth of a millisecond on one.
cores_used = "threads * 2 > cores or m * n * k * batch <= 16777216"

# A tile of D, MR x NR, in vector registers over KC steps of depth.
[register_tiles.parameters]
NR = { values = [8, 16, 24, 32, 48, 64], doc = "columns of the register tile, whole vectors" }

[register_tiles.constraints]
whole_vectors = "NR * 4 % vector_bytes == 0"
rows_used = "MR < 2 * m"
columns_used = "NR < 2 * n or NR * 4 == vector_bytes"

[register_tiles.features]
tile_area = "MR * NR"
tile_intensity = "MR * NR / (MR + NR)"
passes_over_d = "ceildiv(k, KC)"
*/
#pragma once
#include "../common/activation.h"
#include "../common/requantize.h"

struct Epilogue {
    const Addend* C;     // of the present batch entry, [m][n]; null without beta
    const Addend* bias;  // [n]; null without bias
    int64_t n;
    Sum alpha, beta;
    const float* scale = nullptr;   // [n] or [1]; null without scale
    const int32_t* zero = nullptr;  // [2]; null without zero points

    Sum operator()(Sum sum, int64_t i, int64_t j) const {
        Sum value = OPT_ALPHA == 1.0f ? sum : alpha * sum;
        if (OPT_BETA != 0.0f) value += beta * Sum(C[i * n + j]);
        if (OPT_BIAS) value += Sum(bias[j]);
        value = activated(value);
#if REQUANTIZED
        return requantize(value, scale[OPT_SCALE_CHANNEL ? j : 0], OPT_ZERO_POINTS ? zero[1] : 0);
#endif
        return value;
    }

    // Columns j ... j + LANES - 1, all of them inside.
    vec operator()(vec sum, int64_t i, int64_t j) const {
        vec value = OPT_ALPHA == 1.0f ? sum : splat(alpha) * sum;
        if (OPT_BETA != 0.0f) value += splat(beta) * load(C + i * n + j);
        if (OPT_BIAS) value += load(bias + j);
        value = activated(value);
#if REQUANTIZED
        const floats by = OPT_SCALE_CHANNEL ? load_floats(scale + j) : floats{} + *scale;
        return rescale(value, by, OPT_ZERO_POINTS ? zero[1] : 0);  // `store` clamps
#endif
        return value;
    }
};
