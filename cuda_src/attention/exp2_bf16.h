// 2^x where the result is rounded to bf16.
#pragma once
#include <immintrin.h>

// 2^x, plus half of the last place of a bf16: its upper half is 2^x rounded to bf16. The polynomial's coefficients, of
// 2^f on [0, 1), minimise the largest relative error, 7.5e-5 (a linear program over 2001 Chebyshev points), a fiftieth
// of what rounding to bf16 errs. Where x is -inf the result is 0, a NaN stays.
static inline __m512 exp2_for_bf16(__m512 x) {
    const __m512 f = _mm512_reduce_ps(x, 0x01);  // x - floor(x)
    __m512 p = _mm512_set1_ps(0.07802460498236964f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.2260672378552627f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.6958333846572455f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.9999252272904467f + 0.00390625f));
    return _mm512_scalef_ps(p, x);
}
