// A call of the f32 convolution in tile registers: what all its threads share.
#pragma once
#include "amx_split_weights.h"

struct Convolution {
    const Layout& lay;
    const Weights weights;
    const float* X;
    const Epilogue epilogue;
    float* Y;
    const int64_t* offsets;    // of each step
    char* packed;              // all panels; with OWN_W one for each thread
    int32_t* special_weights;  // of each panel: whether a number has no parts
    int32_t* special_image;    // as Splitter has it
    char* slabs;               // [threads along pixels][2 with BETWEEN]

    void pack(char* to, int64_t panel) const {
        if (weights.pack(to, panel)) __atomic_store_n(special_weights + panel, 1, __ATOMIC_RELAXED);
    }
};
