// Weights in the order in which a register tile reads them.
#pragma once
#include "../common/pack.h"
#include "types.h"

// packed[p * N + j] is tap p of filter j, in f32; filters from `count` on are zeros. W is [filters][taps].
template <int N>
static void pack_weights(float* packed, const element* W, int64_t taps, int64_t count) {
    pack_columns<N>(packed, W, taps, count, taps);
}
