// bfloat16: the upper half of an f32, 8 bits of significand. In memory only; arithmetic is f32's.
#pragma once
#include <cstdint>

// The upper halves of f32 numbers, given and returned as bits, rounded to nearest even; of one number or of a vector.
// A NaN keeps its upper half with the quiet bit set: rounding might make an infinity of it.
template <typename Bits, typename Mask>
static inline Bits upper_half(Bits bits, Mask nan) {
    return nan ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

struct bfloat16 {
    uint16_t bits;

    bfloat16() = default;
    explicit bfloat16(float value) {
        uint32_t whole;
        __builtin_memcpy(&whole, &value, sizeof whole);
        bits = uint16_t(upper_half(whole, value != value));
    }
    operator float() const {
        const uint32_t whole = uint32_t(bits) << 16;
        float value;
        __builtin_memcpy(&value, &whole, sizeof value);
        return value;
    }
};
