// Rounding to 16-bit formats, correct in every case, subnormals and overflow included.
//
// Arithmetic on 16-bit values is done in double and rounded once: sums, products, quotients and roots of such
// values survive the step through a format of more than twice the precision (Figueroa, When is double rounding
// innocuous?, SIGNUM 1995); a fused multiply-add does so when the double sum is rounded to odd (Boldo and
// Melquiond, Emulation of FMA and correctly rounded sums, IEEE Transactions on Computers 57(4), 2008).
#pragma once
#include "math.h"

namespace cuda_emulator {

enum Rounding { NEAREST, TOWARD_ZERO, DOWN, UP };

// `SIGNIFICAND` explicit bits, `EXPONENT` bits of exponent: half is <10, 5>, bfloat16 <7, 8>.
template <int SIGNIFICAND, int EXPONENT>
struct Format {
  static constexpr int EXPONENT_BIAS = (1 << (EXPONENT - 1)) - 1;
  static constexpr unsigned INFINITE = ((1u << EXPONENT) - 1) << SIGNIFICAND;

  CUDA_EMU_INLINE unsigned short round(double x, Rounding mode = NEAREST) {
    const auto bits = bits_as<unsigned long long>(x);
    const unsigned sign = unsigned(bits >> 63) << 15;
    const int exponent = int(bits >> 52 & 0x7ff) - 1023;
    unsigned long long significand = bits & 0xfffffffffffffull;
    if (exponent == 1024) {
      return (unsigned short)(sign | INFINITE | (significand ? (1u << SIGNIFICAND) - 1 : 0));
    }
    significand |= exponent == -1023 ? 0 : 1ull << 52;
    // The unit in the last place of the result is 2^(e - SIGNIFICAND), e at least the smallest normal exponent.
    const int e = exponent < 1 - EXPONENT_BIAS ? 1 - EXPONENT_BIAS : exponent;
    const int drop = 52 - SIGNIFICAND + (e - exponent);
    if (drop > 63) significand = significand != 0;  // far below the smallest subnormal: only whether it is 0
    const int shift = drop > 63 ? 2 : drop;
    unsigned long long kept = significand >> shift;
    const unsigned long long rest = significand & ((1ull << shift) - 1), half = 1ull << (shift - 1);
    const bool up = mode == NEAREST ? rest > half || (rest == half && (kept & 1))
                                    : rest != 0 && ((mode == UP && !sign) || (mode == DOWN && sign));
    kept += up;
    // Carries run into the exponent field, from the largest subnormal to normal as well as to infinity.
    const unsigned long long biased = (unsigned long long)(e + EXPONENT_BIAS - 1) << SIGNIFICAND;
    const unsigned long long magnitude = kept >> SIGNIFICAND ? biased + kept : kept;
    if (magnitude >= INFINITE) {
      const bool stays = mode == TOWARD_ZERO || (mode == UP && sign) || (mode == DOWN && !sign);
      return (unsigned short)(sign | (stays ? INFINITE - 1 : INFINITE));
    }
    return (unsigned short)(sign | unsigned(magnitude));
  }

  CUDA_EMU_INLINE float widen(unsigned short bits) {
    const unsigned sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= INFINITE) {  // infinity, or a NaN that keeps its payload
      return bits_as<float>(sign | 0x7f800000u | (magnitude & ((1u << SIGNIFICAND) - 1)) << (23 - SIGNIFICAND));
    }
    // The fields moved into place are the value times 2^(EXPONENT_BIAS - 127), subnormals included: scale it back.
    const float scaled = bits_as<float>(magnitude << (23 - SIGNIFICAND));
    const float value = scaled * bits_as<float>(unsigned(254 - EXPONENT_BIAS) << 23);
    return bits_as<float>(bits_as<unsigned>(value) | sign);
  }
};

// a * b + c rounded to odd: the product of two short significands is exact, the sum leaves a remainder whose
// being there is all that the next rounding has to know.
CUDA_EMU_INLINE double fused(double a, double b, double c) {
  const double product = a * b, sum = product + c;
  if (!(fabs(sum) < INFINITY)) return sum;
  const double back = sum - product, error = (product - (sum - back)) + (c - back);  // TwoSum, Knuth
  auto bits = bits_as<unsigned long long>(sum);
  if (error != 0 && !(bits & 1)) bits += (error > 0) == (sum > 0) ? 1 : -1ull;
  return bits_as<double>(bits);
}

}  // namespace cuda_emulator
