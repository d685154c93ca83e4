// Sums of the int8 convolution (int8_tiles.h) on their way to Y: bias, activation, scale, residual, and the layout.
#pragma once
#include "../common/pack.h"
#include "../common/requantize.h"
#include "image.h"
#include "pixel_shape.h"

#if AMX
enum : int64_t { MOST_PIXELS = 16 };  // that are finished together
#else
enum : int64_t { MOST_PIXELS = PIXELS };
#endif

struct Int8Results {
    const Shape& at;
    const Epilogue epilogue;
    result* Y;

    // Whole vectors of neighbours in Y go there from their registers.
    template <int M>
    __attribute__((always_inline)) void put_registers(vec (&sums)[M][NV], int64_t k, result* to) const {
        const int32_t zero_point = OPT_ZERO_POINTS ? epilogue.zero[1] : 0;
        (void)zero_point;
#if OPT_QUANTIZED_RESIDUAL
        const Ratios ratios(epilogue.ratios, epilogue.least());
#endif
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            const vec addend = OPT_BIAS ? load(epilogue.bias + k + j * LANES) : vec{};
#if REQUANTIZED
            const floats factor = factors(epilogue.scale + k + j * LANES);
#endif
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                vec value = sums[i][j];
                if (OPT_BIAS) value += addend;
                if (RELU_OF_SUMS) value = value < vec{} ? vec{} : value;
#if OPT_QUANTIZED_RESIDUAL
                const vec more = load_bytes(epilogue.residual + (to - Y) + i * at.k + j * LANES);
                value = rescale_and_add(value, factor, zero_point, more, ratios);
#elif REQUANTIZED
                value = rescale(value, factor, zero_point);
#endif
                store(to + i * at.k + j * LANES, value);
            }
        }
    }

    // `pixels` x N sums become results, which belong to Y from `to` on; channels k ..., `channels` of them.
    void put(int32_t* sums, int64_t pixels, int64_t k, int64_t channels, result* to) const {
        finish(sums, pixels, k, channels, to);
        if (OPT_NHWC) put_rows(sums, pixels, channels, to);
        else put_planes(sums, pixels, channels, to);
    }

private:
#if REQUANTIZED
    // Of the channels whose scales lie at `from`, or one for all.
    floats factors(const float* from) const { return OPT_SCALE_CHANNEL ? load_floats(from) : floats{} + *epilogue.scale; }
#endif

    template <class T>
    static const T* whole(T* buffer, const T* from, int64_t count) {
        if (count == N) return from;
        memcpy(buffer, from, size_t(count) * sizeof(T));
        return buffer;
    }

#if OPT_QUANTIZED_RESIDUAL
    // What is added to `pixels` x N results that belong to Y from `to` on.
    void residuals(int32_t* found, int64_t pixels, int64_t channels, const result* to) const {
        const int64_t pixel = OPT_NHWC ? at.k : 1, channel = OPT_NHWC ? 1 : at.rows * at.columns;
        const int8_t* from = epilogue.residual + (to - Y);
        for (int64_t i = 0; i < pixels; ++i) {
            for (int64_t j = 0; j < channels; ++j) found[i * N + j] = from[i * pixel + j * channel];
            for (int64_t j = channels; j < N; ++j) found[i * N + j] = 0;
        }
    }
#endif

    // Bias, activation, scale and residual of `pixels` x N sums, whose results belong to Y from `to` on.
    void finish(int32_t* sums, int64_t pixels, int64_t k, int64_t channels, const result* to) const {
        if (!OPT_BIAS && !OPT_RELU && !REQUANTIZED) return;
        int32_t more[N] = {};
        float multipliers[N] = {};
        const int32_t* addends = OPT_BIAS ? whole(more, epilogue.bias + k, channels) : more;
        const float* by = OPT_SCALE_CHANNEL ? whole(multipliers, epilogue.scale + k, channels) : epilogue.scale;
#if OPT_QUANTIZED_RESIDUAL
        int32_t residual[MOST_PIXELS * N];
        residuals(residual, pixels, channels, to);
        const Ratios ratios(epilogue.ratios, epilogue.least());
#endif
        for (int64_t j = 0; j < N; j += LANES) {
            const vec addend = load(addends + j);
#if REQUANTIZED
            const floats factor = factors(by + j);
#endif
            for (int64_t i = 0; i < pixels; ++i) {
                vec value = load(sums + i * N + j);
                if (OPT_BIAS) value += addend;
                if (RELU_OF_SUMS) value = value < vec{} ? vec{} : value;
#if REQUANTIZED
                const int32_t zero_point = OPT_ZERO_POINTS ? epilogue.zero[1] : 0;
#if OPT_QUANTIZED_RESIDUAL
                value = rescale_and_add(value, factor, zero_point, load(residual + i * N + j), ratios);
#else
                value = rescale(value, factor, zero_point);
#endif
                if (!OPT_NHWC) value = clamped(value);  // planes are put together of the lowest bytes
#endif
                store(sums + i * N + j, value);
            }
        }
        (void)by, (void)to;
    }

    void put_rows(const int32_t* sums, int64_t pixels, int64_t channels, result* to) const {
        for (int64_t i = 0; i < pixels; ++i, sums += N, to += at.k) {
            result part[N];
            result* row = channels == N ? to : part;
            for (int j = 0; j < N; j += LANES) store(row + j, load(sums + j));
            if (channels != N) memcpy(to, part, size_t(channels) * sizeof(result));
        }
    }

    void put_planes(const int32_t* sums, int64_t pixels, int64_t channels, result* to) const {
        const int64_t plane = at.rows * at.columns;
#if REQUANTIZED
        // Four pixels of a channel in one word, the channels side by side; the last four overlap those before.
        for (int64_t begin = 0; pixels >= 4 && begin < pixels; begin += 4) {
            const int64_t i = min_of(begin, pixels - 4);
            int32_t words[N];
            for (int j = 0; j < N; j += LANES) {
                const int32_t* from = sums + i * N + j;
                const vec low = (load(from) & 255) | (load(from + N) & 255) << 8;
                store(words + j, low | (load(from + 2 * N) & 255) << 16 | load(from + 3 * N) << 24);
            }
            for (int64_t j = 0; j < channels; ++j) memcpy(to + j * plane + i, words + j, 4);
        }
        if (pixels >= 4) return;
#endif
#if !REQUANTIZED
        // Blocks of four by four; the last ones overlap those before.
        if (pixels >= 4 && channels >= 4) {
            for (int64_t j = 0; j < channels; j += 4) {
                for (int64_t i = 0; i < pixels; i += 4) {
                    const int64_t channel = min_of(j, channels - 4), pixel = min_of(i, pixels - 4);
                    const float* from = reinterpret_cast<const float*>(sums + pixel * N + channel);
                    transpose4(reinterpret_cast<float*>(to + channel * plane + pixel), plane, from, N);
                }
            }
            return;
        }
#endif
        for (int64_t j = 0; j < channels; ++j) {
            for (int64_t i = 0; i < pixels; ++i) to[j * plane + i] = result(sums[i * N + j]);
        }
    }
};
