// int8 weights as blocks of N filters, in units of neighbours in the depth: [taps][N], in the order of units.h, and behind
// them a row of what sums begin with where VNNI's operand is shifted.
#pragma once
#include "../common/pack.h"
#include "units.h"

struct UnitWeights {
    const Units& units;
    const int8_t* W;

    // Filters first ... of one block, `count` of them; those behind are zeros.
    template <int N>
    void pack(int32_t* packed, int64_t first, int64_t count) const {
        const int64_t bytes = window() * units.at.inner;
        const bool rows = OPT_NHWC || window() == 1;
        if (units.depthwise()) {
            depthwise<N>(packed, first, count);
        } else if (QUADS && !AMX && rows && units.taps() * 4 == bytes) {
            // A filter is its units, one after the other: what is left is a transposition.
            const float* from = reinterpret_cast<const float*>(W + first * bytes);
            pack_columns<N>(reinterpret_cast<float*>(packed), from, units.taps(), count, units.taps());
        } else if (Units::TAPS_INSIDE && !units.dense()) {
            for (int64_t u = 0; u < units.of_group(); ++u) unit_of_planes<N>(packed + u * window() * N, first, count, u);
        } else {
            one_by_one<N>(packed, first, count);
        }
        if (EXTRA) begin_sums<N>(packed);
    }

private:
    int64_t window() const { return units.at.r * units.at.s; }

    // Of -128 times each filter's sum.
    template <int N>
    void begin_sums(int32_t* packed) const {
        const vec highest = vec{} + int32_t(0x80808080u);
        for (int64_t j = 0; j < N; j += LANES) {
            vec sums = {};
            for (int64_t p = 0; p < units.taps(); ++p) sums = multiply_add(highest, load(packed + p * N + j), sums);
            store(packed + units.taps() * N + j, -sums);
        }
    }

    template <int N>
    void depthwise(int32_t* packed, int64_t first, int64_t count) const {
        for (int64_t y = 0; y < units.at.r; ++y) {
            for (int64_t x = 0; x < units.at.s; x += GROUP, packed += N) {
                for (int64_t j = 0; j < N; ++j) {
                    const int8_t* from = W + ((first + j) * units.at.r + y) * units.at.s + x;
                    packed[j] = j < count ? unit_w(from, 1, units.at.s - x) : 0;
                }
            }
        }
    }

    // All taps of unit u of the channels, of planes: a vector of a plane's taps at a time, as far as W reaches.
    template <int N>
    void unit_of_planes(int32_t* packed, int64_t first, int64_t count, int64_t u) const {
        typedef uint8_t narrow __attribute__((vector_size(LANES)));
        typedef uint32_t wide __attribute__((vector_size(VECTOR_BYTES)));
        enum : int64_t { MOST = 64 };
        const int64_t left = units.at.inner - u * GROUP, planes = min_of(left, GROUP);
        const int8_t* end = W + units.at.k * units.at.inner * window();
        float rows[N][MOST];  // bits of units, as what transposes them takes them
        for (int64_t begin = 0; begin < window(); begin += MOST) {
            const int64_t taps = min_of(MOST, window() - begin);
            for (int64_t j = 0; j < count; ++j) {
                const int8_t* from = W + ((first + j) * units.at.inner + u * GROUP) * window() + begin;
                for (int64_t i = 0; i < taps; i += LANES) {
                    wide all = {};
                    if (from + (planes - 1) * window() + i + LANES <= end) {
                        for (int64_t p = 0; p < planes; ++p) {
                            narrow plane;
                            memcpy(&plane, from + p * window() + i, LANES);
                            all |= __builtin_convertvector(plane, wide) << uint32_t(8 * p);
                        }
                    } else {
                        for (int64_t t = 0; t < min_of(LANES, taps - i); ++t) {
                            all[t] = uint32_t(unit_w(from + i + t, window(), left));
                        }
                    }
                    memcpy(rows[j] + i, &all, sizeof all);
                }
            }
            pack_columns<N>(reinterpret_cast<float*>(packed) + begin * N, rows[0], MOST, count, taps);
        }
    }

    template <int N>
    void one_by_one(int32_t* packed, int64_t first, int64_t count) const {
        const int64_t across = Units::ROW_IS_RUN ? units.at.s : 1, filter = window() * units.at.inner;
        for (int64_t tap = 0; tap < window(); tap += across) {
            for (int64_t u = 0; u < units.run(); ++u, packed += N) {
                for (int64_t j = 0; j < N; ++j) packed[j] = j < count ? unit(W + (first + j) * filter, tap, across, u) : 0;
            }
        }
    }

    // Unit u of the run of `across` taps that begins at a filter's tap `tap`.
    int32_t unit(const int8_t* filter, int64_t tap, int64_t across, int64_t u) const {
        const int64_t inner = units.at.inner;
        if (units.dense() && OPT_NHWC) return unit_w(filter + tap * inner + u * GROUP, 1, across * inner - u * GROUP);
        if (units.dense()) {
            int8_t bytes[GROUP] = {};
            for (int64_t i = 0; i < GROUP; ++i) {
                const int64_t x = (u * GROUP + i) / inner, channel = (u * GROUP + i) % inner;
                if (x < across) bytes[i] = filter[channel * window() + tap + x];
            }
            return unit_w(bytes, 1, GROUP);
        }
        const int64_t x = u / units.of_group(), channel = u % units.of_group() * GROUP;
        if (x >= across) return 0;  // a run is filled up
        const int8_t* from = filter + (OPT_NHWC ? (tap + x) * inner + channel : channel * window() + tap + x);
        return unit_w(from, OPT_NHWC ? 1 : window(), inner - channel);
    }
};
