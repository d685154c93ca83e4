// Entries of the int8 rungs whose weights are packed before any call. What int8_tiles.h wants is defined before this.
#pragma once
#define W_AHEAD 1
#include "int8_tiles.h"

extern "C" int pack_ahead(const element* W, int32_t* ahead, int64_t n, int64_t c, int64_t h, int64_t w, int64_t k,
                          int64_t r, int64_t s) {
    const Shape at(n, c, h, w, k, r, s);
    const Int8Convolution work = {at, {at, 0}, W, {at, {nullptr, nullptr}, nullptr}, nullptr, nullptr, ahead, false};
    for (int64_t block = 0; block < work.groups() * work.blocks(); ++block) work.pack(block);
    return 0;
}

extern "C" int conv2d(const element* X, const element* W, const addend* bias, const result* residual,
                      const float* scale, const int32_t* Z, const float* ratios, result* Y, int32_t* ahead, int64_t n,
                      int64_t c, int64_t h, int64_t w, int64_t k, int64_t r, int64_t s) {
    return convolve(X, W, ahead, {bias, scale, Z, residual, ratios}, Y, Shape(n, c, h, w, k, r, s));
}
