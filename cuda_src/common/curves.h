// Polynomials of erf and tanh, for a float and for a vector of them: minimax fits (Lawson's iteration on 2000 Chebyshev
// points); errors are stated before rounding.
#pragma once

// erf(x) = x P(x^2) for |x| <= 1, of z = x^2: absolute error 1.2e-9.
template <class T>
static inline __attribute__((always_inline)) T erf_over_x(T z) {
    T p = T{} + 7.889109e-05f;
    p = p * z - 0.0008020838f;
    p = p * z + 0.005189535f;
    p = p * z - 0.026854444f;
    p = p * z + 0.112836f;
    p = p * z - 0.37612626f;
    return p * z + 1.1283791f;
}

// The natural logarithm of erfc(x) = 1 - erf(x) for 1 <= x <= 4.
template <class T>
static inline __attribute__((always_inline)) T log_erfc(T x) {
    T q = T{} + 0.00018557752f;
    q = q * x - 0.0029396408f;
    q = q * x + 0.021805448f;
    q = q * x - 0.10303763f;
    q = q * x - 0.6382254f;
    q = q * x - 1.1270403f;
    return q * x - 0.00035367746f;
}

// tanh(x) for |x| <= 0.625, x + x z P(z) with z = x^2: relative error 1.2e-9.
template <class T>
static inline __attribute__((always_inline)) T tanh_near_zero(T x) {
    const T z = x * x;
    T p = T{} + 0.002122733f;
    p = p * z - 0.008156265f;
    p = p * z + 0.0216926f;
    p = p * z - 0.053945377f;
    p = p * z + 0.13333195f;
    p = p * z - 0.3333333f;
    return x + x * z * p;
}
